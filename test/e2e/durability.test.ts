import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pLimit from 'p-limit';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { sumOf } from '../support/metrics-page.ts';
import { createProcesses, platformCommand, type TestProcess } from '../support/processes.ts';
import { startRedisServer, type RedisServer } from '../support/redis-server.ts';
import { SECRET, SIGNERS } from '../support/signatures.ts';
import { startSink, type Sink } from '../support/sink.ts';
import { waitFor } from '../support/wait-for.ts';

const LEASE_MS = 6000;

let database: TestDatabase;
let redis: RedisServer;
let sink: Sink;
let cluster: Cluster;
let sql: pg.Pool;

beforeAll(async () => {
  database = await createTestDatabase();
  redis = await startRedisServer();
  // Slow enough that a killed worker has some executions in hand, however fast the machine is.
  sink = await startSink(({ path }) => (path === '/killed/two' ? { delayMs: 80 } : {}));
  sql = new pg.Pool({ connectionString: database.url, max: 2 });
  sql.on('error', () => {}); // the database goes before the pool does
  cluster = await startCluster({
    databaseUrl: database.url,
    redisUrl: redis.url,
    built: true,
    env: {
      LEASE_MS: String(LEASE_MS),
      HEARTBEAT_MS: '1000',
      POLL_MS: '2000',
      EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
    },
  });
  await cluster.call('PUT', '/api/v1/credentials/hook', { type: 'secret', data: { value: SECRET } });
});

afterAll(async () => {
  await cluster.stop();
  await sql.end();
  await sink.close();
  await redis.stop();
  await database.drop();
});

const threeSteps = (name: string) => `
name: ${name}
triggers: { push: { webhook: { verify: { scheme: github, credential: hook } } } }
steps:
  - { id: one, http: { method: POST, url: "${sink.url}/${name}/one", body: { n: "\${{ trigger.body.n }}" } } }
  - { id: two, needs: [one], http: { method: POST, url: "${sink.url}/${name}/two", body: {} } }
  - { id: three, needs: [two], http: { method: POST, url: "${sink.url}/${name}/three", body: {} } }
output: trigger.body.n
`;

interface Sent {
  readonly status: number;
  readonly executionId: string;
}

async function send(hook: string, n: number): Promise<Sent> {
  const body = Buffer.from(JSON.stringify({ n }));
  const reply = await cluster.post(hook, body, SIGNERS.github(body, randomUUID()));
  return { status: reply.status, executionId: reply.data.executionId as string };
}

/** Posts `count` webhooks at a steady rate; a slow answer does not slow the rest. */
async function sendSteadily(hook: string, count: number, perSecond: number): Promise<readonly Sent[]> {
  const limit = pLimit(200);
  const startedAt = Date.now();
  const sent: Promise<Sent>[] = [];
  for (let n = 0; n < count; n++) {
    const dueInMs = startedAt + (n / perSecond) * 1000 - Date.now();
    if (dueInMs > 0) await delay(dueInMs);
    sent.push(limit(() => send(hook, n)));
  }
  return Promise.all(sent);
}

async function allEnded(ids: readonly string[], timeoutMs: number): Promise<Map<string, number>> {
  let states = new Map<string, number>();
  await waitFor(
    async () => {
      const { rows } = await sql.query<{ state: string; count: number }>(
        `select state, count(*)::int as count from execution where id = any($1::uuid[]) group by state`,
        [ids],
      );
      states = new Map(rows.map((row) => [row.state, row.count]));
      return !['queued', 'running', 'waiting'].some((state) => states.has(state));
    },
    { timeoutMs, intervalMs: 250, what: 'every execution to end' },
  );
  return states;
}

/**
 * What the sink, which keeps no book of ours, saw: each recorded step was asked for at least once, and never again after
 * its outcome was recorded.
 */
async function checkLedger(ids: readonly string[], prefix: string): Promise<{ readonly repeated: number }> {
  const { rows } = await sql.query<{
    execution_id: string;
    step_id: string;
    finished_ms: number;
    attempts: number;
  }>(
    `select execution_id, step_id, (extract(epoch from max(finished_at)) * 1000)::float8 as finished_ms,
       count(*)::int as attempts
     from step_run where execution_id = any($1::uuid[]) and state = 'succeeded' group by 1, 2`,
    [ids],
  );
  expect(rows).toHaveLength(ids.length * 3);
  const seen = new Map<string, number[]>();
  for (const entry of sink.entries) {
    if (!entry.path.startsWith(`/${prefix}/`)) continue;
    const key = entry.headers['idempotency-key'] as string;
    const times = seen.get(key);
    if (times === undefined) seen.set(key, [entry.at]);
    else times.push(entry.at);
  }
  let repeated = 0;
  for (const row of rows) {
    const times = seen.get(`${row.execution_id}.${row.step_id}`) ?? [];
    expect(times.length, `requests of ${row.execution_id}.${row.step_id}`).toBeGreaterThanOrEqual(1);
    expect(row.attempts).toBe(1);
    if (times.length > 1) repeated++;
    // The worker's clock follows the database's to within a few milliseconds.
    expect(Math.max(...times)).toBeLessThanOrEqual(row.finished_ms + 20);
  }
  return { repeated };
}

describe('with API, two workers, PostgreSQL and Redis as separate processes', () => {
  test('2,000 webhooks at 100/s all succeed while a worker is killed every 5 s and Redis flushed twice', async () => {
    const { hook } = await cluster.deploy(threeSteps('killed'));
    let workers: TestProcess[] = [await cluster.startWorker(), await cluster.startWorker()];
    const sending = sendSteadily(hook, 2000, 100);
    const flusher = new Redis(redis.url);
    const killed: number[] = [];
    for (let round = 0; round < 4; round++) {
      await delay(4000);
      if (round === 1 || round === 2) await flusher.flushall();
      const [victim, survivor] = workers as [TestProcess, TestProcess];
      victim.signalGroup('SIGKILL');
      expect(await victim.exited).toBeNull();
      killed.push(victim.pid);
      workers = [survivor, await cluster.startWorker()];
    }
    flusher.disconnect();
    const sent = await sending;
    expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([202]));
    const ids = sent.map(({ executionId }) => executionId);
    expect(new Set(ids).size).toBe(2000);
    const states = await allEnded(ids, 90_000);
    expect(states).toEqual(new Map([['succeeded', 2000]]));
    const { repeated } = await checkLedger(ids, 'killed');
    const { rows } = await sql.query<{ lost: number }>(
      `select count(*)::int as lost from execution where lost_leases > 0 and id = any($1::uuid[])`,
      [ids],
    );
    // Without evidence that leases were lost the test would have shown nothing.
    expect(killed).toHaveLength(4);
    expect(rows[0]!.lost).toBeGreaterThan(0);
    console.log(
      `workers killed: 4, executions that lost a lease: ${rows[0]!.lost}, steps repeated in flight: ${repeated}`,
    );
    for (const worker of workers) worker.signalGroup('SIGKILL');
    await Promise.all(workers.map((worker) => worker.exited));
  });

  test('a worker killed in the middle of a step: the step runs again under the same key, earlier ones do not', async () => {
    const gate = await startSink(({ path }) => (path === '/two' ? { delayMs: 3000 } : {}));
    try {
      const other = await startCluster({
        databaseUrl: database.url,
        built: true,
        env: { LEASE_MS: '2000', HEARTBEAT_MS: '500', EGRESS_ALLOW_PRIVATE: `127.0.0.1:${gate.port}` },
      });
      try {
        const { hook } = await other.deploy(threeStepsAt(gate.url));
        const first = await other.startWorker();
        const reply = await other.post(hook, {});
        const requests = (path: string) => gate.entries.filter((entry) => entry.path === path);
        await waitFor(() => requests('/two').length === 1);
        first.signalGroup('SIGKILL');
        await first.exited;
        await other.startWorker();
        const execution = await other.finished(reply.data.executionId as string, 30_000);
        expect(execution.state).toBe('succeeded');
        expect(['/one', '/two', '/three'].map((path) => requests(path).length)).toEqual([1, 2, 1]);
        expect(new Set(requests('/two').map((entry) => entry.headers['idempotency-key'])).size).toBe(1);
      } finally {
        await other.stop();
      }
    } finally {
      await gate.close();
    }
  });

  const threeStepsAt = (url: string) => `
name: cut-off
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: one, http: { url: "${url}/one" } }
  - { id: two, needs: [one], http: { url: "${url}/two" } }
  - { id: three, needs: [two], http: { url: "${url}/three" } }
`;

  const leaseLosses = async (worker: TestProcess, side: string): Promise<number> => {
    const [, port] = await worker.waitForOutput(/"port":(\d+)[^\n]*"msg":"worker started"/);
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return sumOf(page, 'millrace_lease_losses_total', { side });
  };

  test('a worker that slept through its lease writes nothing when it wakes', async () => {
    const gate = await startSink(({ path }, n) => (path === '/two' && n <= 2 ? { delayMs: 1500 } : {}));
    try {
      const other = await startCluster({
        databaseUrl: database.url,
        built: true,
        env: { LEASE_MS: '2000', HEARTBEAT_MS: '500', EGRESS_ALLOW_PRIVATE: `127.0.0.1:${gate.port}` },
      });
      try {
        const { hook } = await other.deploy(threeStepsAt(gate.url));
        const sleeper = await other.startWorker();
        const reply = await other.post(hook, {});
        const id = reply.data.executionId as string;
        const requests = (path: string) => gate.entries.filter((entry) => entry.path === path);
        await waitFor(() => requests('/two').length === 1);
        sleeper.signal('SIGSTOP');
        const taker = await other.startWorker();
        expect((await other.finished(id, 30_000)).state).toBe('succeeded');
        const before = await sql.query(
          `select * from step_run where execution_id = $1 order by step_id, attempt`,
          [id],
        );
        sleeper.signal('SIGCONT');
        await sleeper.waitForOutput(/fenced/);
        const after = await sql.query(
          `select * from step_run where execution_id = $1 order by step_id, attempt`,
          [id],
        );
        expect(after.rows).toEqual(before.rows);
        expect(['/one', '/two', '/three'].map((path) => requests(path).length)).toEqual([1, 2, 1]);
        await waitFor(async () => (await leaseLosses(sleeper, 'lost')) > 0);
        expect(await leaseLosses(taker, 'taken_over')).toBeGreaterThan(0);
      } finally {
        await other.stop();
      }
    } finally {
      await gate.close();
    }
  });

  test('Redis gone and back changes nothing but latency', async () => {
    const { hook } = await cluster.deploy(threeSteps('without-redis'));
    const worker = await cluster.startWorker();
    const before = await sendSteadily(hook, 20, 50);
    await redis.kill();
    const during = await sendSteadily(hook, 100, 20);
    expect(new Set(during.map(({ status }) => status))).toEqual(new Set([202]));
    const ids = [...before, ...during].map(({ executionId }) => executionId);
    expect(await allEnded(ids, 30_000)).toEqual(new Map([['succeeded', 120]]));
    redis = await startRedisServer({ port: redis.port });
    const after = await sendSteadily(hook, 50, 50);
    const afterIds = after.map(({ executionId }) => executionId);
    expect(await allEnded(afterIds, 30_000)).toEqual(new Map([['succeeded', 50]]));
    await checkLedger([...ids, ...afterIds], 'without-redis');
    worker.signalGroup('SIGKILL');
    await worker.exited;
  });

  test('a Redis that is not there at start is no reason not to start, one that evicts is', async () => {
    const absent = await startCluster({
      databaseUrl: database.url,
      redisUrl: `redis://127.0.0.1:${await freePort()}`,
      built: true,
    });
    try {
      await absent.startWorker();
      const { hook } = await absent.deploy(`
name: no-redis
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: echo, transform: trigger.body }]
`);
      const reply = await absent.post(hook, {});
      expect((await absent.finished(reply.data.executionId as string)).state).toBe('succeeded');
    } finally {
      await absent.stop();
    }
    const evicting = await startRedisServer({ maxmemoryPolicy: 'allkeys-lru' });
    const processes = createProcesses();
    try {
      for (const name of ['api', 'worker'] as const) {
        const refused = processes.start(platformCommand(name, { built: true }), {
          env: {
            DATABASE_URL: database.url,
            REDIS_URL: evicting.url,
            ENCRYPTION_KEY: 'ab'.repeat(32),
            JWT_SECRET: 'cd'.repeat(32),
          },
        });
        expect(await refused.exited).toBe(78);
        expect(refused.stderr()).toContain('maxmemory-policy allkeys-lru');
      }
    } finally {
      await processes.killAll();
      await evicting.stop();
    }
  });

  test('a worker told to stop finishes what runs and takes no more', async () => {
    const { hook } = await cluster.deploy(threeSteps('drained'));
    const worker = await cluster.startWorker();
    const ids = (await sendSteadily(hook, 50, 200)).map(({ executionId }) => executionId);
    worker.signal('SIGTERM');
    expect(await worker.exited).toBe(0);
    const next = await cluster.startWorker();
    expect(await allEnded(ids, 30_000)).toEqual(new Map([['succeeded', 50]]));
    const { repeated } = await checkLedger(ids, 'drained');
    expect(repeated).toBe(0);
    const { rows } = await sql.query(
      `select 1 from execution where lost_leases > 0 and id = any($1::uuid[])`,
      [ids],
    );
    expect(rows).toHaveLength(0);
    next.signalGroup('SIGKILL');
    await next.exited;
  });
});
