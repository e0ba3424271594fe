import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { SIGNERS } from '../../support/signatures.ts';
import { waitFor } from '../../support/wait-for.ts';
import { createBalancer, type Balancer } from '../harness/balancer.ts';
import { callersOf } from '../harness/callers.ts';
import { startLoad, toSpan, type Sent } from '../harness/load.ts';
import { callsOf, callStep, deployOwn, standingOf, type OwnWorkflow } from '../harness/own-workflow.ts';
import type { FaultRow, Scene } from '../harness/row.ts';
import type { Actor, Stage, Target } from '../harness/stage.ts';
import { byLength } from '../length.ts';

const RESTARTS = byLength(10, 100);
/** Half of what other rows send: starting two processes again and again takes the rest of two cores. */
const PER_SECOND = 100;
/** Between an API's leaving the rotation and its SIGTERM: what `preStop` waits for. */
const MOMENT_MS = 100;
/** A worker waits less than this for what runs, then releases it. */
const WORKER_GRACE_MS = 1000;
/** Longer than a worker waits for it. */
const LONG_STEP_MS = 15_000;
const RESUMED_WITHIN_MS = 2000;
/** A busy machine may be late by so much. */
const ALLOWANCE_MS = 1000;
/** A worker whose steps are to be cut off gets one of so many executions. */
const TRIES = 40;

export const rollingRows: readonly FaultRow[] = [
  {
    id: 'R33',
    fault: `SIGTERM rolling restart of API and worker under full load, ${RESTARTS} times`,
    during: 'no non-2xx, no reset',
    after: 'in-flight work finished or released; resumed within 2 s',
    closedBy:
      'an API finishes what it has and says `connection: close`; a worker finishes or releases, and hints',
    // The full load goes to the replicas that are restarted; this is for the API of the other rows.
    perSecond: 1,
    timeoutMs: RESTARTS * 30_000,
    run: restartAll,
  },
];

async function restartAll({ stage, target, extra }: Scene): Promise<readonly string[]> {
  const balancer = createBalancer(target.hook);
  const env = { SHUTDOWN_GRACE_MS: String(WORKER_GRACE_MS) };
  // The workers that were there wait longer for what runs.
  const before = stage.workers.slice();
  const apis = await Promise.all([stage.startApi({ beside: true }), stage.startApi({ beside: true })]);
  await Promise.all(before.map(() => stage.startWorker({ env })));
  await Promise.all(before.map((worker) => stage.end(worker, 'SIGTERM')));
  const long = await deployOwn(stage, (url) => callStep('long', `${url}/\${{ execution.id }}`));
  for (const api of apis) balancer.add(api);
  const load = startLoad({
    origin: '',
    hook: target.hook,
    perSecond: PER_SECOND,
    sender: balancer.sender,
  });
  let pending = 0;
  let longestMs = 0;
  let cutOff = 0;
  const uploads: Sent[] = [];
  const resumedMs: number[] = [];
  try {
    for (let n = 0; n < RESTARTS; n++) {
      const [api] = await Promise.all([stage.startApi({ beside: true }), stage.startWorker({ env })]);
      const replaced = await replaceApi(stage, balancer, apis.shift()!, api, target); // there are always two
      apis.push(api);
      uploads.push(replaced.upload);
      pending += replaced.pendingAtTerm;
      const worker = await endOldestWorker(stage, long);
      cutOff += worker.pendingAtTerm;
      resumedMs.push(worker.resumedMs);
      longestMs = Math.max(longestMs, await caughtUp(stage, target));
    }
  } finally {
    stage.ledger.delay(undefined, 0);
    await load.stop();
  }
  for (const api of apis) await stage.end(api, 'SIGTERM');
  extra.push(...load.sent, ...uploads);
  const { answers } = toSpan([...load.sent, ...uploads]);
  assert.deepEqual(Object.keys(answers), ['202']);
  const slowestMs = Math.max(...resumedMs);
  assert.ok(pending > 0, 'no request was under way when an API was told to end');
  assert.ok(cutOff >= RESTARTS, `only ${cutOff} steps were under way when their workers were told to end`);
  assert.ok(
    slowestMs <= WORKER_GRACE_MS + RESUMED_WITHIN_MS + ALLOWANCE_MS,
    `an execution was resumed ${slowestMs} ms after SIGTERM to its worker`,
  );
  return [
    `${RESTARTS} APIs and ${RESTARTS} workers restarted under ${PER_SECOND}/s: ${answers['202']} × 202, nothing else`,
    `${uploads.length} half-sent and ${pending} other requests under way at SIGTERM`,
    `${cutOff} steps under way at SIGTERM to their workers, resumed ${slowestMs} ms after it at most, ${WORKER_GRACE_MS} ms of which were grace`,
    `every execution started within ${longestMs.toFixed(0)} ms`,
  ];
}

/** As a rollout does it: the next one is ready before the old one leaves the rotation, and a moment later is told to end. */
async function replaceApi(
  stage: Stage,
  balancer: Balancer,
  old: Actor,
  next: Actor,
  target: Target,
): Promise<{ readonly upload: Sent; readonly pendingAtTerm: number }> {
  balancer.add(next);
  const upload = await startUpload(old, target);
  const pendingAtTerm = await withoutWrites(stage, async () => {
    await waitFor(() => balancer.pending(old) > 0, { timeoutMs: MOMENT_MS }).catch(() => undefined);
    balancer.remove(old);
    await delay(MOMENT_MS);
    old.process.signal('SIGTERM');
    return balancer.pending(old);
  });
  await delay(MOMENT_MS);
  const sent = await upload();
  assert.equal(await old.process.exited, 0);
  return { upload: sent, pendingAtTerm };
}

/** Requests stay under way until `work` is done, which is sooner than an API gives them up. */
async function withoutWrites<T>({ sql }: Stage, work: () => Promise<T>): Promise<T> {
  const locker = await sql.connect();
  try {
    await locker.query('begin; lock table delivery in share mode');
    return await work();
  } finally {
    await locker.query('rollback');
    locker.release();
  }
}

/** A request of which only half has been sent; the function that is returned sends the rest. */
async function startUpload(api: Actor, target: Target): Promise<() => Promise<Sent>> {
  const id = randomUUID();
  const body = Buffer.from(JSON.stringify({ id }));
  const sentAtMs = Date.now();
  const upload = request({
    port: api.port,
    host: '127.0.0.1',
    path: target.hook,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'content-length': body.length,
      ...SIGNERS.github(body, id),
    },
  });
  await new Promise<void>((resolve) => upload.write(body.subarray(0, 5), () => resolve()));
  return async () => {
    upload.end(body.subarray(5));
    const [response] = (await once(upload, 'response')) as [IncomingMessage];
    response.resume();
    assert.equal(response.headers.connection, 'close', 'the sender was not told that the API ends');
    return {
      id,
      outcome: response.statusCode === 202 ? 'ok' : 'info',
      answer: response.statusCode ?? 0,
      retryAfter: undefined,
      executionId: undefined,
      duplicate: false,
      sentAtMs,
      tookMs: Date.now() - sentAtMs,
    };
  };
}

/**
 * Ends the oldest worker, whose successor is ready, while it waits for a step that is longer than its grace.
 *
 * @returns how many steps it was at when it was told to end, and how long after that they were called again, in milliseconds
 */
async function endOldestWorker(
  stage: Stage,
  long: OwnWorkflow,
): Promise<{ readonly pendingAtTerm: number; readonly resumedMs: number }> {
  const old = stage.workers[0]!; // there are always three
  const id = await startOn(stage, old, long);
  const pendingAtTerm = (await callersOf(stage, long.path)).filter((worker) => worker === old).length;
  const toldAtMs = Date.now();
  await stage.end(old, 'SIGTERM');
  assert.equal(await old.process.exited, 0);
  const key = `${id}.long`;
  await waitFor(() => stage.ledger.timesOf(key).length > 1, {
    timeoutMs: 20_000,
    what: 'a released execution to be resumed',
  }).catch(async (cause: unknown) => {
    const standing = JSON.stringify(await standingOf(stage, id));
    throw new Error(`execution ${id} was not resumed: ${standing}`, { cause });
  });
  assert.deepEqual(callsOf(stage, id, ['long']), [2]);
  assert.equal((await standingOf(stage, id)).lost_leases, 0, 'the lease was lost instead of released');
  return { pendingAtTerm, resumedMs: stage.ledger.timesOf(key)[1]! - toldAtMs }; // it is there
}

/** Has a worker wait for the answer to a step; executions that other workers took do the same there. */
async function startOn(stage: Stage, worker: Actor, long: OwnWorkflow): Promise<string> {
  for (let n = 0; n < TRIES; n++) {
    stage.ledger.delay(long.path, LONG_STEP_MS);
    const id = await long.start();
    const call = new RegExp(`${long.path.source}${id}`);
    await waitFor(() => stage.ledger.pending(call) === 1, {
      timeoutMs: 30_000,
      what: 'a long step to be under way',
    });
    // The next call is answered at once.
    stage.ledger.delay(undefined, 0);
    if ((await callersOf(stage, call)).includes(worker)) return id;
  }
  throw new assert.AssertionError({ message: `the worker took none of ${TRIES} executions` });
}

/** Waits until nothing is left that a restart delayed. @returns from acceptance to start, of the slowest, in milliseconds */
async function caughtUp({ sql }: Stage, { endpointId }: Target): Promise<number> {
  return waitFor(
    async () => {
      const { rows } = await sql.query<{ slowest: number; waiting: number }>(
        `select (extract(epoch from max(e.started_at - e.created_at)) * 1000)::float8 as slowest,
           count(*) filter (where e.started_at is null and e.created_at < now() - interval '1 second')::int as waiting
         from execution e join delivery d on d.id = e.delivery_id where d.endpoint_id = $1`,
        [endpointId],
      );
      return rows[0]?.waiting === 0 && rows[0].slowest;
    },
    { timeoutMs: 60_000, intervalMs: 200, what: 'what waited during a restart to start' },
  );
}
