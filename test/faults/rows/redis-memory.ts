import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startRedisServer } from '../../support/redis-server.ts';
import { waitFor } from '../../support/wait-for.ts';
import { executionOfHint, hintsIn, whileStopped } from '../harness/hints.ts';
import { hintsOf } from '../harness/metrics.ts';
import { endedUntil } from '../harness/own-workflow.ts';
import type { FaultRow, Scene } from '../harness/row.ts';
import type { Actor } from '../harness/stage.ts';

/** Well below a lease. */
const PILE_UP_MS = 1000;
const FULL_MS = 5000;
const EXIT_CONFIG = 78;

export const memoryRows: readonly FaultRow[] = [
  {
    id: 'R05',
    fault: 'Redis replaced by an empty one, then by an older snapshot',
    during: '202',
    after: 'the checker holds; stale hints do nothing',
    closedBy: 'a claim succeeds only for executions that are due in PostgreSQL',
    run: replaceRedis,
  },
  {
    id: 'R06',
    fault: 'Redis out of memory under noeviction',
    during: '202',
    after: 'the checker holds; a metric counts the hints that were not carried',
    closedBy: 'a Redis that refuses writes counts as gone',
    run: fillRedis,
  },
  {
    id: 'R07',
    fault: 'Redis with an evicting policy',
    during: 'no process starts with it',
    after: 'exit 78, the message names the setting',
    closedBy: 'API and worker look at the policy before they start',
    run: refuseEviction,
  },
];

async function replaceRedis({ stage, load, target }: Scene): Promise<readonly string[]> {
  const file = join(stage.directory, 'older.rdb');
  const evidence: string[] = [];
  let replacedAtMs = 0;
  const span = await load.during(async () => {
    const snapshotAtMs = await whileStopped(stage.workers, async () => {
      await delay(PILE_UP_MS);
      await stage.redis.snapshot(file);
      return Date.now();
    });

    const { pid } = stage.redis;
    await stage.redis.kill();
    await stage.replaceRedis();
    evidence.push(`redis-server ${pid} replaced by ${stage.redis.pid}, which had nothing`);
    await endedUntil(stage, target, snapshotAtMs, 60_000);

    await stage.redis.kill();
    replacedAtMs = Date.now();
    await stage.replaceRedis({ snapshot: file });
  });
  assert.deepEqual(Object.keys(span.answers), ['202']);
  // Looked at in the file itself: the workers are at the one that replaced it already.
  const copy = await startRedisServer({ snapshot: file });
  const stale = await hintsIn(copy.url);
  await copy.stop();
  assert.ok(stale.length > 0, 'the snapshot holds no hint');
  const { rows } = await stage.sql.query<{ ended: number }>(
    `select count(*)::int as ended from execution where id = any($1) and finished_at < to_timestamp($2 / 1000.0)`,
    [stale.map(executionOfHint), replacedAtMs],
  );
  assert.equal(rows[0]?.ended, stale.length, 'hints of the snapshot are of executions that had not ended');
  await waitFor(
    async () => {
      const left = new Set(await hintsIn(stage.redis.url));
      return stale.every((id) => !left.has(id));
    },
    { timeoutMs: 60_000, intervalMs: 200, what: 'the stale hints to be taken' },
  );
  return [
    ...evidence,
    `then by a snapshot with ${stale.length} hints of executions that had ended, all taken`,
    `${span.sent.length} × 202`,
  ];
}

async function fillRedis({ stage, load }: Scene): Promise<readonly string[]> {
  const redis = new Redis(stage.redis.url);
  const notCarried = async (): Promise<number> =>
    (await hintsOf(stage.api, 'failed')) + (await hintsOf(stage.api, 'dropped'));
  const before = await notCarried();
  let refusal = '';
  const span = await load.during(async () => {
    await redis.config('SET', 'maxmemory', '1');
    refusal = await redis.set('faults:full', '1').then(
      () => 'none',
      (error: Error) => error.message,
    );
    await delay(FULL_MS);
    await redis.config('SET', 'maxmemory', '0');
  });
  redis.disconnect();
  const lost = (await notCarried()) - before;
  assert.match(refusal, /^OOM /);
  assert.deepEqual(Object.keys(span.answers), ['202']);
  assert.ok(lost > 0.9 * span.sent.length, `only ${lost} hints were counted as not carried`);
  const published = await hintsOf(stage.api, 'published');
  await waitFor(async () => (await hintsOf(stage.api, 'published')) > published, {
    timeoutMs: 10_000,
    what: 'hints to be carried again',
  });
  return [
    `redis-server answered ${refusal.slice(0, 24)}…`,
    `${span.answers['202']} × 202, ${lost} hints counted as not carried`,
  ];
}

async function refuseEviction({ stage }: Scene): Promise<readonly string[]> {
  const evicting = await startRedisServer({ maxmemoryPolicy: 'allkeys-lru' });
  const options = { env: { REDIS_URL: evicting.url }, isReady: false, beside: true };
  const evidence: string[] = [];
  for (const start of ['startApi', 'startWorker'] as const) {
    const actor: Actor = await stage[start](options);
    await waitFor(() => actor.process.hasExited(), { timeoutMs: 30_000, what: 'the process to refuse' });
    assert.equal(await actor.process.exited, EXIT_CONFIG);
    assert.match(actor.process.stderr(), /maxmemory-policy allkeys-lru.*set it to noeviction/);
    await stage.end(actor, 'SIGKILL'); // forgets it
    evidence.push(`${actor.name} exited with ${EXIT_CONFIG}: ${actor.process.stderr().trim().slice(0, 90)}…`);
  }
  await evicting.stop();
  return evidence;
}
