import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type pg from 'pg';
import { waitFor } from '../../support/wait-for.ts';
import { executionOfHint, hintsIn, whileStopped } from '../harness/hints.ts';
import type { FaultGroup, Scene } from '../harness/row.ts';
import { BACK_MS, cutOffRow } from './redis-absent.ts';
import { memoryRows } from './redis-memory.ts';

const FLUSHES = 3;
/** Hints that wait when Redis is flushed, a part of a second's. */
const PILE = 50;
/** Dispatchers look every 15 s while hints are carried; a busy machine takes some more. */
const STARTED_WITHIN_S = 20;

/** Redis carries hints only: whatever happens to it costs time, never work. */
export const redisGroup: FaultGroup = {
  name: 'Redis',
  stage: { workers: 2 },
  rows: [
    {
      id: 'R01',
      fault: 'Redis FLUSHALL',
      during: '202 throughout',
      after: 'queued executions start within 16 s',
      closedBy: 'the dispatcher finds queued rows in PostgreSQL; hints are only hints',
      run: flush,
    },
    {
      id: 'R02',
      fault: 'Redis SIGKILL and restart',
      during: '202, accept p99 < 1 s',
      after: 'the checker holds',
      closedBy: 'commands to Redis are never waited for; workers poll PostgreSQL while it is gone',
      async run({ stage, load }) {
        const { pid } = stage.redis;
        const span = await load.during(async () => {
          await stage.redis.kill();
          await delay(5000);
          await stage.replaceRedis();
          await delay(BACK_MS);
        });
        assert.deepEqual(Object.keys(span.answers), ['202']);
        assert.ok(span.p99Ms < 1000, `accept p99 was ${span.p99Ms} ms`);
        assert.notEqual(stage.redis.pid, pid);
        return [
          `redis-server ${pid} killed, gone for 5 s`,
          `until ${BACK_MS / 1000} s after its return ${span.answers['202']} × 202, p99 ${span.p99Ms.toFixed(0)} ms`,
        ];
      },
    },
    ...memoryRows,
    cutOffRow,
  ],
};

async function flush({ stage, load }: Scene): Promise<readonly string[]> {
  const redis = new Redis(stage.redis.url);
  const flushed = new Map<string, number>();
  const span = await load.during(async () => {
    for (let n = 0; n < FLUSHES; n++) {
      await whileStopped(stage.workers, async () => {
        const hints = await waitFor(
          async () => {
            const waiting = await hintsIn(stage.redis.url);
            return waiting.length >= PILE && waiting;
          },
          { timeoutMs: 3000, intervalMs: 50, what: 'hints to pile up' },
        );
        await redis.flushall();
        for (const hint of hints) flushed.set(executionOfHint(hint), Date.now());
      });
      await delay(500);
    }
  });
  redis.disconnect();
  assert.deepEqual(Object.keys(span.answers), ['202']);
  const waitedS = await waitFor(() => waitsAfter(stage.sql, flushed), {
    timeoutMs: 2 * STARTED_WITHIN_S * 1000,
    intervalMs: 200,
    what: 'executions whose hints were flushed to start',
  });
  const queued = waitedS.filter((seconds) => seconds > 0);
  assert.ok(queued.length >= PILE, `only ${queued.length} of ${flushed.size} executions had not started`);
  const longestS = Math.max(...queued);
  assert.ok(longestS <= STARTED_WITHIN_S, `an execution whose hint was flushed started ${longestS} s later`);
  return [
    `${queued.length} hints of queued executions flushed, in ${FLUSHES} flushes`,
    `their executions started within ${longestS.toFixed(1)} s`,
    `${span.answers['202']} × 202`,
  ];
}

/** Of each execution: the seconds from a time to its start; undefined while one has not started. */
async function waitsAfter(
  sql: pg.Pool,
  sinceMs: ReadonlyMap<string, number>,
): Promise<readonly number[] | undefined> {
  const { rows } = await sql.query<{ id: string; started_ms: number }>(
    `select id, (extract(epoch from started_at) * 1000)::float8 as started_ms
     from execution where id = any($1) and started_at is not null`,
    [[...sinceMs.keys()]],
  );
  if (rows.length < sinceMs.size) return undefined;
  return rows.map(({ id, started_ms }) => (started_ms - sinceMs.get(id)!) / 1000); // each was asked for
}
