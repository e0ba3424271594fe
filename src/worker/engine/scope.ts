import type { CompiledWorkflow } from '../../core/definition/types.ts';
import {
  manualTrigger,
  storedBody,
  webhookTrigger,
  type TriggerValue,
} from '../../core/deliveries/trigger.ts';
import type { Claim } from '../../core/executions/claims.ts';
import type { RecordedError } from '../../core/executions/journal.ts';
import type { StepState } from '../../core/executions/status.ts';
import type { JsonObject, JsonValue } from '../../core/json.ts';

/** `steps.<id>` as expressions see it. */
export interface StepInScope {
  readonly output: JsonValue;
  readonly state: StepState;
  readonly error: RecordedError | null;
}

// A type, not an interface, so that it is a `Scope` (a record) too.
export type ExecutionScope = {
  readonly trigger: TriggerValue;
  readonly execution: JsonObject;
  readonly workflow: JsonObject;
  readonly config: JsonObject;
  /** Grows as steps end; expressions read the current state. */
  readonly steps: Record<string, StepInScope>;
};

const PENDING_STEP: StepInScope = Object.freeze({ output: null, state: 'pending', error: null });

/** The names that the steps of an execution may use. */
export function buildScope(claim: Claim, workflow: CompiledWorkflow): ExecutionScope {
  return {
    trigger: triggerOf(claim),
    execution: {
      id: claim.id,
      createdAt: new Date(claim.createdAtMs).toISOString(),
      startedAt: new Date(claim.startedAtMs).toISOString(),
    },
    workflow: { name: workflow.name, version: claim.version },
    config: workflow.config,
    steps: Object.fromEntries(workflow.steps.map((step) => [step.id, PENDING_STEP])),
  };
}

function triggerOf(claim: Claim): TriggerValue {
  if (claim.deliveryId !== undefined && claim.delivery !== undefined) {
    const { delivery } = claim;
    const headers = JSON.parse(delivery.headersJson) as JsonObject;
    return webhookTrigger(claim.triggerName, claim.deliveryId, delivery.receivedAtMs, {
      method: delivery.method,
      query: delivery.query,
      headers,
      body: storedBody(headers, delivery.body),
    });
  }
  const input = claim.inputJson === undefined ? null : (JSON.parse(claim.inputJson) as JsonValue);
  return manualTrigger(claim.triggerName, input, claim.createdAtMs);
}
