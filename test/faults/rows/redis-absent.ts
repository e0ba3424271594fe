import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { waitFor } from '../../support/wait-for.ts';
import { hintsOf, readMetric } from '../harness/metrics.ts';
import { endedUntil } from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow, Scene } from '../harness/row.ts';
import type { Stage, Target } from '../harness/stage.ts';
import { byLength } from '../length.ts';

const GONE_MS = byLength(120_000, 600_000);
const HANGS_MS = 60_000;
/** What is asserted while Redis is gone is so for this long after its return, too. */
export const BACK_MS = 3000;
const CUT_MS = 5000;
const SAMPLE_MS = 5000;
const WINDOW_S = 10;
/** Of the lowest figure of a quarter: what is collected in between is no growth. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

/** Redis that is away for minutes. */
export const absenceGroup: FaultGroup = {
  name: 'Redis that stays away',
  stage: { workers: 2 },
  rows: [
    {
      id: 'R03',
      fault: `Redis gone for ${GONE_MS / 60_000} min`,
      during: '202; API memory flat',
      after: 'executions keep finishing through PostgreSQL',
      closedBy: 'hints that cannot be sent are dropped, not kept; workers poll PostgreSQL',
      timeoutMs: GONE_MS + 180_000,
      run: loseRedis,
    },
    {
      id: 'R08',
      fault: `Redis hangs for ${HANGS_MS / 1000} s`,
      during: '202, accept p99 < 1 s',
      after: 'the checker holds',
      closedBy:
        'commands to Redis are never waited for; one that answers nothing for a second counts as gone',
      timeoutMs: HANGS_MS + 180_000,
      run: hangRedis,
    },
  ],
};

export const cutOffRow: FaultRow = {
  id: 'R32',
  fault: 'worker cut off from Redis only',
  during: '202',
  after: 'works through PostgreSQL',
  closedBy: 'a worker that hears nothing from Redis polls PostgreSQL every 250 ms',
  perSecond: 100,
  run: cutWorker,
};

async function loseRedis({ stage, load, target }: Scene): Promise<readonly string[]> {
  const { pid } = stage.redis;
  const samples: Memory[] = [];
  const droppedBefore = await hintsOf(stage.api, 'dropped');
  const fromMs = Date.now();
  let dropped = 0;
  let backAtMs = 0;
  const span = await load.during(async () => {
    await stage.redis.kill();
    while (Date.now() - fromMs < GONE_MS) {
      await delay(SAMPLE_MS);
      samples.push(await memoryOf(stage));
    }
    dropped = (await hintsOf(stage.api, 'dropped')) - droppedBefore;
    backAtMs = Date.now();
    await stage.replaceRedis();
    await delay(BACK_MS);
  });
  const finished = await finishedPerWindow(stage, target, fromMs, GONE_MS);
  assert.deepEqual(Object.keys(span.answers), ['202']);
  const sentMeanwhile = span.sent.filter(({ sentAtMs }) => sentAtMs < backAtMs).length;
  assert.ok(dropped > 0.9 * sentMeanwhile, `only ${dropped} hints of ${sentMeanwhile} were dropped`);
  const growth = { rss: growthOf(samples, 'rss'), heap: growthOf(samples, 'heap') };
  assert.ok(growth.rss < MAX_GROWTH_BYTES, `resident memory grew by ${mib(growth.rss)} MiB`);
  assert.ok(growth.heap < MAX_GROWTH_BYTES, `the heap grew by ${mib(growth.heap)} MiB`);
  const least = Math.min(...finished);
  const accepted = (sentMeanwhile / GONE_MS) * 1000 * WINDOW_S;
  assert.ok(least > accepted / 2, `in some ${WINDOW_S} s only ${least} executions finished`);
  return [
    `redis-server ${pid} killed, gone for ${GONE_MS / 1000} s, ${dropped} hints dropped`,
    `until ${BACK_MS / 1000} s after its return ${span.answers['202']} × 202, p99 ${span.p99Ms.toFixed(0)} ms`,
    `API memory ${mib(samples.at(-1)!.rss)} MiB, from the second quarter to the last ${mib(growth.rss)} MiB (heap ${mib(growth.heap)})`,
    `at least ${least} executions finished in each ${WINDOW_S} s`,
  ];
}

interface Memory {
  readonly rss: number;
  readonly heap: number;
}

const memoryOf = async ({ api }: Stage): Promise<Memory> => ({
  rss: await readMetric(api, 'process_resident_memory_bytes'),
  heap: await readMetric(api, 'nodejs_heap_size_used_bytes'),
});

const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);

/** From the lowest of the second quarter, when all is warm, to the lowest of the last. */
function growthOf(samples: readonly Memory[], of: keyof Memory): number {
  const quarter = Math.floor(samples.length / 4);
  const lowest = (part: readonly Memory[]): number => Math.min(...part.map((sample) => sample[of]));
  return lowest(samples.slice(-quarter)) - lowest(samples.slice(quarter, 2 * quarter));
}

async function finishedPerWindow(
  { sql }: Stage,
  { endpointId }: Target,
  fromMs: number,
  lengthMs: number,
): Promise<readonly number[]> {
  const { rows } = await sql.query<{ finished: number }>(
    `select count(e.id)::int as finished
     from generate_series(0, $3::int - 1) as n
       left join (execution e join delivery d on d.id = e.delivery_id and d.endpoint_id = $1)
         on e.finished_at >= to_timestamp($2 / 1000.0) + n * $4 * interval '1 s'
         and e.finished_at < to_timestamp($2 / 1000.0) + (n + 1) * $4 * interval '1 s'
     group by n order by n`,
    [endpointId, fromMs, Math.floor(lengthMs / 1000 / WINDOW_S), WINDOW_S],
  );
  return rows.map(({ finished }) => finished);
}

async function hangRedis({ stage, load, target }: Scene): Promise<readonly string[]> {
  const { pid, url } = stage.redis;
  const fromMs = Date.now();
  const client = new Redis(url, { commandTimeout: 2000 });
  await client.ping();
  let answered = true;
  const span = await load.during(async () => {
    process.kill(pid, 'SIGSTOP');
    try {
      answered = await client.ping().then(
        () => true,
        () => false,
      );
      await delay(HANGS_MS - (Date.now() - fromMs));
      await endedUntil(stage, target, Date.now() - SAMPLE_MS, 30_000); // it hangs all the while
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await delay(BACK_MS);
  });
  client.disconnect();
  assert.equal(answered, false, 'Redis answered while it was stopped');
  assert.deepEqual(Object.keys(span.answers), ['202']);
  assert.ok(span.p99Ms < 1000, `accept p99 was ${span.p99Ms} ms`);
  return [
    `redis-server ${pid} stopped for ${HANGS_MS / 1000} s; a ping had no answer`,
    `until ${BACK_MS / 1000} s after its return ${span.answers['202']} × 202, p99 ${span.p99Ms.toFixed(0)} ms; executions finished meanwhile`,
  ];
}

/** The only worker, so that nobody else can do its work: first it hears nothing any more, then it cannot even connect. */
async function cutWorker({ stage, load, target }: Scene): Promise<readonly string[]> {
  for (const other of stage.workers.slice(1)) await stage.end(other, 'SIGTERM');
  const worker = stage.workers[0]!; // the stage has two
  const evidence: string[] = [];
  const span = await load.during(async () => {
    for (const fault of ['silence', 'cut'] as const) {
      await worker.redis[fault]();
      await delay(1000);
      const before = await hintsOf(worker, 'received');
      const fromMs = Date.now();
      await delay(CUT_MS);
      await endedUntil(stage, target, Date.now() - 1000, 30_000);
      const finished = (await finishedPerWindow(stage, target, fromMs, WINDOW_S * 1000))[0] ?? 0;
      const received = (await hintsOf(worker, 'received')) - before;
      await worker.redis.heal();
      assert.equal(received, 0, `hints came through (${fault})`);
      assert.ok(finished > 0, `nothing finished (${fault})`);
      evidence.push(`${fault}: no hint received, ${finished} executions finished`);
    }
  });
  assert.deepEqual(Object.keys(span.answers), ['202']);
  const before = await hintsOf(worker, 'received');
  await stage.startWorker();
  const received = await waitFor(async () => (await hintsOf(worker, 'received')) - before || false, {
    what: 'a hint to come after healing',
  });
  return [...evidence, `${received} hints received after healing`];
}
