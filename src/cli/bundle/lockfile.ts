import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isRecord } from '../../core/json.ts';

/** Why the packages that are installed cannot be trusted to be those that the project names; and what to do. */
export interface PackageFault {
  readonly message: string;
  readonly fix: string;
}

/** Lockfiles of the usual package managers; what npm's say is compared with what is installed. */
const LOCKFILES = [
  'package-lock.json',
  'npm-shrinkwrap.json',
  'pnpm-lock.yaml',
  'yarn.lock',
  'bun.lock',
] as const;
const DEPENDENCY_KEYS = [
  'dependencies',
  'devDependencies',
  'optionalDependencies',
  'peerDependencies',
] as const;

/** The folder of a package within an input of esbuild: `…/node_modules/@scope/name`. */
const PACKAGE_FOLDER = /^(.*(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/]+)\//;

/** The folders of the packages that `inputs` are files of. */
export const packageFolders = (inputs: readonly string[]): ReadonlySet<string> =>
  new Set(inputs.flatMap((input) => PACKAGE_FOLDER.exec(input)?.[1] ?? []));

/**
 * Holds the packages that a bundle is made of against package.json and the lockfile: both have to be there and agree, so
 * that the same bundle comes out tomorrow and elsewhere.
 *
 * @param root folder of the workflow
 * @param folders of the packages, relative to it
 */
export async function packageFault(
  root: string,
  folders: ReadonlySet<string>,
): Promise<PackageFault | undefined> {
  const project = await findUpwards(root, ['package.json']);
  if (project === undefined) {
    return {
      message: 'it imports packages, and there is no package.json',
      fix: 'run `npm init -y` and `npm install <package>` in the folder of the workflow',
    };
  }
  const lock = await findUpwards(project.folder, LOCKFILES);
  if (lock === undefined) {
    return {
      message: `it imports packages, and there is no lockfile beside ${project.file}`,
      fix: 'run `npm install`, which writes package-lock.json',
    };
  }
  if (!/(?:package-lock|npm-shrinkwrap)\.json$/.test(lock.file)) return undefined;
  const locked = await readJson(lock.file);
  const packages = isRecord(locked) && isRecord(locked.packages) ? locked.packages : undefined;
  if (packages === undefined) {
    return { message: `${lock.file} has no \`packages\``, fix: 'run `npm install` with npm 7 or newer' };
  }
  const manifest = await readJson(project.file);
  if (lock.folder === project.folder && !agrees(manifest, packages[''])) {
    return {
      message: `${project.file} and ${lock.file} do not agree`,
      fix: 'run `npm install`',
    };
  }
  return installedFault(root, lock, packages, folders);
}

async function installedFault(
  root: string,
  lock: { readonly file: string; readonly folder: string },
  packages: Readonly<Record<string, unknown>>,
  folders: ReadonlySet<string>,
): Promise<PackageFault | undefined> {
  for (const folder of folders) {
    const path = join(root, folder);
    const installed = await readJson(join(path, 'package.json'));
    if (!path.startsWith(`${lock.folder}/`) || !isRecord(installed)) continue;
    const key = path.slice(lock.folder.length + 1);
    const entry = packages[key];
    const wanted = isRecord(entry) ? entry.version : undefined;
    if (wanted === installed.version) continue;
    const name = key.slice(key.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const lockedAs = typeof wanted === 'string' ? `${name}@${wanted}` : `no ${name}`;
    return {
      message: `${name}@${String(installed.version)} is installed, and ${lock.file} has ${lockedAs}`,
      fix: 'run `npm ci`, or `npm install` to change the lockfile',
    };
  }
  return undefined;
}

/** Whether a lockfile was made of this package.json. */
function agrees(manifest: unknown, root: unknown): boolean {
  if (!isRecord(manifest) || !isRecord(root)) return false;
  return DEPENDENCY_KEYS.every((key) => sorted(manifest[key]) === sorted(root[key]));
}

const sorted = (dependencies: unknown): string =>
  JSON.stringify(
    Object.entries(isRecord(dependencies) ? dependencies : {}).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );

/** Whether the project names a package among its dependencies, or has it at least in its package.json. */
export async function isDeclared(root: string, name: string): Promise<boolean> {
  const project = await findUpwards(root, ['package.json']);
  const manifest = project && (await readJson(project.file));
  return (
    isRecord(manifest) &&
    DEPENDENCY_KEYS.some((key) => isRecord(manifest[key]) && Object.hasOwn(manifest[key], name))
  );
}

/** The nearest of these files, in `folder` or above. */
export async function findUpwards(
  folder: string,
  names: readonly string[],
): Promise<{ readonly file: string; readonly folder: string } | undefined> {
  for (const name of names) {
    const file = join(folder, name);
    if ((await readFile(file).catch(() => undefined)) !== undefined) return { file, folder };
  }
  const parent = dirname(folder);
  return parent === folder ? undefined : findUpwards(parent, names);
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}
