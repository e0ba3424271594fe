import pg from 'pg';
import { freePort } from '../../test/support/free-port.ts';
import type { Services } from '../platform/services.ts';
import { installInto } from './npm-folder.ts';
import { placeProgram } from './programs.ts';
import { measureLoad, toMeasured, untilEndedBy, type Ended, type Measured, type System } from './system.ts';

const VERSION = '5.3.0';
/** As many as Millrace's API and worker have together by default. */
const POOL_SIZE = 50;
const READY_WITHIN_MS = 60_000;

/**
 * DBOS Transact (https://docs.dbos.dev/typescript/programming-guide): a library that keeps workflows in PostgreSQL. One
 * process takes the webhooks and runs the workflows; it checks no signature.
 *
 * @throws Error when it cannot be installed
 */
export async function installDbos(say: (text: string) => void): Promise<System> {
  const folder = await installInto(
    {
      name: `dbos-${VERSION}`,
      packages: [`@dbos-inc/dbos-sdk@${VERSION}`],
      proof: '@dbos-inc/dbos-sdk/package.json',
    },
    say,
  );
  const program = await placeProgram(folder, 'dbos.mjs');
  return { name: `DBOS ${VERSION}`, measure: (services, seconds) => measure(services, program, seconds) };
}

async function measure(services: Services, program: string, seconds: number): Promise<Measured> {
  const database = await services.createDatabase();
  const sql = new pg.Client({ connectionString: database.url });
  await sql.connect();
  const port = await freePort();
  const child = services.processes.start([process.execPath, program], {
    env: { DATABASE_URL: database.url, POOL_SIZE: String(POOL_SIZE), PORT: String(port) },
  });
  try {
    await child.waitForOutput(/listening/, { timeoutMs: READY_WITHIN_MS });
    const load = await measureLoad(services, { url: `http://127.0.0.1:${port}/` }, seconds, (count) =>
      untilEnded(sql, count),
    );
    const { rows } = await sql.query<Ended>(
      `select count(*)::int as count, (max(updated_at) - min(updated_at))::float8 / 1000 as seconds
       from dbos.workflow_status where created_at >= $1`,
      [load.startedAtMs],
    );
    return toMeasured(load, rows[0]!); // an aggregate has a row
  } finally {
    child.signalGroup('SIGKILL');
    await child.exited;
    await sql.end();
    await services.dropDatabase(database.name);
  }
}

const untilEnded = (sql: pg.Client, count: number): Promise<void> =>
  untilEndedBy('DBOS', count, async () => {
    const { rows } = await sql.query<{ ended: number; failed: number }>(
      `select count(*) filter (where status = 'SUCCESS')::int as ended,
         count(*) filter (where status not in ('SUCCESS', 'PENDING', 'ENQUEUED'))::int as failed
       from dbos.workflow_status`,
    );
    return rows[0]!; // an aggregate has a row
  });
