import type { CompiledStep, CompiledWorkflow } from '../../core/definition/types.ts';
import type { Claim } from '../../core/executions/claims.ts';
import type { Span, Tracing } from '../../core/telemetry/tracing.ts';
import type { AttemptEnd } from './attempt.ts';

/** When a claim was made, by this process's monotonic clock. */
export interface ClaimTimes {
  readonly sentAtMs: number;
  readonly madeAtMs: number;
}

interface SpanDeps {
  readonly tracing: Tracing | undefined;
  /** Milliseconds by the database's clock. */
  readonly now: () => number;
}

const toEpoch = (monotonicMs: number): number => performance.timeOrigin + monotonicMs;

/** The span of one lease, with what came before it: the wait in the queue, and the claim that several may share. */
export function openRunSpan(
  { tracing, now }: SpanDeps,
  claim: Claim,
  { sentAtMs, madeAtMs }: ClaimTimes,
): Span | undefined {
  const identity = { 'execution.id': claim.id, 'execution.dispatch': claim.dispatchNumber };
  const run = tracing?.resume('execution.run', claim.traceparent, {
    kind: 'consumer',
    attributes: {
      ...identity,
      'execution.lost_leases': claim.lostLeases,
      'tenant.id': claim.tenantId,
      'workflow.id': claim.workflowId,
      'workflow.version': claim.version,
    },
  });
  // Without a trace that it was started in, only the run itself is one.
  if (tracing === undefined || run === undefined || claim.traceparent === undefined) return run;
  const sentAt = toEpoch(sentAtMs);
  const before = (name: string, fromMs: number, toMs: number): void =>
    tracing.resume(name, claim.traceparent, { startedAtMs: fromMs, attributes: identity })?.end(toMs);
  if (claim.dispatchNumber === 1) {
    before('queue.wait', Math.min(claim.createdAtMs - (now() - Date.now()), sentAt), sentAt);
  }
  before('execution.claim', sentAt, toEpoch(madeAtMs));
  return run;
}

/** What is known once the workflow is loaded. */
export function nameRunSpan(span: Span | undefined, workflow: CompiledWorkflow): void {
  span?.set({ 'workflow.name': workflow.name });
}

export interface AttemptIdentity {
  readonly executionId: string;
  readonly workflowId: string;
  readonly attempt: number;
  readonly item: number | undefined;
}

/**
 * The span of one attempt, linked to the attempt before it. That is read from the journal when another lease made it; one
 * that a lost worker left without an outcome has none there.
 */
export const openStepSpan = (
  parent: Span,
  step: CompiledStep,
  { executionId, workflowId, attempt, item }: AttemptIdentity,
  before: string | undefined,
): Span =>
  parent.child(`step.${step.kind}`, {
    attributes: {
      'execution.id': executionId,
      'workflow.id': workflowId,
      'step.id': step.id,
      'step.kind': step.kind,
      'step.attempt': attempt,
      'step.item': item,
    },
    links: [before],
  });

export function closeStepSpan(span: Span | undefined, end: AttemptEnd): void {
  if (span === undefined) return;
  span.set({ 'step.outcome': end.type });
  if (end.type === 'failed') span.fail(end.error.code);
  span.end();
}
