import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

// What a step needs is read when it begins, after the engine has recorded that it does. Whether PostgreSQL is away just then
// or does not answer in time is the same for the reader.

const QUERY_TIMEOUT_MS = 2000;
const STEP_TIMEOUT_S = 1;

let database: TestDatabase;
let sink: Sink;
let platform: TestPlatform;
let admin: Client;

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSink();
  platform = await startPlatform(database.url, {
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
    DB_QUERY_TIMEOUT_MS: String(QUERY_TIMEOUT_MS),
  });
  admin = new Client({ connectionString: database.url });
  await admin.connect();
});

afterAll(async () => {
  await admin.end();
  await platform.stop();
  await sink.close();
  await database.drop();
});

/** The sessions of the worker that wait for a lock. */
async function waitingSessions(): Promise<readonly number[]> {
  const { rows } = await admin.query<{ pid: number }>(
    `select pid from pg_stat_activity where application_name = 'millrace worker journal' and wait_event_type = 'Lock'
     and datname = current_database()`,
  );
  return rows.map(({ pid }) => pid);
}

test('a step whose credential cannot be read waits for it, and uses neither its time nor an attempt', async () => {
  await platform.call('PUT', '/api/v1/credentials/crm', {
    type: 'bearer',
    data: { token: 'canary-token-0123456789', baseUrl: sink.url },
  });
  const { hook } = await platform.deploy(`
name: needs
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: call, timeout: ${STEP_TIMEOUT_S}s, retry: { attempts: 1 }, http: { url: "crm:/x" } }]
`);
  await admin.query('begin');
  await admin.query('lock table credential in access exclusive mode');
  const { data } = await platform.post(hook, {});
  const seen = new Set<number>();
  // A second session: the first was given up by then, later than the step may take.
  await waitFor(
    async () => {
      for (const pid of await waitingSessions()) seen.add(pid);
      return seen.size >= 2;
    },
    { timeoutMs: 30_000, what: 'the worker to ask for the credential again' },
  );
  expect(sink.entries).toHaveLength(0);
  await admin.query('rollback');
  expect(await platform.finished(data.executionId as string)).toMatchObject({
    state: 'succeeded',
    steps: [{ id: 'call', state: 'succeeded', attempts: 1 }],
  });
  expect(sink.entries).toHaveLength(1);
});
