import type { CompiledStepOf, CompiledWorkflow, StepKind } from '../../core/definition/types.ts';
import type { Scope } from '../../core/expressions/types.ts';
import type { JsonValue } from '../../core/json.ts';
import type { Span } from '../../core/telemetry/tracing.ts';

/** What one attempt knows of its surroundings. */
export interface AttemptContext {
  readonly tenantId: string;
  readonly executionId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly workflow: CompiledWorkflow;
  /** Counted from 1. */
  readonly attempt: number;
  /** Index within a `forEach`. */
  readonly item: number | undefined;
  /** The same on every attempt: `<executionId>.<stepId>[.<item>]`. */
  readonly idempotencyKey: string;
  /** What goes along with requests: of the attempt's own span, else of what started the execution. */
  readonly traceparent: string | undefined;
  /** Of this attempt; undefined when its trace is not recorded. */
  readonly span: Span | undefined;
  /** Aborted when the attempt's time is over, or when the execution is to stop. */
  readonly signal: AbortSignal;
  /** How long this attempt may take, in milliseconds from its start. */
  readonly timeoutMs: number;
  /** Lets the attempt's time stand still while it waits for the platform, or begin anew. */
  readonly clock: AttemptClock;
  /** The database's clock. */
  readonly nowMs: number;
  /** @param truncated the line stands for others that were left out */
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, truncated?: boolean): void;
}

/** The time-out of one attempt. */
export interface AttemptClock {
  /** Nothing times out until it begins anew. */
  pause(): void;
  /** The whole of `timeoutMs` is left again. */
  restart(): void;
}

/** How an attempt ends well; it fails by throwing a StepError. */
export type AttemptOutcome =
  | { readonly type: 'done'; readonly output: JsonValue; readonly response?: JsonValue }
  /** Nothing to do before `dueAtMs` (database clock); the worker's slot is free until then. */
  | { readonly type: 'wait'; readonly dueAtMs: number };

/** Runs a step of one kind. */
export type Executor<K extends StepKind> = (
  step: CompiledStepOf<K>,
  scope: Scope,
  context: AttemptContext,
) => Promise<AttemptOutcome> | AttemptOutcome;

/** An executor for each kind, so that a new kind does not compile before it has one. */
export type Executors = { readonly [K in StepKind]: Executor<K> };

/** Kinds without outside effect: repeating them is harmless, so they are recorded with the next effectful one. */
export const PURE_KINDS: ReadonlySet<StepKind> = new Set<StepKind>(['transform']);
