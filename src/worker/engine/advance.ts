import type { CompiledStep } from '../../core/definition/types.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import { NO_ITEM, PENDING, type RecordedError } from '../../core/executions/journal.ts';
import type { StepLogLine, StepRunWrite } from '../../core/executions/journal-store.ts';
import { plan } from '../../core/executions/plan.ts';
import { isNotBegun, nextDelayMs, notBegunDelayMs } from '../../core/executions/retry.ts';
import { isStepTerminal } from '../../core/executions/status.ts';
import type { Scope } from '../../core/expressions/types.ts';
import type { JsonValue } from '../../core/json.ts';
import { terminalError, type StepError } from '../../core/step-error.ts';
import { within, type Span } from '../../core/telemetry/tracing.ts';
import { PURE_KINDS } from '../executors/types.ts';
import { runAttempt, runPureStep, toStepError, type AttemptEnd, type AttemptFacts } from './attempt.ts';
import { MAX_OUTPUT_BYTES } from './limits.ts';
import { countPlatformFault } from './outcomes.ts';
import type { Run } from './run.ts';
import { closeStepSpan, openStepSpan } from './spans.ts';
import { createUnit, hasBegun, standingOf, type Track, type Unit } from './tracks.ts';

const MAX_ITEMS = 10_000;
/** A step that runs longer than this is recorded as running, for people who look. */
const ANNOUNCE_AFTER_MS = 1000;
/** How long a line of a running step waits for others to be recorded with. */
const LOG_DELAY_MS = 300;

/** Takes in what has ended and starts what follows, until nothing more happens in this turn. */
export function advance(run: Run): { readonly done: boolean; readonly nextDueMs: number | undefined } {
  for (;;) {
    for (const { track, unit, end } of run.completed.splice(0)) endAttempt(run, track, unit, end);
    const { ready, skip, done, nextDueMs } = plan(run.workflow, run.tracks.map(standingOf), run.deps.now());
    let settled = false;
    for (const index of skip) settled = settle(run, run.tracks[index]!, 'skipped') || settled; // plan's indexes
    for (const index of ready) settled = pump(run, run.tracks[index]!) || settled;
    if (!settled && run.completed.length === 0) return { done, nextDueMs };
  }
}

/** Starts what can start of a step. Returns whether its standing changed in this turn. */
function pump(run: Run, track: Track): boolean {
  if (track.units === undefined) {
    const problem = prepare(run, track);
    if (problem !== undefined) return problem;
  }
  // The outcome that it may follow from is recorded first.
  if (run.urgent && !PURE_KINDS.has(track.step.kind) && !hasStarted(track)) return false;
  const limit = track.step.forEach?.parallelism ?? 1;
  const now = run.deps.now();
  let changed = false;
  for (const unit of track.units!) {
    // prepared above
    if (track.active >= limit || track.error !== undefined) break;
    if (unit.running || isStepTerminal(unit.state)) continue;
    if (unit.dueAtMs !== undefined && unit.dueAtMs > now) continue;
    changed = startUnit(run, track, unit) || changed;
  }
  return settleTrack(run, track) || changed;
}

/** Elements of a `forEach` that has begun, and further attempts, follow from nothing that came since. */
const hasStarted = ({ units }: Track): boolean =>
  units?.some(({ startedAtMs }) => startedAtMs !== undefined) ?? false;

/** Evaluates `if` and `forEach`. Undefined: go on; else whether the step ended by it. */
function prepare(run: Run, track: Track): boolean | undefined {
  const { step, restored } = track;
  try {
    if (step.if !== undefined && !hasBegun(restored) && step.if.evaluate(run.scope) !== true) {
      return settle(run, track, 'skipped');
    }
    if (step.forEach === undefined) {
      track.units = [createUnit(NO_ITEM, undefined, restored)];
      return undefined;
    }
    const items = step.forEach.items.evaluate(run.scope);
    if (!Array.isArray(items)) {
      throw terminalError(
        'invalid_input',
        `forEach needs a list, got ${items === null ? 'null' : typeof items}`,
      );
    }
    if (items.length > MAX_ITEMS) {
      throw terminalError(
        'invalid_input',
        `forEach takes up to ${MAX_ITEMS} elements, got ${items.length}; split the list`,
      );
    }
    track.units = (items as readonly JsonValue[]).map((value, index) =>
      createUnit(index, value, restored.items.get(index) ?? PENDING),
    );
    return undefined;
  } catch (raw) {
    track.error = recorded(toStepError(raw));
    return settle(run, track, 'failed');
  }
}

/** Returns whether the unit ended in this turn. */
function startUnit(run: Run, track: Track, unit: Unit): boolean {
  const { step } = track;
  const now = run.deps.now();
  unit.startedAtMs ??= now;
  if (step.kind === 'wait' && unit.announced) {
    const dueAt = new Date(unit.dueAtMs ?? now).toISOString();
    endAttempt(run, track, unit, { type: 'done', output: { until: dueAt } });
    return true;
  }
  if (step.atMostOnce && unit.announced) {
    const lost = 'The worker was lost while the step ran, and `atMostOnce` forbids running it again';
    endAttempt(run, track, unit, { type: 'failed', error: terminalError('worker_lost', lost) });
    return true;
  }
  const scope: Scope =
    unit.item === NO_ITEM ? run.scope : { ...run.scope, item: unit.value, index: unit.item };
  const span = beginSpan(run, track, unit);
  const facts = attemptFacts(run, track, unit, now, span);
  if (PURE_KINDS.has(step.kind)) {
    const end = runPureStep(run.deps.executors, step, scope, facts, run.abort.signal);
    closeStepSpan(span, end);
    endAttempt(run, track, unit, end);
    return true;
  }
  unit.running = true;
  unit.dueAtMs = undefined;
  track.active++;
  run.active++;
  void within(span, () => attemptUnit(run, track, unit, scope, facts)).then((end) => {
    closeStepSpan(span, end);
    unit.running = false;
    track.active--;
    run.active--;
    run.completed.push({ track, unit, end });
    run.wake();
  });
  return false;
}

/** One attempt with outside effect. Never rejects. */
async function attemptUnit(
  run: Run,
  track: Track,
  unit: Unit,
  scope: Scope,
  facts: AttemptFacts,
): Promise<AttemptEnd> {
  const announce = (): Promise<boolean> =>
    run.deps.journal.write(
      {
        executionId: run.claim.id,
        leaseId: run.claim.leaseId,
        steps: [stepRow(run, track, unit, { state: 'running', attempt: unit.attempts + 1 })],
        logs: [],
      },
      run.abort.fenced,
    );
  try {
    if (track.step.atMostOnce && !(await announce())) return { type: 'aborted' };
    const timer = setTimeout(() => {
      announce().catch((raw: unknown) =>
        run.deps.logger.warn({ err: coerceError(raw) }, 'a running step could not be announced'),
      );
    }, ANNOUNCE_AFTER_MS);
    try {
      return await runAttempt(run.deps.executors, track.step, scope, facts, run.abort.signal);
    } finally {
      clearTimeout(timer);
    }
  } catch (raw) {
    return { type: 'failed', error: toStepError(raw) };
  }
}

function beginSpan(run: Run, { step }: Track, unit: Unit): Span | undefined {
  const { claim, deps } = run;
  if (deps.span === undefined) return undefined;
  const identity = {
    executionId: claim.id,
    workflowId: claim.workflowId,
    attempt: unit.attempts + 1,
    item: unit.item === NO_ITEM ? undefined : unit.item,
  };
  const span = openStepSpan(deps.span, step, identity, unit.lastSpan);
  unit.lastSpan = span.traceparent;
  return span;
}

function attemptFacts(
  run: Run,
  track: Track,
  unit: Unit,
  nowMs: number,
  span: Span | undefined,
): AttemptFacts {
  const { claim } = run;
  const { step } = track;
  const attempt = unit.attempts + 1;
  let seq = firstSeq(claim.dispatchNumber);
  return {
    tenantId: claim.tenantId,
    executionId: claim.id,
    workflowId: claim.workflowId,
    version: claim.version,
    workflow: run.workflow,
    attempt,
    item: unit.item === NO_ITEM ? undefined : unit.item,
    idempotencyKey: `${claim.id}.${step.id}${unit.item === NO_ITEM ? '' : `.${unit.item}`}`,
    traceparent: span?.traceparent ?? claim.traceparent,
    span,
    timeoutMs: step.timeoutMs,
    nowMs,
    log: (level, message, truncated = false) => {
      addLog(run, {
        stepId: step.id,
        item: unit.item,
        attempt,
        seq: seq++,
        atMs: run.deps.now(),
        level,
        // PostgreSQL's text holds every character but this one.
        message: message.replaceAll('\0', '\u{fffd}'),
        truncated,
      });
    },
  };
}

/** Of the lines that one claim adds to an attempt. */
const MAX_LINES = 2 ** 20;

/**
 * Where an attempt's lines are counted from: one that was cut off has left lines behind, and begins anew under the same
 * number of attempt in another claim.
 */
const firstSeq = (dispatchNumber: number): number => (dispatchNumber % (2 ** 31 / MAX_LINES)) * MAX_LINES;

/** Takes in a line; it is recorded with the next write, or soon. */
function addLog(run: Run, line: StepLogLine): void {
  run.logs.push(line);
  run.logTimer ??= setTimeout(() => {
    run.urgent = true;
    run.wake();
  }, LOG_DELAY_MS);
}

/** Takes in the end of an attempt: its row, and whether the unit goes on. */
export function endAttempt(run: Run, track: Track, unit: Unit, end: AttemptEnd): void {
  const { step } = track;
  if (end.type === 'aborted') return; // `stop` says what becomes of it
  const now = run.deps.now();
  const attempt = unit.attempts + 1;
  run.urgent ||= !PURE_KINDS.has(step.kind);
  if (end.type === 'wait') {
    unit.announced = true;
    unit.dueAtMs = end.dueAtMs;
    run.steps.push(stepRow(run, track, unit, { state: 'running', attempt, dueAtMs: end.dueAtMs }));
    return;
  }
  observe(run, step, end.type === 'done' ? 'succeeded' : 'failed', now - (unit.startedAtMs ?? now));
  unit.attempts = attempt;
  unit.announced = false;
  unit.dueAtMs = undefined;
  if (end.type === 'done') {
    const outputJson = JSON.stringify(end.output);
    const size = Buffer.byteLength(outputJson);
    if (size <= MAX_OUTPUT_BYTES) {
      unit.state = 'succeeded';
      unit.output = end.output;
      run.response ??= end.response;
      run.steps.push({
        ...stepRow(run, track, unit, { state: 'succeeded', attempt, finishedAtMs: now }),
        outputJson,
      });
      return;
    }
    const tooLarge = `The output has ${size} bytes, ${MAX_OUTPUT_BYTES} are allowed; return less, or a reference`;
    failUnit(run, track, unit, terminalError('output_too_large', tooLarge), now);
    return;
  }
  failUnit(run, track, unit, end.error, now);
}

function failUnit(run: Run, track: Track, unit: Unit, error: StepError, now: number): void {
  const delayMs = delayBeforeNext(run, track.step, unit, error);
  unit.error = recorded(error);
  unit.state = delayMs === undefined ? 'failed' : 'pending';
  unit.dueAtMs = delayMs === undefined ? undefined : now + delayMs;
  run.steps.push(
    stepRow(run, track, unit, {
      state: 'failed',
      attempt: unit.attempts,
      error: unit.error,
      finishedAtMs: now,
      ...(unit.dueAtMs === undefined ? {} : { dueAtMs: unit.dueAtMs, traceparent: unit.lastSpan }),
    }),
  );
  if (error.code === 'internal_error') {
    run.deps.logger.error(
      { err: error.cause, executionId: run.claim.id, stepId: track.step.id },
      'a step failed inside the platform',
    );
  }
}

/** Undefined: that was the last attempt. */
function delayBeforeNext(run: Run, step: CompiledStep, unit: Unit, error: StepError): number | undefined {
  if (!error.retryable) return undefined;
  const { retry } = step;
  if (isNotBegun(error.code)) return notBegunDelayMs(retry, ++unit.notBegun, run.deps.random());
  if (step.atMostOnce) return undefined;
  return nextDelayMs(retry, unit.attempts - unit.notBegun, run.deps.random(), error.retryAfterMs);
}

/** Ends the step when its units have: all succeeded, or one failed and the others are done. */
export function settleTrack(run: Run, track: Track): boolean {
  if (isStepTerminal(track.state) || track.units === undefined) return false;
  const failed = track.units.find((unit) => unit.state === 'failed');
  if (failed !== undefined) {
    track.error = failed.item === NO_ITEM ? failed.error : atItem(failed.error, failed.item);
    return track.active > 0 ? false : settle(run, track, 'failed');
  }
  if (track.units.some((unit) => unit.state !== 'succeeded')) return false;
  track.output =
    track.step.forEach === undefined ? track.units[0]!.output : track.units.map((unit) => unit.output); // one unit
  return settle(run, track, 'succeeded');
}

const atItem = (error: RecordedError | undefined, item: number): RecordedError | undefined =>
  error === undefined ? undefined : { ...error, message: `Element ${item}: ${error.message}` };

/** Ends a step, with a row of its own where its units do not say it. Always returns true. */
function settle(run: Run, track: Track, state: 'succeeded' | 'failed' | 'skipped'): boolean {
  if (state === 'succeeded' && track.step.forEach !== undefined) {
    const outputJson = JSON.stringify(track.output);
    const size = Buffer.byteLength(outputJson);
    if (size > MAX_OUTPUT_BYTES) {
      track.output = null;
      track.error = {
        code: 'output_too_large',
        message: `The outputs have ${size} bytes together, ${MAX_OUTPUT_BYTES} are allowed; return less, or references`,
      };
      return settle(run, track, 'failed');
    }
    run.steps.push({ ...ownRow(run, track, 'succeeded'), outputJson });
  } else if (state !== 'succeeded' && (track.units === undefined || track.step.forEach !== undefined)) {
    run.steps.push({
      ...ownRow(run, track, state),
      ...(track.error === undefined ? {} : { error: track.error }),
    });
  }
  if (state === 'failed') countPlatformFault(run.deps.metrics, track.error?.code);
  track.state = state;
  if (state !== 'succeeded') track.output = null;
  publish(run, track);
  return true;
}

const ownRow = (run: Run, track: Track, state: 'succeeded' | 'failed' | 'skipped'): StepRunWrite => {
  const now = run.deps.now();
  const starts = track.units?.flatMap((unit) => unit.startedAtMs ?? []) ?? [];
  return {
    stepId: track.step.id,
    item: NO_ITEM,
    attempt: 0,
    state,
    ...(starts.length > 0 ? { startedAtMs: Math.min(...starts) } : {}),
    finishedAtMs: now,
  };
};

export function stepRow(
  run: Run,
  track: Track,
  unit: Unit,
  row: Pick<StepRunWrite, 'state' | 'attempt' | 'dueAtMs' | 'traceparent' | 'error' | 'finishedAtMs'>,
): StepRunWrite {
  return {
    ...row,
    stepId: track.step.id,
    item: unit.item,
    ...inputOf(run, track, unit),
    ...(unit.startedAtMs === undefined ? {} : { startedAtMs: unit.startedAtMs }),
  };
}

/** A step's `input:` is shown with each attempt; an input that cannot be evaluated fails in its executor, not here. */
function inputOf(run: Run, track: Track, unit: Unit): { readonly inputJson?: string } {
  const { input } = track.step;
  if (input === undefined) return {};
  try {
    return {
      inputJson: JSON.stringify(input.evaluate({ ...run.scope, item: unit.value, index: unit.item })),
    };
  } catch {
    return {};
  }
}

/** Lets expressions see where the step stands. */
export function publish(run: Run, track: Track): void {
  if (!isStepTerminal(track.state)) return;
  run.scope.steps[track.step.id] = { output: track.output, state: track.state, error: track.error ?? null };
}

const recorded = (error: StepError): RecordedError => ({ code: error.code, message: error.message });

function observe(run: Run, step: CompiledStep, outcome: string, ms: number): void {
  const { metrics, label, span } = run.deps;
  const { tenant, workflow } = label;
  const seconds = Math.max(0, ms) / 1000;
  metrics.stepDuration.observe({ tenant, workflow, kind: step.kind, outcome }, seconds, span?.traceId);
}
