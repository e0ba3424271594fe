import type { CompiledWorkflow } from '../../core/definition/types.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import type { Claim, GivenUp } from '../../core/executions/claims.ts';
import type { TerminalExecutionState } from '../../core/executions/status.ts';
import type { Logger } from '../../core/logger.ts';
import { isPlatformFault } from '../../core/step-error.ts';
import type { Metrics } from '../../core/telemetry/metrics.ts';
import type { Span, Tracing } from '../../core/telemetry/tracing.ts';
import { OTHER, type WorkflowLabel } from '../../core/telemetry/workflow-labels.ts';

export interface OutcomeDeps {
  readonly metrics: Metrics;
  readonly tracing: Tracing | undefined;
  readonly logger: Logger;
  /** Milliseconds by the database's clock. */
  readonly now: () => number;
  readonly loadWorkflow: (workflowId: string, version: number) => Promise<CompiledWorkflow | undefined>;
  readonly tenantName: (tenantId: string) => Promise<string>;
}

/** How an execution ended. */
export interface Ending {
  readonly state: TerminalExecutionState;
  /** Of the error it ended with. */
  readonly code?: string | undefined;
  /** The failed step, where one is to blame. */
  readonly step?: string | undefined;
}

/** Tells metrics, traces and the log that an execution ended. */
export function observeEnd(
  { metrics, tracing, logger, now }: OutcomeDeps,
  claim: Claim,
  label: WorkflowLabel,
  ending: Ending,
  span: Span | undefined,
): void {
  const { tenant, workflow } = label;
  metrics.executions.inc({ tenant, workflow, outcome: ending.state });
  const seconds = Math.max(0, now() - claim.startedAtMs) / 1000;
  metrics.executionDuration.observe({ tenant, workflow }, seconds, span?.traceId);
  span?.set({ 'execution.state': ending.state });
  if (ending.state !== 'failed') return;
  logger.info({ workflow, code: ending.code, step: ending.step }, 'an execution failed');
  recordFailure(tracing, claim, workflow, ending, span);
}

/** Executions that lost so many leases that they were ended when they were claimed. */
export async function observeGivenUp(deps: OutcomeDeps, gaveUp: readonly GivenUp[]): Promise<void> {
  for (const one of gaveUp) {
    const { tenant, workflow } = await labelOf(deps, one);
    deps.metrics.executions.inc({ tenant, workflow, outcome: 'failed' });
    deps.metrics.platformFailures.inc({ code: 'worker_lost' });
    recordFailure(deps.tracing, one, workflow, { state: 'failed', code: 'worker_lost' }, undefined);
  }
}

/** An execution that a bug of ours ended. */
export async function observeInternalFailure(
  deps: OutcomeDeps,
  claim: Claim,
  span: Span | undefined,
): Promise<void> {
  deps.metrics.platformFailures.inc({ code: 'internal_error' });
  observeEnd(deps, claim, await labelOf(deps, claim), { state: 'failed', code: 'internal_error' }, span);
}

/** Counts what failed for good, if it was the platform's fault. */
export function countPlatformFault(
  metrics: Pick<Metrics, 'platformFailures'>,
  code: string | undefined,
): void {
  if (code !== undefined && isPlatformFault(code)) metrics.platformFailures.inc({ code });
}

/** For where the workflow may be what could not be loaded. */
async function labelOf(deps: OutcomeDeps, of: GivenUp): Promise<WorkflowLabel> {
  try {
    const [workflow, tenant] = await Promise.all([
      deps.loadWorkflow(of.workflowId, of.version),
      deps.tenantName(of.tenantId),
    ]);
    if (workflow !== undefined) return deps.metrics.workflows.note(tenant, workflow.name);
  } catch (raw) {
    deps.logger.debug(
      { err: coerceError(raw), executionId: of.id },
      'an outcome is counted without its workflow',
    );
  }
  return { tenant: OTHER, workflow: OTHER };
}

/** A span of its own that is always recorded, so that no failure is missed for the rate of sampling. */
function recordFailure(
  tracing: Tracing | undefined,
  of: GivenUp,
  workflow: string,
  { code = 'unknown', step }: Ending,
  span: Span | undefined,
): void {
  tracing?.recordFailure('execution.failed', of.traceparent, code, {
    attributes: {
      'execution.id': of.id,
      'workflow.id': of.workflowId,
      'workflow.name': workflow,
      'workflow.version': of.version,
      'error.type': code,
      'step.id': step,
    },
    links: [of.traceparent, span?.traceparent],
  });
}
