import { EXECUTION_STATES, isTerminal } from '../core/executions/status.ts';
import { z } from '../core/zod.ts';

// What the commands need of the API's answers. What else is in them is passed on by `-o json`.

export const problemShape = z.looseObject({
  path: z.string().optional(),
  code: z.string().optional(),
  line: z.number().optional(),
  column: z.number().optional(),
  message: z.string().optional(),
  fix: z.string().optional(),
});
export type ProblemItem = Readonly<z.output<typeof problemShape>>;

export const problemDocumentShape = z.looseObject({
  title: z.string().optional(),
  detail: z.string().optional(),
  code: z.string().optional(),
  requestId: z.string().optional(),
  errors: z.array(problemShape).optional(),
});
/** RFC 9457, with our extensions. */
export type ProblemDocument = Readonly<z.output<typeof problemDocumentShape>>;

const triggerShape = z.looseObject({ name: z.string(), type: z.string(), url: z.string().nullish() });

/** A workflow that was just saved. */
export const deployedShape = z.looseObject({
  name: z.string(),
  version: z.number(),
  triggers: z.array(triggerShape),
  warnings: z.array(problemShape).default([]),
});

export const workflowShape = z.looseObject({
  name: z.string(),
  version: z.number(),
  enabled: z.boolean(),
  triggers: z.array(triggerShape),
  updatedAt: z.string(),
});

const executionFields = {
  id: z.string(),
  workflow: z.string(),
  version: z.number(),
  state: z.enum(EXECUTION_STATES),
  trigger: z.looseObject({ name: z.string() }),
  error: z.looseObject({ code: z.string(), message: z.string(), step: z.string().nullish() }).nullable(),
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
};
/** As a list shows it. */
export const executionSummaryShape = z.looseObject(executionFields);
export type ExecutionSummary = Readonly<z.output<typeof executionSummaryShape>>;
export const executionCountsShape = z.looseObject({ counts: z.record(z.enum(EXECUTION_STATES), z.number()) });
export const executionShape = z.looseObject({ ...executionFields, output: z.unknown() });
export type Execution = Readonly<z.output<typeof executionShape>>;

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.looseObject({ items: z.array(item), nextCursor: z.string().nullable() });

export const startedShape = z.looseObject({ executionId: z.string() });

export const hasEnded = (execution: ExecutionSummary): boolean => isTerminal(execution.state);

/** A line of an execution's log. */
export const logLineShape = z.looseObject({
  time: z.string(),
  level: z.string(),
  step: z.string(),
  item: z.number().nullable(),
  attempt: z.number(),
  message: z.string(),
});
export type LogLine = Readonly<z.output<typeof logLineShape>>;
