import { homedir } from 'node:os';
import { join } from 'node:path';
import { machineOf, pythonTarget } from '../core/bundle/wheel-name.ts';
import { loadConfig } from '../core/config/load.ts';
import { sandboxKeys } from '../core/config/sandbox-keys.ts';
import type { z } from '../core/zod.ts';
import type { ApiClient } from './api-client.ts';
import { collectFiles, type Collected, type CollectedFiles } from './bundle/collect.ts';
import { ApiError } from './problems.ts';
import type { Io } from './session.ts';
import { deployedShape, type ProblemItem } from './shapes.ts';
import { readWorkflowFile, type WorkflowFile } from './workflow-file.ts';

export type Deployed = Readonly<z.output<typeof deployedShape>>;

export const workflowPath = (name: string): string => `/workflows/${encodeURIComponent(name)}`;

/** Sending 80 MiB and bundling what is in them takes its time. */
const SAVE_TIMEOUT_MS = 300_000;

/** Saves the workflow, or only checks it. The status tells a new version (201) from the same content (200). */
export function putWorkflow(
  api: ApiClient,
  file: WorkflowFile,
  options: { readonly dryRun: boolean; readonly files?: CollectedFiles },
): Promise<{ readonly status: number; readonly body: Deployed }> {
  const { dryRun, files = {} } = options;
  return api.request(deployedShape, 'PUT', workflowPath(file.name), {
    query: { dryRun: dryRun ? 'true' : undefined },
    body: { definition: file.source, files },
    timeoutMs: SAVE_TIMEOUT_MS,
  });
}

/** A workflow file with what its steps need. */
export interface GatheredWorkflow {
  readonly file: WorkflowFile;
  readonly collected: Collected;
}

/** Reads a workflow and gathers what its steps need. @throws CliError (usage) when it cannot be read */
export async function gatherWorkflow(io: Io, path: string): Promise<GatheredWorkflow> {
  const file = await readWorkflowFile(io, path);
  const { XDG_CACHE_HOME } = loadConfig({ XDG_CACHE_HOME: sandboxKeys.XDG_CACHE_HOME }, io.env);
  const collected = await collectFiles(file, {
    target: pythonTarget(machineOf(process.arch)),
    cacheDirectory: join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'millrace'),
    say: io.say,
    env: { ...io.env },
  });
  return { file, collected };
}

/**
 * All that is wrong with a workflow that has problems on this machine: these, and what the API says of the document.
 * Problems of files that the API finds are left out, as it has not been sent all of them.
 */
export async function allFindings(
  api: ApiClient,
  { file, collected }: GatheredWorkflow,
): Promise<readonly ProblemItem[]> {
  const local = collected.problems.map((problem) => ({ ...problem }));
  try {
    await putWorkflow(api, file, { dryRun: true, files: collected.files });
    return local;
  } catch (raw) {
    const ofDocument = findingsOf(raw);
    if (ofDocument === undefined) throw raw;
    const isOfFile = ({ path }: ProblemItem): boolean => path?.startsWith('files[') === true;
    return [...ofDocument.filter((problem) => !isOfFile(problem)), ...local];
  }
}

/** What the API finds wrong with a document, place by place; undefined for a failure of another kind. */
export function findingsOf(raw: unknown): readonly ProblemItem[] | undefined {
  return raw instanceof ApiError ? raw.document.errors : undefined;
}
