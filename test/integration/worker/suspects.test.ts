import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

const HELD_MS = 300;

let database: TestDatabase;
let admin: pg.Client;
let platform: TestPlatform;
let sink: Sink;
const together = { now: 0, most: 0 };

beforeAll(async () => {
  database = await createTestDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  sink = await startSink(() => {
    together.most = Math.max(together.most, ++together.now);
    setTimeout(() => together.now--, HELD_MS);
    return { body: {}, delayMs: HELD_MS };
  });
  platform = await startPlatform(
    database.url,
    { EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` },
    { workers: 0, hints: false },
  );
});

afterAll(async () => {
  await platform.stop();
  await sink.close();
  await admin.end();
  await database.drop();
});

/** Runs four executions that lost so many leases, all due at once, on a worker that starts now. */
async function mostTogether(lostLeases: number): Promise<number> {
  const { hook } = await platform.deploy(`
name: lost-${lostLeases}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: call, http: { url: "${sink.url}/${lostLeases}" } } ]
`);
  const replies = await Promise.all([1, 2, 3, 4].map((n) => platform.post(hook, { n })));
  const ids = replies.map(({ data }) => data.executionId as string);
  await admin.query(`update execution set lost_leases = $2 where id = any($1::uuid[])`, [ids, lostLeases]);
  together.most = 0;
  const worker = await platform.startWorker();
  for (const id of ids) expect((await platform.finished(id)).state).toBe('succeeded');
  await worker.stop();
  const { rows } = await admin.query<{ lost: number }>(
    `select distinct lost_leases as lost from execution where id = any($1::uuid[])`,
    [ids],
  );
  expect(rows).toEqual([{ lost: lostLeases }]);
  return together.most;
}

test('executions that lost a worker once run together', async () => {
  expect(await mostTogether(1)).toBe(4);
});

test('of those that lost workers twice a worker runs one at a time, and all of them end', async () => {
  expect(await mostTogether(2)).toBe(1);
});

test('what loses its fifth worker fails, by the platform’s fault', async () => {
  const { hook } = await platform.deploy(`
name: lost-for-good
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: call, http: { url: "${sink.url}/lost" } } ]
`);
  const { data } = await platform.post(hook, {});
  const id = data.executionId as string;
  // As a worker leaves it that was killed.
  await admin.query(
    `update execution set state = 'running', lease_id = gen_random_uuid(), lost_leases = 4, dispatch_number = 1,
       started_at = now(), claimed_at = now(), next_dispatch_at = now() where id = $1`,
    [id],
  );
  const counts = () =>
    Promise.all([
      platform.metric('millrace_platform_failures_total', { code: 'worker_lost' }),
      platform.metric('millrace_lease_losses_total', { side: 'taken_over' }),
      platform.metric('millrace_executions_total', { workflow: 'lost-for-good', outcome: 'failed' }),
    ]);
  const [failures, takenOver] = await counts();
  const worker = await platform.startWorker();
  expect(await platform.finished(id)).toMatchObject({ state: 'failed', error: { code: 'worker_lost' } });
  await waitFor(async () => isDeepStrictEqual(await counts(), [failures + 1, takenOver + 1, 1]), {
    what: 'the loss to be counted',
  });
  await worker.stop();
});
