import type { CompiledStep, CompiledWorkflow } from '../../core/definition/types.ts';
import {
  PENDING,
  type Progress,
  type RecordedError,
  type StepProgress,
} from '../../core/executions/journal.ts';
import type { StepStanding } from '../../core/executions/plan.ts';
import { isStepTerminal, type StepState } from '../../core/executions/status.ts';
import type { JsonValue } from '../../core/json.ts';

/** What is run and repeated by itself: a step, or one element of a step's `forEach`. */
export interface Unit {
  /** `NO_ITEM` for the step itself. */
  readonly item: number;
  /** The element of the list. */
  readonly value: JsonValue | undefined;
  state: StepState;
  attempts: number;
  /** Of these, the ones that could not begin. */
  notBegun: number;
  announced: boolean;
  dueAtMs: number | undefined;
  output: JsonValue;
  error: RecordedError | undefined;
  startedAtMs: number | undefined;
  /** An attempt is under way in this process. */
  running: boolean;
  /** `traceparent` of the last attempt whose span was recorded, by whichever worker. */
  lastSpan: string | undefined;
}

/** Where a step of a running execution stands. Mutable: it belongs to one run in one worker. */
export interface Track {
  readonly step: CompiledStep;
  readonly restored: StepProgress;
  state: StepState;
  output: JsonValue;
  error: RecordedError | undefined;
  /** Undefined until `if` and `forEach` were evaluated. */
  units: Unit[] | undefined;
  /** Units with an attempt under way. */
  active: number;
}

/** The tracks of all steps, as the journal left them. */
export function createTracks(
  workflow: CompiledWorkflow,
  journal: ReadonlyMap<string, StepProgress>,
): readonly Track[] {
  return workflow.steps.map((step) => {
    const restored = journal.get(step.id) ?? PENDING;
    return {
      step,
      restored,
      state: isStepTerminal(restored.state) ? restored.state : 'pending',
      output: restored.output ?? null,
      error: isStepTerminal(restored.state) ? restored.error : undefined,
      units: undefined,
      active: 0,
    };
  });
}

export function createUnit(item: number, value: JsonValue | undefined, restored: Progress): Unit {
  return {
    item,
    value,
    state: restored.state,
    attempts: restored.attempts,
    notBegun: restored.notBegun,
    announced: restored.announced,
    dueAtMs: restored.dueAtMs,
    output: restored.output ?? null,
    error: restored.error,
    startedAtMs: restored.startedAtMs,
    running: false,
    lastSpan: restored.traceparent,
  };
}

/** Whether anything of the step is recorded: its `if` was true then, and is not asked again. */
export const hasBegun = (progress: StepProgress): boolean =>
  progress.attempts > 0 || progress.announced || progress.items.size > 0;

/** What the planner sees of a track. */
export function standingOf(track: Track): StepStanding {
  const { state, active, error, units, restored } = track;
  if (isStepTerminal(state)) return { state, error };
  // Before its units exist, a resumed step without items waits as its journal says.
  if (units === undefined) return { state, dueAtMs: restored.items.size > 0 ? undefined : restored.dueAtMs };
  let dueAtMs: number | undefined;
  let startable = false;
  for (const unit of units) {
    if (unit.running || isStepTerminal(unit.state)) continue;
    if (unit.dueAtMs === undefined) startable = true;
    else dueAtMs = Math.min(dueAtMs ?? Infinity, unit.dueAtMs);
  }
  return { state: 'running', active: active > 0, dueAtMs: startable ? undefined : dueAtMs };
}
