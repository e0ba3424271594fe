import { readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { REQUIREMENTS_FILE } from '../../core/bundle/requirements.ts';
import type { PythonTarget } from '../../core/bundle/wheel-name.ts';
import { filesOf, type FileUse } from '../../core/definition/files.ts';
import { readYaml } from '../../core/definition/yaml-source.ts';
import type { Problem } from '../../core/errors/app-error.ts';
import { collectJavascript } from './javascript.ts';
import { collectModules, syntaxProblems } from './python.ts';
import { collectWheels, type WheelOptions } from './wheels.ts';

/** What is sent beside the document: text, or bytes. */
export type CollectedFiles = Readonly<Record<string, string | { readonly base64: string }>>;

export interface Collected {
  readonly files: CollectedFiles;
  /** Found on this machine; with any, `files` is not all of it. */
  readonly problems: readonly Problem[];
}

export type CollectOptions = WheelOptions & { readonly target: PythonTarget };

/** Gathers what the steps of a workflow need: their files, what these import, packages. */
export async function collectFiles(
  workflow: { readonly path: string; readonly source: string },
  options: CollectOptions,
): Promise<Collected> {
  const root = await realpath(workflow.path === '-' ? '.' : dirname(workflow.path));
  const uses = await present(root, filesOf(readYaml(workflow.source).source?.value));
  const isPython = ({ language }: FileUse): boolean => language === 'python';
  const files: Record<string, string | { readonly base64: string }> = {};
  const problems: Problem[] = [];
  const add = (part: Collected): void => {
    Object.assign(files, part.files);
    problems.push(...part.problems);
  };
  for (const entry of new Set(uses.filter((use) => !isPython(use)).map(({ path }) => path))) {
    add(await collectJavascript(root, entry, options.say));
  }
  const python = uses.filter(isPython).map(({ path }) => path);
  if (python.length > 0) {
    const modules = await collectModules(root, python);
    add({ files: modules, problems: await syntaxProblems(modules) });
    const requirements = await readFile(join(root, REQUIREMENTS_FILE), 'utf8').catch(() => undefined);
    if (requirements !== undefined) {
      add({ files: { [REQUIREMENTS_FILE]: requirements }, problems: [] });
      add(await collectWheels(requirements, options));
    }
  }
  return { files, problems };
}

/** Those whose file is there; the API says of the others that it is missing, with their line in the document. */
async function present(root: string, uses: readonly FileUse[]): Promise<readonly FileUse[]> {
  const found = await Promise.all(
    uses.map(async (use) =>
      (await readFile(join(root, use.path)).catch(() => undefined)) ? use : undefined,
    ),
  );
  return found.filter((use) => use !== undefined);
}
