import type { CompiledWorkflow } from '../../core/definition/types.ts';
import type { Claim } from '../../core/executions/claims.ts';
import type { StepLogLine, StepRunWrite } from '../../core/executions/journal-store.ts';
import type { JsonValue } from '../../core/json.ts';
import type { Logger } from '../../core/logger.ts';
import type { Metrics } from '../../core/telemetry/metrics.ts';
import type { Span, Tracing } from '../../core/telemetry/tracing.ts';
import type { WorkflowLabel } from '../../core/telemetry/workflow-labels.ts';
import type { Executors } from '../executors/types.ts';
import type { Abort } from './abort.ts';
import type { AttemptEnd } from './attempt.ts';
import type { JournalWriter } from './journal-writer.ts';
import type { ExecutionScope } from './scope.ts';
import type { Track, Unit } from './tracks.ts';

export interface RunDeps {
  readonly executors: Executors;
  readonly journal: JournalWriter;
  /** Milliseconds by the database's clock. */
  readonly now: () => number;
  /** In [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly metrics: Pick<Metrics, 'stepDuration' | 'platformFailures'>;
  readonly tracing: Tracing | undefined;
  /** Of this lease; undefined when its trace is not recorded. */
  readonly span: Span | undefined;
  readonly label: WorkflowLabel;
  /** What an execution that only waits for answers from outside asks for; see Slots. */
  readonly standAside: (tenantId: string, bytes: number) => (() => void) | undefined;
  readonly logger: Logger;
}

/** The state of one execution while this worker advances it. Mutable; it never leaves the run. */
export interface Run {
  readonly deps: RunDeps;
  readonly claim: Claim;
  readonly workflow: CompiledWorkflow;
  readonly scope: ExecutionScope;
  readonly tracks: readonly Track[];
  readonly abort: Abort;
  readonly completed: { readonly track: Track; readonly unit: Unit; readonly end: AttemptEnd }[];
  /** Attempts under way. */
  active: number;
  wake: () => void;
  /** What is to be recorded with the next write. */
  steps: StepRunWrite[];
  logs: StepLogLine[];
  /** Runs while `logs` wait for something to be recorded with. */
  logTimer: NodeJS.Timeout | undefined;
  response: JsonValue | undefined;
  /** Something in the buffer is an outside effect, and is recorded before anything follows from it; or it is due. */
  urgent: boolean;
}
