import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../test/support/free-port.ts';
import type { TestProcess } from '../../test/support/processes.ts';
import { waitFor } from '../../test/support/wait-for.ts';
import { makeBody } from '../load/signed-bodies.ts';
import type { Services } from '../platform/services.ts';
import { installInto } from './npm-folder.ts';
import { measureLoad, toMeasured, untilEndedBy, type Ended, type Measured, type System } from './system.ts';

/** The version that the project's figures are of. */
const VERSION = '2.8.4';
/** n8n takes this one from a server of its makers, which not every machine reaches; no node of the workflow uses it. */
const OVERRIDES = { xlsx: '0.18.5' };
const SCHEMA = 'n8n';
const PATH = 'bench';
const WORKFLOW_ID = 'benchbenchbench1';
const READY_WITHIN_MS = 120_000;

/**
 * n8n in queue mode with PostgreSQL and Redis, as https://docs.n8n.io/hosting/scaling/queue-mode/ sets it up: one main
 * process that takes webhooks, one worker. It is installed by npm into the cache folder, once.
 *
 * @throws Error when it cannot be installed
 */
export async function installN8n(say: (text: string) => void): Promise<System> {
  const folder = await installInto(
    { name: `n8n-${VERSION}`, packages: [`n8n@${VERSION}`], overrides: OVERRIDES, proof: 'n8n/bin/n8n' },
    say,
  );
  const program = join(folder, 'node_modules', 'n8n', 'bin', 'n8n');
  return { name: `n8n ${VERSION}`, measure: (services, seconds) => measure(services, program, seconds) };
}

async function measure(services: Services, program: string, seconds: number): Promise<Measured> {
  const database = await services.createDatabase();
  await services.emptyRedis();
  const sql = new pg.Client({ connectionString: database.url });
  await sql.connect();
  const started: TestProcess[] = [];
  try {
    await sql.query(`create schema ${SCHEMA}`);
    const port = await freePort();
    const env = await environment(services, database.url, port);
    const workerEnv = { N8N_RUNNERS_BROKER_PORT: String(await freePort()) };
    const run = (...args: readonly string[]): TestProcess => {
      const child = services.processes.start([process.execPath, program, ...args], {
        env: { ...env, ...(args[0] === 'worker' ? workerEnv : {}) },
      });
      started.push(child);
      return child;
    };
    await deploy(services, run);
    const main = run('start');
    const worker = run('worker', '--concurrency=10');
    const url = `http://127.0.0.1:${port}/webhook/${PATH}`;
    await untilReady(url, [main, worker]);
    // One was sent to see whether it is ready.
    const load = await measureLoad(services, { url, expectedStatus: 200 }, seconds, (count) =>
      untilEnded(sql, 1 + count),
    );
    const { rows } = await sql.query<Ended>(
      `select count(*)::int as count, extract(epoch from max("stoppedAt") - min("stoppedAt"))::float8 as seconds
       from ${SCHEMA}.execution_entity where status = 'success' and "createdAt" >= to_timestamp($1 / 1000.0)`,
      [load.startedAtMs],
    );
    return toMeasured(load, rows[0]!); // an aggregate has a row
  } finally {
    for (const child of started) child.signalGroup('SIGKILL');
    await Promise.all(started.map((child) => child.exited));
    await sql.end();
    await services.dropDatabase(database.name);
  }
}

async function environment(
  services: Services,
  databaseUrl: string,
  port: number,
): Promise<Readonly<Record<string, string>>> {
  const url = new URL(databaseUrl);
  const folder = join(services.directory, `n8n-${port}`);
  await mkdir(folder, { recursive: true });
  return {
    N8N_USER_FOLDER: folder,
    N8N_PORT: String(port),
    N8N_LISTEN_ADDRESS: '127.0.0.1',
    N8N_ENCRYPTION_KEY: randomBytes(24).toString('hex'),
    DB_TYPE: 'postgresdb',
    DB_POSTGRESDB_HOST: url.hostname,
    DB_POSTGRESDB_PORT: url.port,
    DB_POSTGRESDB_DATABASE: url.pathname.slice(1),
    DB_POSTGRESDB_USER: url.username,
    DB_POSTGRESDB_PASSWORD: decodeURIComponent(url.password),
    DB_POSTGRESDB_SCHEMA: SCHEMA,
    EXECUTIONS_MODE: 'queue',
    QUEUE_BULL_REDIS_HOST: '127.0.0.1',
    QUEUE_BULL_REDIS_PORT: new URL(services.redisUrl).port,
    QUEUE_HEALTH_CHECK_PORT: String(await freePort()),
    N8N_RUNNERS_BROKER_PORT: String(await freePort()),
    N8N_DIAGNOSTICS_ENABLED: 'false',
    N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
    N8N_TEMPLATES_ENABLED: 'false',
    N8N_LOG_LEVEL: 'warn',
  };
}

/** Webhook → three Set nodes with expressions, as {@link transformWorkflow} has three transforms. */
function workflow(): object {
  const names = ['Webhook', 'Pick', 'Reckon', 'Shape'];
  const set = (name: string, index: number, values: Readonly<Record<string, string>>) => ({
    id: `node-${index}`,
    name,
    type: 'n8n-nodes-base.set',
    typeVersion: 3.4,
    position: [index * 200, 0],
    parameters: {
      assignments: {
        assignments: Object.entries(values).map(([key, value]) => ({
          id: `${name}-${key}`,
          name: key,
          value,
          type: 'string',
        })),
      },
      options: {},
    },
  });
  return {
    id: WORKFLOW_ID,
    name: 'bench',
    active: true,
    settings: { executionOrder: 'v1' },
    nodes: [
      {
        id: 'node-0',
        name: 'Webhook',
        type: 'n8n-nodes-base.webhook',
        typeVersion: 2,
        position: [0, 0],
        webhookId: '6f1c1c1e-3f0b-4b39-8a36-000000000001',
        parameters: { httpMethod: 'POST', path: PATH, responseMode: 'onReceived', options: {} },
      },
      set('Pick', 1, {
        branch: '={{ $json.body.ref.substring(11) }}',
        repository: '={{ $json.body.repository.full_name }}',
        number: '={{ $json.body.number }}',
      }),
      set('Reckon', 2, { doubled: '={{ $json.number * 2 }}', large: '={{ $json.number > 500 }}' }),
      set('Shape', 3, {
        text: "={{ $('Pick').item.json.repository }} on {{ $('Pick').item.json.branch }}",
        doubled: '={{ $json.doubled }}',
      }),
    ],
    connections: Object.fromEntries(
      names
        .slice(0, -1)
        .map((name, index) => [name, { main: [[{ node: names[index + 1], type: 'main', index: 0 }]] }]),
    ),
  };
}

async function deploy(services: Services, run: (...args: readonly string[]) => TestProcess): Promise<void> {
  const file = join(services.directory, 'n8n-workflow.json');
  await writeFile(file, JSON.stringify([workflow()]));
  for (const args of [
    ['import:workflow', `--input=${file}`],
    ['publish:workflow', `--id=${WORKFLOW_ID}`],
  ]) {
    const child = run(...args);
    const code = await child.exited;
    if (code !== 0)
      throw new Error(`n8n ${args.join(' ')} ended with ${code}:\n${child.output().slice(-2000)}`);
  }
}

/** Health comes before the webhooks are there, so one is sent until it is taken. */
async function untilReady(url: string, processes: readonly TestProcess[]): Promise<void> {
  await waitFor(
    async () => {
      const ended = processes.find((child) => child.hasExited());
      if (ended !== undefined) return ended;
      const { status } = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: new Uint8Array(makeBody(0)),
      });
      return status === 200;
    },
    { timeoutMs: READY_WITHIN_MS, intervalMs: 250, what: 'n8n to be ready' },
  );
  const ended = processes.find((child) => child.hasExited());
  if (ended !== undefined) throw new Error(`n8n ended:\n${ended.output().slice(-2000)}`);
}

/** Its bookkeeping of successes is written a little after the end of each. */
const untilEnded = (sql: pg.Client, count: number): Promise<void> =>
  untilEndedBy('n8n', count, async () => {
    const { rows } = await sql.query<{ ended: number; failed: number }>(
      `select count(*) filter (where status = 'success')::int as ended,
         count(*) filter (where status in ('error', 'crashed'))::int as failed
       from ${SCHEMA}.execution_entity`,
    );
    return rows[0]!; // an aggregate has a row
  });
