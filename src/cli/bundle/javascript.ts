import { readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { builtinsPlugin, bundleStep, type BundleFault } from '../../core/bundle/esbuild.ts';
import { faultProblem, sizeProblem } from '../../core/bundle/javascript.ts';
import { loaderOf } from '../../core/bundle/resolve.ts';
import { shipBundle } from '../../core/bundle/shipped-bundle.ts';
import { fileProblem } from '../../core/bundle/source-files.ts';
import { JAVASCRIPT_TARGET } from '../../core/bundle/target.ts';
import { isFilePath } from '../../core/definition/file-path.ts';
import type { Problem } from '../../core/errors/app-error.ts';
import { findUpwards, isDeclared, packageFault, packageFolders } from './lockfile.ts';

export interface CollectedStep {
  /** Path → text, of the sources and, where it takes more than those, of the bundle; with problems not all of it. */
  readonly files: Readonly<Record<string, string>>;
  readonly problems: readonly Problem[];
}

/**
 * What has to be sent for a step of TypeScript or JavaScript: the files that it imports and, where these are not all of it
 * (packages, files outside of the folder, a tsconfig.json), what esbuild makes of them here.
 *
 * @param root folder of the workflow, absolute
 */
export async function collectJavascript(
  root: string,
  entry: string,
  say: (line: string) => void,
): Promise<CollectedStep> {
  const text = await readFile(join(root, entry), 'utf8');
  const refuse = (...problems: readonly Problem[]): CollectedStep => ({ files: { [entry]: text }, problems });
  // Only here: other commands need no bundler.
  const esbuild = await import('esbuild');
  const result = await bundleStep((options) => esbuild.build(options), {
    entry,
    root,
    target: JAVASCRIPT_TARGET,
    plugins: [builtinsPlugin(JAVASCRIPT_TARGET, isBuiltin)],
  });
  if (!result.ok) {
    return refuse(...(await Promise.all(result.faults.map((fault) => localProblem(root, fault, entry)))));
  }
  const own = [...new Set([entry, ...result.inputs.filter(isOwn)])];
  const sources = Object.fromEntries(
    await Promise.all(own.map(async (path) => [path, await readFile(join(root, path), 'utf8')] as const)),
  );
  const isWhole =
    result.inputs.every((path) => own.includes(path)) &&
    [...result.specifiers].every((specifier) => specifier.startsWith('.')) &&
    (await findUpwards(root, ['tsconfig.json'])) === undefined;
  if (isWhole) return { files: sources, problems: [] };

  const folders = packageFolders(result.inputs);
  const fault = folders.size === 0 ? undefined : await packageFault(root, folders);
  if (fault !== undefined) return refuse(fileProblem(entry, 'lockfile', fault.message, fault.fix));
  const tooLarge = sizeProblem(entry, result.code);
  if (tooLarge !== undefined) return refuse(tooLarge);
  const hashed = Object.fromEntries(Object.entries(sources).map(([path, text]) => [path, Buffer.from(text)]));
  say(`bundled ${entry}: ${Math.ceil(result.code.length / 1024)} KiB, with ${folders.size} package(s)`);
  const bundle = shipBundle(entry, { code: result.code, map: result.map, sources: hashed });
  return { files: { ...sources, ...bundle }, problems: [] };
}

/** A file of the workflow's own folder that can be sent as it is. */
const isOwn = (path: string): boolean =>
  isFilePath(path) && !/(?:^|\/)node_modules\//.test(path) && loaderOf(path) !== undefined;

/** What to do about it here is another thing than what to do where only the files are. */
async function localProblem(root: string, fault: BundleFault, entry: string): Promise<Problem> {
  const problem = faultProblem(fault, entry);
  const { code, specifier = '' } = fault;
  if (code !== 'unresolved_import') return problem;
  if (/^[./]/.test(specifier)) return { ...problem, fix: 'correct the path, or add the file' };
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const isMissing = !(await isDeclared(root, name));
  return { ...problem, fix: isMissing ? `run \`npm install ${name}\`` : 'run `npm install`' };
}
