/** The states of an execution (DESIGN section 4). */
export const EXECUTION_STATES = ['queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled'] as const;
export type ExecutionState = (typeof EXECUTION_STATES)[number];

/**
 * SQL: the state of an execution to compare with, for statements that look rows up by key or by when they are due. To the
 * planner it is not the column, and so no reason to take an index of states instead: it would do so whenever it knows too
 * little of a partition (each new one), and read all that waits to claim ten.
 *
 * @param alias of the table
 */
export const stateOfRow = (alias: string): string => `(${alias}.state || '')`;

export const TERMINAL_EXECUTION_STATES = ['succeeded', 'failed', 'cancelled'] as const;
export type TerminalExecutionState = (typeof TERMINAL_EXECUTION_STATES)[number];

export const isTerminal = (state: ExecutionState): state is TerminalExecutionState =>
  (TERMINAL_EXECUTION_STATES as readonly string[]).includes(state);

/** The states of a step; `pending` is never stored, it is the absence of a row that says otherwise. */
export const STEP_STATES = ['pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled'] as const;
export type StepState = (typeof STEP_STATES)[number];

export const isStepTerminal = (state: StepState): boolean => state !== 'pending' && state !== 'running';

/** The document format that this release writes and reads; another one is left to the release that knows it. */
export const EXECUTION_FORMAT = 1;

/** How many leases may be lost before the execution is given up as `worker_lost` (FAULTS R35). */
export const MAX_LOST_LEASES = 5;
