import type { Span } from '../telemetry/tracing.ts';

/** "This execution may be ready": all that a hint says. Losing or repeating one is harmless. */
export interface Hint {
  readonly executionId: string;
  /** How often the execution was dispatched before; makes the id of the hint unique per dispatch. */
  readonly dispatchNumber: number;
  /** What it is part of, where that is recorded. It does not go along. */
  readonly span?: Span | undefined;
}

export interface HintPublisher {
  /** Never throws and never waits: what cannot be carried is dropped and counted; the dispatcher finds the rows. */
  readonly publish: (hints: readonly Hint[]) => void;
  /** False while hints are not carried, so that dispatchers poll more often. */
  healthy(): boolean;
  close(): Promise<void>;
}

export interface HintConsumer {
  /**
   * Calls `onHint` for each hint. It takes the next ones only as earlier calls resolve, so that a worker without a
   * free slot leaves hints to others.
   */
  start(onHint: (executionId: string) => Promise<void>): Promise<void>;
  healthy(): boolean;
  stop(): Promise<void>;
}
