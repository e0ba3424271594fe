import type { ExecutionDetail, ExecutionSummary } from '../../core/executions/read.ts';
import { EXECUTION_STATES } from '../../core/executions/status.ts';
import { z } from '../../core/zod.ts';
import {
  executionErrorOf,
  executionErrorShape,
  executionStateShape,
  idShape,
  jsonShape,
  stepErrorOf,
  stepErrorShape,
  stepStateShape,
  timeOf,
  timeOrNull,
  timeShape,
} from './shapes.ts';

const common = {
  id: idShape,
  workflow: z.string(),
  version: z.int(),
  state: executionStateShape,
  retryOf: idShape.nullable().describe('The execution that this one repeats'),
  error: executionErrorShape.nullable(),
  createdAt: timeShape,
  startedAt: timeShape.nullable(),
  finishedAt: timeShape.nullable(),
};

export const executionSummaryShape = z.object({
  ...common,
  trigger: z.object({ type: z.string(), name: z.string(), deliveryId: idShape.nullable() }),
});

export const stepShape = z.object({
  id: z.string(),
  kind: z.string(),
  state: stepStateShape,
  attempts: z.int().describe('Attempts whose outcome is recorded'),
  startedAt: timeShape.nullable(),
  finishedAt: timeShape.nullable(),
  input: jsonShape,
  output: jsonShape,
  error: stepErrorShape.nullable(),
});

export const executionShape = z.object({
  ...common,
  trigger: z
    .object({
      type: z.string(),
      name: z.string(),
      method: z.string().nullish(),
      headers: z.record(z.string(), z.unknown()).optional(),
      query: z.record(z.string(), z.unknown()).optional(),
      body: jsonShape.optional(),
      deliveryId: idShape.nullable(),
      receivedAt: timeShape.optional(),
    })
    .describe('What expressions see as `trigger`; without the request once its delivery has expired'),
  input: jsonShape.describe('Of a manual start'),
  output: jsonShape,
  steps: z.array(stepShape).describe('In the order of the document, one entry for a forEach'),
});

export const statsShape = z.object({
  total: z.int(),
  counts: z.object(
    Object.fromEntries(EXECUTION_STATES.map((state) => [state, z.int()])) as Record<
      (typeof EXECUTION_STATES)[number],
      z.ZodInt
    >, // one entry for each state
  ),
  durationMs: z
    .object({ p50: z.int(), p90: z.int(), p95: z.int(), p99: z.int(), max: z.int() })
    .nullable()
    .describe(
      'From start to end, of those that have ended; of more than 10,000, those of the newest. Null when none has',
    ),
});

const toCommon = (execution: ExecutionSummary) => ({
  id: execution.id,
  workflow: execution.workflow,
  version: execution.version,
  state: execution.state,
});
const toTimes = (execution: ExecutionSummary) => ({
  createdAt: timeOf(execution.createdAt),
  startedAt: timeOrNull(execution.startedAt),
  finishedAt: timeOrNull(execution.finishedAt),
});

export const toExecutionSummary = (execution: ExecutionSummary): z.infer<typeof executionSummaryShape> => ({
  ...toCommon(execution),
  trigger: {
    type: execution.triggerType,
    name: execution.triggerName,
    deliveryId: execution.deliveryId,
  },
  retryOf: execution.retryOf,
  error: executionErrorOf(execution.error),
  ...toTimes(execution),
});

export const toExecution = (execution: ExecutionDetail): z.infer<typeof executionShape> => ({
  ...toCommon(execution),
  trigger: execution.trigger as z.infer<typeof executionShape>['trigger'], // built by core/deliveries/trigger.ts
  retryOf: execution.retryOf,
  input: execution.input,
  output: execution.output,
  error: executionErrorOf(execution.error),
  ...toTimes(execution),
  steps: execution.steps.map((step) => ({
    id: step.id,
    kind: step.kind,
    state: step.state,
    attempts: step.attempts,
    startedAt: timeOrNull(step.startedAt),
    finishedAt: timeOrNull(step.finishedAt),
    input: step.input,
    output: step.output,
    error: stepErrorOf(step.error),
  })),
});
