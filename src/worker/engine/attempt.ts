import { setTimeout as delay } from 'node:timers/promises';
import type { CompiledStep } from '../../core/definition/types.ts';
import { ExpressionError, type Scope } from '../../core/expressions/types.ts';
import { StepError, retryableError, terminalError } from '../../core/step-error.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import type { AttemptClock, AttemptContext, AttemptOutcome, Executors } from '../executors/types.ts';

/** How an attempt ended. `aborted`: the execution was to stop; nothing is known about its effect. */
export type AttemptEnd =
  AttemptOutcome | { readonly type: 'failed'; readonly error: StepError } | { readonly type: 'aborted' };

/** What the engine says of an attempt; its signal and its clock are made when it starts. */
export type AttemptFacts = Omit<AttemptContext, 'signal' | 'clock'>;

/** Longer than a slot takes to be ended by force, with the last of its log. */
const SETTLE_MS = 500;

/** In the log, where the end of it may be missing. */
const CUT_OFF = 'the step was cut off; what it logged at its end may be missing here';

/** What takes no time has none to stop. */
const NO_CLOCK: AttemptClock = { pause: () => {}, restart: () => {} };

/** Runs a step of a kind without outside effect, in this very turn. */
export function runPureStep(
  executors: Executors,
  step: CompiledStep,
  scope: Scope,
  facts: AttemptFacts,
  signal: AbortSignal,
): AttemptEnd {
  try {
    const outcome = executorOf(executors, step)(step, scope, { ...facts, signal, clock: NO_CLOCK });
    if (outcome instanceof Promise) throw new Error(`the executor of ${step.kind} is not pure`);
    return outcome;
  } catch (raw) {
    return { type: 'failed', error: toStepError(raw) };
  }
}

/**
 * Runs one attempt of a step within its time. Never rejects.
 *
 * @param stop aborted when the execution is to stop
 */
export async function runAttempt(
  executors: Executors,
  step: CompiledStep,
  scope: Scope,
  facts: AttemptFacts,
  stop: AbortSignal,
): Promise<AttemptEnd> {
  const attempt = new AbortController();
  const onStop = (): void => attempt.abort(stop.reason);
  stop.addEventListener('abort', onStop, { once: true });
  const clock = startClock(step.timeoutMs, () => attempt.abort(timeoutError(step)));
  let isOver = false;
  const log: AttemptFacts['log'] = (...line) => {
    if (!isOver) facts.log(...line);
  };
  try {
    if (stop.aborted) return { type: 'aborted' };
    const context = { ...facts, log, signal: attempt.signal, clock };
    const outcome = executorOf(executors, step)(step, scope, context);
    if (!(outcome instanceof Promise)) return outcome;
    return await unlessAborted(outcome, attempt.signal, () => log('warn', CUT_OFF, true));
  } catch (raw) {
    if (stop.aborted) return { type: 'aborted' };
    if (attempt.signal.aborted) return { type: 'failed', error: timeoutError(step) };
    return { type: 'failed', error: toStepError(raw) };
  } finally {
    isOver = true;
    clock.pause();
    stop.removeEventListener('abort', onStop);
  }
}

function startClock(timeoutMs: number, onTimeout: () => void): AttemptClock {
  let timer = setTimeout(onTimeout, timeoutMs);
  return {
    pause: () => clearTimeout(timer),
    restart: () => {
      clearTimeout(timer);
      timer = setTimeout(onTimeout, timeoutMs);
    },
  };
}

const timeoutError = (step: CompiledStep): StepError =>
  retryableError(
    'timeout',
    `The attempt took longer than its timeout of ${step.timeoutMs} ms; raise \`timeout\` of step ${step.id} or make it faster`,
  );

/**
 * An executor that ignores the signal must not hold up the execution's end; one that heeds it may finish its log.
 *
 * @param onCutOff told when it did not end in time
 */
async function unlessAborted(
  outcome: Promise<AttemptOutcome>,
  signal: AbortSignal,
  onCutOff: () => void,
): Promise<AttemptOutcome> {
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(coerceError(signal.reason)), { once: true });
  });
  try {
    return await Promise.race([outcome, aborted]);
  } catch (raw) {
    if (signal.aborted) {
      const settled = outcome.then(
        () => true,
        () => true,
      );
      if (!(await Promise.race([settled, delay(SETTLE_MS, false, { ref: false })]))) onCutOff();
    }
    throw raw;
  }
}

// The map has an executor of the very kind for each kind; TypeScript cannot follow the pairing through the union.
type AnyExecutor = (
  step: CompiledStep,
  scope: Scope,
  context: AttemptContext,
) => Promise<AttemptOutcome> | AttemptOutcome;
const executorOf = (executors: Executors, step: CompiledStep): AnyExecutor =>
  executors[step.kind] as unknown as AnyExecutor;

/** Anything an executor may throw, as the failure of its step (STYLE section 3). */
export function toStepError(raw: unknown): StepError {
  if (raw instanceof StepError) return raw;
  if (raw instanceof ExpressionError) return terminalError('expression_error', raw.message, raw);
  const error = coerceError(raw);
  return retryableError('internal_error', 'The step failed inside the platform; it is tried again', {
    cause: error,
  });
}
