import type { CompiledStep, CompiledWorkflow } from '../definition/types.ts';
import type { RecordedError } from './journal.ts';
import { isStepTerminal, type StepState } from './status.ts';

/** What the planner needs to know of a step: its state, and when it goes on if that is later. */
export interface StepStanding {
  readonly state: StepState;
  /** Attempts of it are under way; more is to do only when `dueAtMs` has come. */
  readonly active?: boolean;
  readonly dueAtMs?: number | undefined;
  readonly error?: RecordedError | undefined;
}

/** What to do next. Indexes are those of `workflow.steps`. */
export interface Plan {
  /** Steps whose needs are met and whose time has come. */
  readonly ready: readonly number[];
  /** Steps that a skipped or failed need rules out. */
  readonly skip: readonly number[];
  /** The earliest time at which a step goes on that is not ready yet; undefined when none waits for the clock. */
  readonly nextDueMs: number | undefined;
  /** Every step has ended. */
  readonly done: boolean;
}

/**
 * What follows from where the steps stand. Deterministic: it depends on recorded outcomes alone, never on their order
 * in time, so that a resumed execution takes the same way.
 *
 * A failed step skips the steps that need it (unless they need it `always`); branches that do not need it go on.
 *
 * @param standings one for each step, in document order
 */
export function plan(
  workflow: Pick<CompiledWorkflow, 'steps'>,
  standings: readonly StepStanding[],
  nowMs: number,
): Plan {
  const ready: number[] = [];
  const skip: number[] = [];
  let nextDueMs: number | undefined;
  let done = true;
  for (const step of workflow.steps) {
    const standing = standings[step.index]!; // one for each step
    if (isStepTerminal(standing.state)) continue;
    done = false;
    const verdict = judgeNeeds(workflow, step, standings);
    if (verdict === 'blocked') continue;
    if (verdict === 'skip') skip.push(step.index);
    else if (standing.dueAtMs !== undefined && standing.dueAtMs > nowMs) {
      nextDueMs = Math.min(nextDueMs ?? Infinity, standing.dueAtMs);
    } else if (standing.dueAtMs !== undefined || standing.active !== true) ready.push(step.index);
  }
  return { ready, skip, nextDueMs, done };
}

function judgeNeeds(
  workflow: Pick<CompiledWorkflow, 'steps'>,
  step: CompiledStep,
  standings: readonly StepStanding[],
): 'ready' | 'skip' | 'blocked' {
  let verdict: 'ready' | 'skip' = 'ready';
  for (const need of step.needs) {
    const { state } = standings[need.index]!; // needs point into the same list
    if (!isStepTerminal(state)) return 'blocked';
    if (need.when === 'always' || state === 'succeeded') continue;
    if (state === 'failed' && workflow.steps[need.index]!.continueOnError) continue; // same list
    verdict = 'skip';
  }
  return verdict;
}

/**
 * How an execution ends whose steps have all ended: by the first failed step, in document order, that is not marked
 * `continueOnError`; undefined when there is none.
 */
export function failureOf(
  workflow: Pick<CompiledWorkflow, 'steps'>,
  standings: readonly StepStanding[],
): RecordedError | undefined {
  for (const step of workflow.steps) {
    const standing = standings[step.index]!; // one for each step
    if (standing.state !== 'failed' || step.continueOnError) continue;
    const { code, message } = standing.error ?? { code: 'internal_error', message: 'The step failed' };
    return { code, message, step: step.id };
  }
  return undefined;
}
