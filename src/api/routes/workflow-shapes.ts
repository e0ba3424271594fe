import { describeTriggers, type DeployedTrigger } from '../../core/workflows/deploy.ts';
import type { VersionSummary, WorkflowRecord } from '../../core/workflows/store.ts';
import { z } from '../../core/zod.ts';
import { problemItemShape } from '../http/problem-shape.ts';
import { timeOf, timeShape } from './shapes.ts';

const triggerShape = z.object({
  name: z.string(),
  type: z.string(),
  endpointId: z.string().nullable().describe('Of a webhook; null in a dry run that would make one'),
  url: z.string().nullable().describe('Where to send the webhook'),
});

export const deployedShape = z.object({
  name: z.string(),
  version: z.int(),
  contentHash: z.string(),
  triggers: z.array(triggerShape),
  warnings: z.array(problemItemShape),
});

export const workflowSummaryShape = z.object({
  name: z.string(),
  description: z.string().nullable(),
  enabled: z.boolean(),
  version: z.int().describe('The current one'),
  contentHash: z.string(),
  triggers: z.array(triggerShape),
  createdAt: timeShape,
  updatedAt: timeShape,
});

const contentShape = {
  definition: z.string().describe('The document as it was sent'),
  files: z
    .record(z.string(), z.unknown())
    .describe('As they were sent; with `files=summary` the `sha256` and `bytes` of each'),
};

export const workflowShape = workflowSummaryShape.extend(contentShape);

export const versionSummaryShape = z.object({
  version: z.int(),
  contentHash: z.string(),
  restoredFrom: z.int().nullable().describe('The version whose content this one took over'),
  createdAt: timeShape,
});

export const versionShape = versionSummaryShape.extend({ name: z.string(), ...contentShape });

export const toTriggers = (
  publicHooksUrl: string,
  triggers: readonly DeployedTrigger[],
): z.infer<typeof triggerShape>[] =>
  triggers.map(({ name, type, endpointId }) => ({
    name,
    type,
    endpointId,
    url: endpointId === null ? null : `${publicHooksUrl}/hooks/${endpointId}`,
  }));

export function toWorkflow(
  publicHooksUrl: string,
  workflow: WorkflowRecord,
  endpoints: ReadonlyMap<string, string> = new Map(),
): z.infer<typeof workflowSummaryShape> {
  const description = workflow.document['description'];
  return {
    name: workflow.name,
    description: typeof description === 'string' ? description : null,
    enabled: workflow.enabled,
    version: workflow.version,
    contentHash: workflow.contentHash,
    triggers: toTriggers(publicHooksUrl, describeTriggers(workflow.document, endpoints)),
    createdAt: timeOf(workflow.createdAt),
    updatedAt: timeOf(workflow.updatedAt),
  };
}

export const toVersionSummary = (version: VersionSummary): z.infer<typeof versionSummaryShape> => ({
  version: version.version,
  contentHash: version.contentHash,
  restoredFrom: version.restoredFrom,
  createdAt: timeOf(version.createdAt),
});
