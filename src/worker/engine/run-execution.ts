import type { CompiledWorkflow } from '../../core/definition/types.ts';
import type { Claim } from '../../core/executions/claims.ts';
import { foldJournal, type RecordedError, type StepRun } from '../../core/executions/journal.ts';
import type { Leaving } from '../../core/executions/journal-store.ts';
import { failureOf } from '../../core/executions/plan.ts';
import { isStepTerminal, type TerminalExecutionState } from '../../core/executions/status.ts';
import type { Abort } from './abort.ts';
import { advance, endAttempt, publish, settleTrack, stepRow } from './advance.ts';
import { toStepError } from './attempt.ts';
import { MAX_OUTPUT_BYTES } from './limits.ts';
import { countPlatformFault, type Ending } from './outcomes.ts';
import type { Run, RunDeps } from './run.ts';
import { buildScope } from './scope.ts';
import { heldBytes, waitsOutside } from './standing-aside.ts';
import { createTracks, standingOf } from './tracks.ts';

/** How a run left its execution. */
export type RunResult =
  | ({ readonly type: 'ended' } & Ending)
  | { readonly type: 'waiting'; readonly dueAtMs: number }
  | { readonly type: 'released' }
  | { readonly type: 'fenced' };

/** How long aborted attempts may take to stop before the run goes on without them. */
const STOP_WITHIN_MS = 3000;
/** Answers that come sooner are not worth giving the slot away for. */
const STAND_ASIDE_AFTER_MS = 50;

/**
 * Advances a claimed execution until it ends, has to wait, or must stop.
 *
 * Outcomes with outside effect are committed before any step that depends on them starts: otherwise a lost worker's step
 * would be repeated, might end in another way, and what was called after it would follow from nothing. Outcomes of pure
 * steps ride along with the next write. Never throws for what the workflow does; a rejection is a failure of the platform.
 *
 * @param rows its journal so far
 */
export async function runExecution(
  deps: RunDeps,
  claim: Claim,
  workflow: CompiledWorkflow,
  rows: readonly StepRun[],
  abort: Abort,
): Promise<RunResult> {
  const run: Run = {
    deps,
    claim,
    workflow,
    scope: buildScope(claim, workflow),
    tracks: createTracks(workflow, foldJournal(rows)),
    abort,
    completed: [],
    active: 0,
    wake: () => {},
    steps: [],
    logs: [],
    logTimer: undefined,
    response: undefined,
    urgent: false,
  };
  for (const track of run.tracks) publish(run, track);
  abort.onAbort(() => run.wake());
  try {
    return await advanceUntilDone(run);
  } finally {
    clearTimeout(run.logTimer);
  }
}

async function advanceUntilDone(run: Run): Promise<RunResult> {
  const { abort } = run;
  for (;;) {
    if (abort.kind() !== undefined) return stop(run);
    const next = advance(run);
    if (next.done) return finish(run);
    if (run.urgent) {
      if (!(await flush(run))) return { type: 'fenced' };
    } else if (run.active === 0) {
      if (next.nextDueMs === undefined)
        throw new Error('an execution has steps left but nothing to wait for');
      return suspend(run, next.nextDueMs);
    } else {
      await nextEvent(run, next.nextDueMs);
    }
  }
}

/** Resolves when an attempt has ended, the execution is to stop, or `dueMs` has come. */
function nextEvent(run: Run, dueMs: number | undefined): Promise<void> {
  if (run.completed.length > 0 || run.urgent) return Promise.resolve();
  return new Promise((resolve) => {
    let comeBack: (() => void) | undefined;
    const asideTimer = setTimeout(() => {
      if (waitsOutside(run)) comeBack = run.deps.standAside(run.claim.tenantId, heldBytes(run));
    }, STAND_ASIDE_AFTER_MS);
    const timer =
      dueMs === undefined
        ? undefined
        : setTimeout(() => run.wake(), Math.min(Math.max(0, dueMs - run.deps.now()), 2 ** 31 - 1));
    run.wake = () => {
      clearTimeout(timer);
      clearTimeout(asideTimer);
      comeBack?.();
      run.wake = () => {};
      resolve();
    };
  });
}

async function flush(run: Run, leaving?: Leaving): Promise<boolean> {
  const { steps, logs, response } = run;
  run.steps = [];
  run.logs = [];
  clearTimeout(run.logTimer);
  run.logTimer = undefined;
  run.urgent = false;
  const { id: executionId, leaseId } = run.claim;
  const span = run.deps.span?.child('journal.write', { attributes: { 'journal.leaving': leaving?.to } });
  const written = await run.deps.journal.write(
    {
      executionId,
      leaseId,
      steps,
      logs,
      ...(response === undefined ? {} : { response }),
      ...(leaving === undefined ? {} : { leaving }),
      span,
    },
    run.abort.fenced,
  );
  span?.end();
  return written;
}

async function finish(run: Run): Promise<RunResult> {
  const error = failureOf(run.workflow, run.tracks.map(standingOf)) ?? undefined;
  if (error !== undefined) return end(run, { to: 'failed', error });
  const output = evaluateOutput(run);
  if (!('error' in output)) return end(run, { to: 'succeeded', outputJson: output.json });
  countPlatformFault(run.deps.metrics, output.error.code);
  return end(run, { to: 'failed', error: output.error });
}

function evaluateOutput(run: Run): { readonly json: string } | { readonly error: RecordedError } {
  try {
    const json = JSON.stringify(run.workflow.output?.evaluate(run.scope) ?? null);
    const size = Buffer.byteLength(json);
    if (size <= MAX_OUTPUT_BYTES) return { json };
    const message = `The workflow's output has ${size} bytes, ${MAX_OUTPUT_BYTES} are allowed`;
    return { error: { code: 'output_too_large', message } };
  } catch (raw) {
    const { code, message } = toStepError(raw);
    return { error: { code, message: `\`output\`: ${message}` } };
  }
}

async function end(run: Run, leaving: Extract<Leaving, { to: TerminalExecutionState }>): Promise<RunResult> {
  if (!(await flush(run, leaving))) return { type: 'fenced' };
  const { code, step } = leaving.to === 'succeeded' ? {} : leaving.error;
  return { type: 'ended', state: leaving.to, code, step };
}

async function suspend(run: Run, dueAtMs: number): Promise<RunResult> {
  return (await flush(run, { to: 'waiting', dueAtMs })) ? { type: 'waiting', dueAtMs } : { type: 'fenced' };
}

/** Ends or gives up a run that was told to stop. */
async function stop(run: Run): Promise<RunResult> {
  await waitForAttempts(run);
  for (const { track, unit, end } of run.completed.splice(0)) endAttempt(run, track, unit, end);
  for (const track of run.tracks) settleTrack(run, track);
  switch (run.abort.kind()) {
    case 'cancelled':
      recordCancelled(run);
      return end(run, {
        to: 'cancelled',
        error: { code: 'cancelled', message: 'The execution was cancelled' },
      });
    case 'timeout':
      recordCancelled(run);
      return end(run, { to: 'failed', error: executionTimeout(run.workflow) });
    case 'drain':
      return (await flush(run, { to: 'queued', delayMs: 0 })) ? { type: 'released' } : { type: 'fenced' };
    case 'fenced':
    case undefined:
      return { type: 'fenced' };
  }
}

const executionTimeout = (workflow: CompiledWorkflow): RecordedError => ({
  code: 'execution_timeout',
  message: `The execution ran longer than its timeout of ${workflow.timeoutMs} ms (waiting does not count); raise \`timeout\``,
});

async function waitForAttempts(run: Run): Promise<void> {
  const deadlineMs = run.deps.now() + STOP_WITHIN_MS;
  while (run.active > 0 && run.deps.now() < deadlineMs) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, STOP_WITHIN_MS);
      run.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Steps that had begun are recorded as cancelled; the others have nothing to tell. */
function recordCancelled(run: Run): void {
  const now = run.deps.now();
  for (const track of run.tracks) {
    if (isStepTerminal(track.state) || track.units === undefined) continue;
    for (const unit of track.units) {
      if (isStepTerminal(unit.state) || unit.startedAtMs === undefined) continue;
      const attempt = unit.attempts + (unit.dueAtMs !== undefined && !unit.announced ? 0 : 1);
      run.steps.push(
        stepRow(run, track, unit, { state: 'cancelled', attempt: Math.max(attempt, 1), finishedAtMs: now }),
      );
    }
  }
}
