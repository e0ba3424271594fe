import type { JsonValue } from '../json.ts';
import { isNotBegun } from './retry.ts';
import type { StepState } from './status.ts';

/** How a step or an execution failed, as it is recorded and shown. */
export interface RecordedError {
  readonly code: string;
  readonly message: string;
  /** On an execution: the step that failed it. */
  readonly step?: string;
}

/** The item number of what is recorded for the step itself, not for an element of its `forEach`. */
export const NO_ITEM = -1;

/** One row of the journal: the outcome of an attempt, or that one is under way. */
export interface StepRun {
  readonly stepId: string;
  /** Index within a `forEach`; {@link NO_ITEM} for the step itself. */
  readonly item: number;
  /** 1-based. 0: the step ended without an attempt (skipped, or a `forEach` as a whole). */
  readonly attempt: number;
  readonly state: Exclude<StepState, 'pending'>;
  readonly input?: JsonValue;
  readonly output?: JsonValue;
  readonly error?: RecordedError;
  /** When it goes on: the next attempt of a failed one, or the end of a `wait`. Database clock. */
  readonly dueAtMs?: number;
  /** Of a failed attempt's own span, where another one follows and the trace is recorded. */
  readonly traceparent?: string;
  readonly startedAtMs?: number;
  readonly finishedAtMs?: number;
}

/** Where one step, or one item of a `forEach`, stands. */
export interface Progress {
  readonly state: StepState;
  /** Attempts whose outcome is recorded; one that was cut off is repeated under the same number. */
  readonly attempts: number;
  /** Of these, the ones that the platform could not begin: the step's own retries do not count them. */
  readonly notBegun: number;
  /** A started attempt without a recorded outcome is in the journal: only a `wait` or an `atMostOnce` step writes one. */
  readonly announced: boolean;
  readonly dueAtMs: number | undefined;
  /** Of the span of the last attempt that is recorded, for the one that follows it. */
  readonly traceparent: string | undefined;
  readonly input: JsonValue | undefined;
  readonly output: JsonValue | undefined;
  readonly error: RecordedError | undefined;
  readonly startedAtMs: number | undefined;
  readonly finishedAtMs: number | undefined;
}

/** A step's progress, with its items' where it has a `forEach`. */
export interface StepProgress extends Progress {
  readonly items: ReadonlyMap<number, Progress>;
}

export const PENDING: StepProgress = Object.freeze({
  state: 'pending',
  attempts: 0,
  notBegun: 0,
  announced: false,
  dueAtMs: undefined,
  traceparent: undefined,
  input: undefined,
  output: undefined,
  error: undefined,
  startedAtMs: undefined,
  finishedAtMs: undefined,
  items: new Map<number, Progress>(),
});

/**
 * Where each step stands according to the journal; the one place that says what its rows mean.
 *
 * A failed attempt with a due time is a step that is `pending` again; without one it is the step's failure. Rows may
 * come in any order; steps without rows are missing from the result ({@link PENDING}).
 */
export function foldJournal(rows: readonly StepRun[]): ReadonlyMap<string, StepProgress> {
  const steps = new Map<string, { own: StepRun[]; items: Map<number, StepRun[]> }>();
  for (const row of rows) {
    let step = steps.get(row.stepId);
    if (step === undefined) steps.set(row.stepId, (step = { own: [], items: new Map() }));
    if (row.item === NO_ITEM) step.own.push(row);
    else {
      const item = step.items.get(row.item);
      if (item === undefined) step.items.set(row.item, [row]);
      else item.push(row);
    }
  }
  const result = new Map<string, StepProgress>();
  for (const [stepId, { own, items }] of steps) {
    const itemProgress = new Map([...items].map(([item, itemRows]) => [item, foldAttempts(itemRows)]));
    result.set(stepId, summarize(foldAttempts(own), itemProgress));
  }
  return result;
}

function foldAttempts(rows: readonly StepRun[]): Progress {
  const last = rows.reduce<StepRun | undefined>(
    (latest, row) => (latest === undefined || row.attempt > latest.attempt ? row : latest),
    undefined,
  );
  if (last === undefined) return PENDING;
  const first = rows.find((row) => row.attempt === 1) ?? last;
  const repeats = last.state === 'failed' && last.dueAtMs !== undefined;
  const state = repeats ? 'pending' : last.state;
  const attempts = last.state === 'running' ? last.attempt - 1 : last.attempt;
  return {
    state,
    attempts,
    notBegun: rows.filter(({ state: outcome, error }) => outcome === 'failed' && isNotBegun(error?.code))
      .length,
    announced: last.state === 'running',
    dueAtMs: last.dueAtMs,
    traceparent: rows.find((row) => row.attempt === attempts)?.traceparent,
    input: last.input,
    output: last.output,
    error: last.error,
    startedAtMs: first.startedAtMs,
    finishedAtMs: state === 'pending' || state === 'running' ? undefined : last.finishedAtMs,
  };
}

/** A `forEach` step without a row of its own has started when any of its items has. */
function summarize(own: Progress, items: ReadonlyMap<number, Progress>): StepProgress {
  if (items.size === 0) return { ...own, items };
  const attempts = Math.max(...[...items.values()].map((item) => item.attempts));
  if (own.state !== 'pending') return { ...own, attempts, items };
  const started = [...items.values()].flatMap((item) => item.startedAtMs ?? []);
  const state = 'running';
  return {
    ...own,
    state,
    attempts,
    startedAtMs: started.length > 0 ? Math.min(...started) : undefined,
    items,
  };
}
