import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { waitFor } from '../../support/wait-for.ts';
import { callersOf } from '../harness/callers.ts';
import { callsOf, callStep, deployOwn, endedUntil, standingOf } from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow, Scene } from '../harness/row.ts';
import type { Actor, Stage } from '../harness/stage.ts';
import { wrongClocks } from './worker-clocks.ts';

const LEASE_MS = 6000;
const POLL_MS = 5000;
/** An execution whose worker is gone is running again after this long. */
const TAKEN_OVER_WITHIN_MS = LEASE_MS + POLL_MS + 5000;
const GRACE_MS = 10_000;
/** After SIGTERM a worker gives up what still runs 5 s before its grace is over; so much earlier or later is seen as that. */
const RELEASED_AT_MS = { from: GRACE_MS - 6000, until: GRACE_MS - 3500 };

/** Starts a worker that kills itself at a failpoint, and waits until it has. */
async function loseWorker(stage: Stage, failpoint: string): Promise<{ pid: number; diedAtMs: number }> {
  const victim = await stage.startWorker({ env: { MILLRACE_FAILPOINTS: failpoint }, isReady: false });
  const code = await Promise.race([victim.process.exited, delay(30_000, 'alive' as const, { ref: false })]);
  const diedAtMs = Date.now();
  await stage.end(victim, 'SIGKILL');
  assert.equal(code, null, `no signal ended the worker: ${victim.process.output().slice(-2000)}`);
  return { pid: victim.process.pid, diedAtMs };
}

const beforeClaim: FaultRow = {
  id: 'R09',
  fault: 'worker SIGKILL before the claim',
  during: '–',
  after: 'runs ≤ 46 s later, each step once',
  closedBy: 'a hint is only a hint: the row is still queued, and the dispatcher finds it',
  async run({ stage, target }) {
    const { pid, diedAtMs } = await loseWorker(stage, 'worker.before-claim');
    const hinted = await hintsOfTheDead(stage);
    await endedUntil(stage, target, diedAtMs, TAKEN_OVER_WITHIN_MS);
    // The worker's dispatcher may have claimed some before the first hint was looked at: those were lost by their lease.
    const { rows } = await stage.sql.query<{ id: string; claims: number; waited_ms: number }>(
      `select id, dispatch_number as claims, (extract(epoch from started_at - created_at) * 1000)::float8 as waited_ms
       from execution where id = any($1::uuid[]) and lost_leases = 0`,
      [hinted],
    );
    assert.ok(rows.length > 0, 'the worker died with no hint in its hands');
    for (const { id, claims } of rows) {
      assert.deepEqual([claims, ...callsOf(stage, id, ['one', 'two', 'three'])], [1, 1, 1, 1]);
    }
    const longestMs = Math.max(...rows.map(({ waited_ms }) => waited_ms));
    return [
      `worker ${pid} killed itself before its first claim, with ${rows.length} hints in its hands`,
      `their executions began at most ${(longestMs / 1000).toFixed(1)} s after they were accepted`,
    ];
  },
};

/** The executions whose hints no living worker gives back: the living have a hint for less than a second. */
async function hintsOfTheDead(stage: Stage): Promise<readonly string[]> {
  const redis = new Redis(stage.redis.url);
  try {
    const taken = async (): Promise<readonly string[]> => {
      const lists = await redis.keys('*:active');
      return (await Promise.all(lists.map((list) => redis.lrange(list, 0, -1)))).flat();
    };
    const first = await taken();
    await delay(2000);
    const later = new Set(await taken());
    return first.filter((job) => later.has(job)).map((job) => job.replace(/-\d+$/, ''));
  } finally {
    redis.disconnect();
  }
}

const HELD = 5;

const insideStep: FaultRow = {
  id: 'R10',
  fault: 'worker SIGKILL inside step 2 of 3',
  during: '–',
  after: 'step 1 once; step 2 twice, same idempotency key; step 3 once',
  closedBy: 'a lease that ends, and a journal that says which steps are done',
  async run({ stage }) {
    const own = await deployOwn(stage, (url) =>
      [
        callStep('one', url),
        callStep('two', url, 'needs: [one]'),
        callStep('three', url, 'needs: [two]'),
      ].join('\n'),
    );
    const inTwo = new RegExp(`${own.path.source}two`);
    stage.ledger.delay(inTwo, 60_000);
    const ids = await Promise.all(Array.from({ length: HELD }, () => own.start()));
    await waitFor(() => stage.ledger.pending(inTwo) === HELD, { what: 'every step 2 to be under way' });
    // All of their workers, so that each of them is cut off.
    const victims = new Set(await callersOf(stage, inTwo));
    assert.ok(victims.size > 0, 'no worker was found at work');
    stage.ledger.delay(undefined, 0);
    await Promise.all([...victims].map((victim) => stage.end(victim, 'SIGKILL')));
    await Promise.all([...victims].map(() => stage.startWorker()));
    for (const id of ids) {
      await waitFor(async () => (await standingOf(stage, id)).state === 'succeeded', {
        timeoutMs: TAKEN_OVER_WITHIN_MS,
        what: 'an execution that was cut off to end',
      });
      assert.deepEqual(callsOf(stage, id, ['one', 'two', 'three']), [1, 2, 1]);
      assert.equal((await standingOf(stage, id)).lost_leases, 1);
    }
    const keys = [...stage.ledger.keys()].filter((key) => ids.some((id) => key.startsWith(id)));
    assert.equal(keys.length, 3 * HELD, 'a step came under another key');
    return [
      `${victims.size} workers killed with ${HELD} executions in step 2`,
      `their steps called the outside 1, 2 and 1 times under ${keys.length} keys`,
    ];
  },
};

const STEP_TWO_MS = 300;
const SLOW_PACE = 60;
const USUAL_PACE = 200;

const afterWrite: FaultRow = {
  id: 'R11',
  fault: 'worker SIGKILL after the journal write',
  during: '–',
  after: 'nothing re-runs; continues at the next step',
  closedBy: 'outcomes are committed before what depends on them, and a resume reads them',
  async run({ stage, target, load }) {
    // Slow enough that executions stand behind their first step, which is recorded, whichever write is the last.
    load.pace(SLOW_PACE);
    stage.ledger.delay(new RegExp(`^/${target.name}/two$`), STEP_TWO_MS);
    const { pid, diedAtMs } = await loseWorker(stage, 'journal.after-write@20');
    stage.ledger.delay(undefined, 0);
    load.pace(USUAL_PACE);
    await endedUntil(stage, target, diedAtMs, TAKEN_OVER_WITHIN_MS);
    const { rows } = await stage.sql.query<{ id: string; done: string[]; later: number }>(
      `select e.id, array_agg(s.step_id) filter (where s.finished_at <= to_timestamp($2 / 1000.0)) as done,
         count(*) filter (where s.finished_at > to_timestamp($2 / 1000.0))::int as later
       from execution e join delivery d on d.id = e.delivery_id join step_run s on s.execution_id = e.id
       where d.endpoint_id = $1 and e.lost_leases > 0 and s.state = 'succeeded' group by 1`,
      [target.endpointId, diedAtMs],
    );
    const resumed = rows.filter(({ done, later }) => done !== null && later > 0);
    assert.ok(resumed.length > 0, `no execution was cut off between its steps: ${JSON.stringify(rows)}`);
    for (const { id, done } of resumed) {
      const calls = callsOf(stage, id, done);
      assert.ok(
        calls.every((count) => count === 1),
        `a step whose outcome was recorded ran again: ${done.join(', ')} were called ${calls.join(', ')} times`,
      );
    }
    return [
      `worker ${pid} killed itself after its 20th write`,
      `${rows.length} executions lost their lease, ${resumed.length} of them went on behind a recorded step, which ran once`,
    ];
  },
};

/** Of the outcomes that a worker counted. */
async function succeededIn({ port }: Actor): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const counts = text.matchAll(/^millrace_executions_total\{[^}]*outcome="succeeded"\} (\d+)$/gm);
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

const DISPATCHERS = 5;

const dispatchers: FaultRow = {
  id: 'R39',
  fault: 'five dispatchers at once, without hints',
  during: '–',
  after: 'no duplicate',
  closedBy: 'claims lock rows with SKIP LOCKED and compare the state they set',
  async run({ stage, target }) {
    const before = [...stage.workers];
    const five = await Promise.all(
      Array.from({ length: DISPATCHERS }, () => stage.startWorker({ env: { REDIS_URL: '' } })),
    );
    await Promise.all(before.map((worker) => stage.end(worker, 'SIGTERM')));
    const aloneFromMs = Date.now();
    await delay(6000);
    const aloneUntilMs = Date.now();
    await endedUntil(stage, target, aloneUntilMs, 30_000);
    const each = await Promise.all(five.map(succeededIn));
    assert.ok(
      each.every((count) => count > 0),
      `a dispatcher found nothing: ${each.join(', ')}`,
    );
    const { rows } = await stage.sql.query<{ executions: number; repeated: number }>(
      `select count(*)::int as executions, count(*) filter (where e.dispatch_number <> 1)::int as repeated
       from execution e join delivery d on d.id = e.delivery_id
       where d.endpoint_id = $1 and e.created_at between to_timestamp($2 / 1000.0) and to_timestamp($3 / 1000.0)`,
      [target.endpointId, aloneFromMs, aloneUntilMs],
    );
    const { executions, repeated } = rows[0]!; // an aggregate
    assert.equal(repeated, 0, 'executions were claimed more than once');
    await Promise.all(before.map(() => stage.startWorker()));
    await Promise.all(five.map((worker) => stage.end(worker, 'SIGTERM')));
    return [
      `five workers without Redis ran ${each.join(', ')} executions`,
      `${executions} that were accepted meanwhile were claimed once each`,
    ];
  },
};

const longStep: FaultRow = {
  id: 'R34',
  fault: 'SIGTERM with a 20 min step running',
  during: '–',
  after: 'lease released at grace − 5 s; runs elsewhere, or `failed` when `atMostOnce`',
  closedBy: 'a stopping worker ends its attempts early enough to give up their leases itself',
  boundMs: GRACE_MS + 60_000,
  async run(scene) {
    const { stage } = scene;
    const slow = await deployOwn(stage, (url) => callStep('slow', url, 'timeout: 30m'));
    const once = await deployOwn(stage, (url) => callStep('once', url, 'timeout: 30m, atMostOnce: true'));
    const either = new RegExp(`${slow.path.source}|${once.path.source}`);
    stage.ledger.delay(either, 20 * 60_000);
    const slowId = await slow.start();
    const onceId = await once.start();
    await waitFor(() => stage.ledger.pending(either) === 2, { what: 'both steps to be under way' });
    const stopping = new Set(await callersOf(stage, either));
    assert.ok(stopping.size > 0, 'no worker was found at work');
    await Promise.all([...stopping].map(() => stage.startWorker()));
    stage.ledger.delay(undefined, 0);
    const [heldSlow, heldOnce] = await Promise.all([standingOf(stage, slowId), standingOf(stage, onceId)]);
    const signalledAt = performance.now();
    const ended = [...stopping].map(async (worker) => {
      await stage.end(worker, 'SIGTERM');
      return { code: await worker.process.exited, tookMs: performance.now() - signalledAt };
    });
    const releasedMs = await Promise.all([
      released(scene, slowId, heldSlow.lease_id, signalledAt),
      released(scene, onceId, heldOnce.lease_id, signalledAt),
    ]);
    for (const { code, tookMs } of await Promise.all(ended)) {
      assert.equal(code, 0);
      assert.ok(tookMs < GRACE_MS + 1000, `a worker took ${tookMs} ms to stop`);
    }
    for (const ms of releasedMs) {
      assert.ok(
        ms > RELEASED_AT_MS.from && ms < RELEASED_AT_MS.until,
        `a lease was given up ${ms} ms after SIGTERM`,
      );
    }
    const done = await stage.client.finished(slowId, 60_000);
    const failed = await stage.client.finished(onceId, 60_000);
    assert.equal(done.state, 'succeeded');
    assert.equal(failed.state, 'failed');
    assert.equal((failed['error'] as { code: string }).code, 'worker_lost');
    assert.deepEqual([...callsOf(stage, slowId, ['slow']), ...callsOf(stage, onceId, ['once'])], [2, 1]);
    for (const id of [slowId, onceId]) assert.equal((await standingOf(stage, id)).lost_leases, 0);
    return [
      `leases released ${releasedMs.map((ms) => (ms / 1000).toFixed(1)).join(' and ')} s after SIGTERM, with ${GRACE_MS / 1000} s of grace`,
      'the step ran again elsewhere, the `atMostOnce` one failed as `worker_lost` after one call',
    ];
  },
};

/** Milliseconds until another lease, or none, is in the row. */
async function released(
  { stage }: Scene,
  executionId: string,
  leaseId: string | null,
  sinceMs: number,
): Promise<number> {
  assert.ok(leaseId !== null, 'nobody held the execution');
  await waitFor(async () => (await standingOf(stage, executionId)).lease_id !== leaseId, {
    timeoutMs: 2 * GRACE_MS,
    what: 'the lease to be given up',
  });
  return performance.now() - sinceMs;
}

/** Whatever happens to a worker, its executions go on elsewhere, and no step that is done runs again. */
export const workerGroup: FaultGroup = {
  name: 'Workers',
  stage: {
    workers: 2,
    env: { LEASE_MS: String(LEASE_MS), POLL_MS: String(POLL_MS), SHUTDOWN_GRACE_MS: String(GRACE_MS) },
  },
  rows: [beforeClaim, insideStep, afterWrite, wrongClocks, dispatchers, longStep],
};
