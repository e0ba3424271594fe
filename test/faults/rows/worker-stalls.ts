import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../support/wait-for.ts';
import { readMetric } from '../harness/metrics.ts';
import {
  callsOf,
  callStep,
  deployOwn,
  endedUntil,
  standingOf,
  type OwnWorkflow,
} from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow, Scene } from '../harness/row.ts';
import {
  sandboxesGone,
  startSandboxWorker,
  STUBBORN_FILES,
  stubbornStep,
  type SandboxWorker,
} from '../harness/sandbox-worker.ts';
import type { Actor, Stage } from '../harness/stage.ts';

const LEASE_MS = 45_000;
const STOPPED_MS = 90_000;
const STARTS_WITHIN_MS = 30_000;
const PER_SECOND = 30;
const NEVER_MS = 20 * 60_000;

/**
 * What the sleeper has in hand when it is stopped. The step of `code` is answered while it sleeps, so that it wakes up
 * with an outcome. The outcome of `held` was written already, but reaches PostgreSQL when another worker runs that step.
 */
interface InHand {
  readonly code: Held;
  readonly held: Held;
}

interface Held {
  readonly own: OwnWorkflow;
  readonly id: string;
  /** Under which the sleeper ran it. */
  readonly leaseId: string | null;
}

const stalled: FaultRow = {
  id: 'R12',
  fault: 'worker SIGSTOP 90 s, then CONT',
  during: '–',
  after: 'another worker finishes; the sleeper’s writes hit 0 rows, it logs `fenced` and kills its sandbox',
  closedBy: 'every write carries the lease id; a process measures the time it slept',
  perSecond: PER_SECOND,
  boundMs: 150_000,
  timeoutMs: 300_000,
  async run(scene) {
    const { stage, load } = scene;
    const sleeper = await startSandboxWorker(stage);
    const { process, database } = sleeper.actor;
    const inHand = await stopWithOutcomes(scene, sleeper);
    const { code, held } = inHand;
    const stoppedAt = performance.now();
    const sessions = await journalSessions(stage);
    const sandboxes = await sleeper.sandboxes();
    assert.ok(sandboxes.length > 0, 'the sleeper has no sandbox that it could kill');

    await startSandboxWorker(stage);
    load.pace(PER_SECOND);
    await takenOver(stage, inHand);
    const takenOverS = (performance.now() - stoppedAt) / 1000;
    const recorded = await recordsOf(stage, inHand);
    const { rows } = await stage.sql.query<{ now: string }>('select clock_timestamp()::text as now');
    await database.heal();
    await wroteSince(stage, sessions, rows[0]!.now); // a select without from is one row
    assert.deepEqual(await recordsOf(stage, inHand), recorded, 'the sleeper’s late write counted');

    await delay(Math.max(0, STOPPED_MS - (performance.now() - stoppedAt)));
    process.signal('SIGCONT');
    for (const { id, leaseId } of [code, held]) {
      const fenced = new RegExp(`"executionId":"${id}".*"leaseId":"${leaseId}".*fenced`);
      await process.waitForOutput(fenced, { timeoutMs: 15_000 });
    }
    await sandboxesGone(sleeper, 15_000);
    assert.deepEqual(await recordsOf(stage, inHand), recorded, 'the sleeper wrote after it woke up');

    stage.ledger.delay(undefined, 0);
    stage.ledger.answer(laterSteps(inHand));
    for (const { id } of [code, held])
      assert.equal((await stage.client.finished(id, 60_000)).state, 'succeeded');
    assert.deepEqual(callsOf(stage, code.id, ['one', 'code', 'three']), [1, 2, 1]);
    // Not of `second`, which the sleeper began while the outcome of `first` was on its way.
    assert.deepEqual(callsOf(stage, held.id, ['first']), [2]);
    assert.deepEqual(await stepsOf(stage, code.id), ['code succeeded', 'one succeeded', 'three succeeded']);
    assert.deepEqual(await stepsOf(stage, held.id), ['first succeeded', 'second succeeded']);
    return [
      `worker ${process.pid} stopped for ${STOPPED_MS / 1000} s; another ran its executions on after ${takenOverS.toFixed(0)} s`,
      'a write that the sleeper had under way reached PostgreSQL after that, and changed nothing',
      `it woke up with another outcome and logged \`fenced\`, its ${sandboxes.length} sandbox processes are gone, each step has one journal entry`,
    ];
  },
};

/** Stops the only worker with the outcome of one step on the wire to PostgreSQL, and that of another at its door. */
async function stopWithOutcomes(
  { stage, load, target }: Scene,
  { actor, sandboxes }: SandboxWorker,
): Promise<InHand> {
  const code = await deployOwn(
    stage,
    (url) =>
      [
        callStep('one', url),
        stubbornStep(url, 'code', 'needs: [one], timeout: 30m'),
        callStep('three', url, 'needs: [code], timeout: 30m'),
      ].join('\n'),
    STUBBORN_FILES,
  );
  const held = await deployOwn(stage, (url) =>
    [callStep('first', url, 'timeout: 30m'), callStep('second', url, 'needs: [first]')].join('\n'),
  );
  const slow = new RegExp(`${code.path.source}slow`);
  const first = new RegExp(`${held.path.source}first`);
  stage.ledger.delay(new RegExp(`${slow.source}|${first.source}`), NEVER_MS);
  const [codeId, heldId] = [await code.start(), await held.start()];
  // Steps that take a while are announced in the journal, which is to be over, too.
  await waitFor(
    async () =>
      [...(await stepsOf(stage, codeId)), ...(await stepsOf(stage, heldId))].join() ===
      'code running,one succeeded,first running',
    { timeoutMs: STARTS_WITHIN_MS, what: 'both steps to be under way' },
  );
  await waitFor(async () => (await sandboxes()).length > 0, { what: 'the sandbox to be seen' });

  // Nothing else is to be on the wire: a claim that came late would keep executions from the other worker.
  load.pace(0);
  await load.answered();
  await endedUntil(stage, target, Date.now(), STARTS_WITHIN_MS);
  const batches = await journalBatches(actor);
  await actor.database.hold();
  stage.ledger.answer(first);
  await waitFor(async () => (await journalBatches(actor)) > batches, { what: 'the outcome to be written' });
  const { process } = actor;
  process.signal('SIGSTOP');
  await waitFor(async () => /\) T /.test(await readFile(`/proc/${process.pid}/stat`, 'utf8')), {
    what: 'the worker to be stopped',
  });
  const inHand = {
    code: { own: code, id: codeId, leaseId: (await standingOf(stage, codeId)).lease_id },
    held: { own: held, id: heldId, leaseId: (await standingOf(stage, heldId)).lease_id },
  };
  stage.ledger.delay(laterSteps(inHand), NEVER_MS);
  stage.ledger.answer(slow);
  return inHand;
}

const journalBatches = (worker: Actor): Promise<number> =>
  readMetric(worker, 'millrace_journal_batch_size_count');

/** What the other worker is to be at when the sleeper comes back. */
const laterSteps = ({ code, held }: InHand): RegExp =>
  new RegExp(`${code.own.path.source}three|${held.own.path.source}first`);

/** Waits until another worker has gone on with both: with one beyond the sleeper’s step, with the other at it again. */
async function takenOver(stage: Stage, { code, held }: InHand): Promise<void> {
  await waitFor(
    async () =>
      [...(await stepsOf(stage, code.id)), ...(await stepsOf(stage, held.id))].join() ===
        'code succeeded,one succeeded,three running,first running' &&
      stage.ledger.pending(laterSteps({ code, held })) === 2,
    { timeoutMs: LEASE_MS + STARTS_WITHIN_MS, intervalMs: 200, what: 'another worker to go on' },
  );
  for (const { id, leaseId } of [code, held])
    assert.notEqual((await standingOf(stage, id)).lease_id, leaseId, 'nobody took the lease over');
}

/** The sessions that workers write their journal in; of one worker, while there is no other. */
async function journalSessions({ sql }: Stage): Promise<readonly number[]> {
  const { rows } = await sql.query<{ pid: number }>(
    `select pid from pg_stat_activity where application_name = 'millrace worker journal'`,
  );
  return rows.map(({ pid }) => pid);
}

/** Waits until one of the sessions has done a write to the journal that came after a time of the database's clock. */
async function wroteSince({ sql }: Stage, sessions: readonly number[], since: string): Promise<void> {
  await waitFor(
    async () => {
      const { rows } = await sql.query(
        `select from pg_stat_activity where pid = any($1) and query_start >= $2::timestamptz and state = 'idle'
           and query like '%insert into step_run%'`,
        [sessions, since],
      );
      return rows.length > 0;
    },
    { what: 'the sleeper’s write to reach PostgreSQL' },
  );
}

/** The journal's entries of steps. */
async function stepsOf({ sql }: Stage, executionId: string): Promise<readonly string[]> {
  const { rows } = await sql.query<{ step: string }>(
    `select step_id || ' ' || state as step from step_run where execution_id = $1 order by step_id, item, attempt`,
    [executionId],
  );
  return rows.map(({ step }) => step);
}

/** All that is recorded of both, but for the time that each heartbeat moves. */
async function recordsOf({ sql }: Stage, { code, held }: InHand): Promise<readonly object[]> {
  const { rows } = await sql.query<{ record: object }>(
    `select to_jsonb(e) - 'next_dispatch_at' as record from execution e where id = any($1)
     union all select to_jsonb(s) from step_run s where execution_id = any($1)
     union all select to_jsonb(l) from step_log l where execution_id = any($1) order by 1`,
    [[code.id, held.id]],
  );
  return rows.map(({ record }) => record);
}

/** With the leases that a worker has unless it is told otherwise. */
export const stallGroup: FaultGroup = {
  name: 'Workers that stall',
  stage: {
    workers: 0,
    env: { LEASE_MS: String(LEASE_MS), HEARTBEAT_MS: '10000', POLL_MS: '5000' },
  },
  rows: [stalled],
};
