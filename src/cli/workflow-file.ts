import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, parseDocument } from 'yaml';
import type { Io } from './session.ts';

/** A workflow as it lies on disk. */
export interface WorkflowFile {
  /** As the caller wrote it, or the workflow.yaml of the folder that was named. */
  readonly path: string;
  readonly source: string;
  /** What the document calls itself, as far as that can be read; the API checks it. */
  readonly name: string;
}

/** Stands for the name where the document has none that can be read; the API then says what is wrong with it. */
const UNREADABLE_NAME = 'unnamed';

/** @throws CliError (usage) when it cannot be read */
export async function readWorkflowFile(io: Io, path: string): Promise<WorkflowFile> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const file = isFolder ? join(path, 'workflow.yaml') : path;
  const source = await io.readText(file);
  return { path: file, source, name: nameOf(source) };
}

function nameOf(source: string): string {
  // Only the top level is looked at, so aliases and tags further down are neither resolved nor run.
  const { contents } = parseDocument(source, { schema: 'failsafe', logLevel: 'silent' });
  const name = isMap(contents) ? contents.get('name') : undefined;
  return typeof name === 'string' && name !== '' ? name : UNREADABLE_NAME;
}
