import { isTerminal, type ExecutionState, type StepState } from './status.ts';

/**
 * The changes of an execution as a stream that can be resumed anywhere: each change carries, as its id, all that its
 * reader has seen by then. So nothing has to be remembered between a reader's connections, and any replica can go on.
 */

/** Where an execution and each of its steps stand, without any data. */
export interface Standing {
  readonly id: string;
  readonly state: ExecutionState;
  /** By step id; steps that have not begun are missing. */
  readonly steps: ReadonlyMap<string, SeenStep>;
}

export interface SeenStep {
  readonly state: StepState;
  readonly attempts: number;
}

const NOT_BEGUN: SeenStep = { state: 'pending', attempts: 0 };

export type Change =
  | { readonly type: 'execution'; readonly state: ExecutionState }
  | { readonly type: 'step'; readonly step: string; readonly state: StepState; readonly attempts: number };

export interface IdentifiedChange {
  readonly id: string;
  readonly change: Change;
}

/** What a reader has seen. */
export interface Seen {
  /** Undefined: nothing yet. */
  readonly state: ExecutionState | undefined;
  /** In the document's order. */
  readonly steps: readonly SeenStep[];
}

export const nothingSeen = (stepIds: readonly string[]): Seen => ({
  state: undefined,
  steps: stepIds.map(() => NOT_BEGUN),
});

/** What a reader that has seen `before` has missed, in an order that could have happened, and what it has seen then. */
export function changesSince(
  before: Seen,
  now: Standing,
  stepIds: readonly string[],
): { readonly changes: readonly IdentifiedChange[]; readonly seen: Seen } {
  const changes: IdentifiedChange[] = [];
  let seen = before;
  const add = (change: Change, after: Seen): void => {
    seen = after;
    changes.push({ id: encodeSeen(seen), change });
  };
  const addState = (): void => {
    if (seen.state !== now.state) add({ type: 'execution', state: now.state }, { ...seen, state: now.state });
  };
  // An execution starts before its steps and ends after them.
  if (!isTerminal(now.state)) addState();
  for (const [index, step] of stepIds.entries()) {
    const was = seen.steps[index] ?? NOT_BEGUN;
    const { state, attempts } = now.steps.get(step) ?? NOT_BEGUN;
    if (was.state === state && was.attempts === attempts) continue;
    add(
      { type: 'step', step, state, attempts },
      { ...seen, steps: seen.steps.with(index, { state, attempts }) },
    );
  }
  addState();
  return { changes, seen };
}

const STATE_LETTERS = {
  queued: 'q',
  running: 'r',
  waiting: 'w',
  succeeded: 's',
  failed: 'f',
  cancelled: 'c',
} as const satisfies Record<ExecutionState, string>;

const STEP_LETTERS = {
  pending: 'p',
  running: 'r',
  succeeded: 's',
  failed: 'f',
  skipped: 'k',
  cancelled: 'c',
} as const satisfies Record<StepState, string>;

const invert = <K extends string>(letters: Readonly<Record<K, string>>): ReadonlyMap<string, K> =>
  new Map(Object.entries(letters).map(([state, letter]) => [letter as string, state as K]));
const STATES = invert(STATE_LETTERS);
const STEP_STATES = invert(STEP_LETTERS);

/** `r.s1.r0.p0`: the state of the execution (`-`: not seen yet), then of each step with its attempts. */
export function encodeSeen(seen: Seen): string {
  const state = seen.state === undefined ? '-' : STATE_LETTERS[seen.state];
  return [state, ...seen.steps.map((step) => `${STEP_LETTERS[step.state]}${step.attempts}`)].join('.');
}

/** Undefined for what `encodeSeen` cannot have said of an execution with so many steps. */
export function decodeSeen(text: string, stepCount: number): Seen | undefined {
  const [letter = '', ...parts] = text.split('.', stepCount + 2);
  const state = STATES.get(letter);
  if (parts.length !== stepCount || (state === undefined && letter !== '-')) return undefined;
  const steps: SeenStep[] = [];
  for (const part of parts) {
    const stepState = STEP_STATES.get(part.slice(0, 1));
    if (stepState === undefined || !/^\d{1,6}$/.test(part.slice(1))) return undefined;
    steps.push({ state: stepState, attempts: Number(part.slice(1)) });
  }
  return { state, steps };
}
