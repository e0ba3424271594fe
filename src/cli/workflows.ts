import type { z } from '../core/zod.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError } from './problems.ts';
import { deployedShape, type ProblemItem } from './shapes.ts';
import type { WorkflowFile } from './workflow-file.ts';

export type Deployed = Readonly<z.output<typeof deployedShape>>;

export const workflowPath = (name: string): string => `/workflows/${encodeURIComponent(name)}`;

/** Saves the workflow, or only checks it. The status tells a new version (201) from the same content (200). */
export function putWorkflow(
  api: ApiClient,
  file: WorkflowFile,
  options: { readonly dryRun: boolean },
): Promise<{ readonly status: number; readonly body: Deployed }> {
  return api.request(deployedShape, 'PUT', workflowPath(file.name), {
    query: { dryRun: options.dryRun ? 'true' : undefined },
    text: { type: 'application/yaml', content: file.source },
  });
}

/** What the API finds wrong with a document, place by place; undefined for a failure of another kind. */
export function findingsOf(raw: unknown): readonly ProblemItem[] | undefined {
  return raw instanceof ApiError ? raw.document.errors : undefined;
}
