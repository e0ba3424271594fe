import { execFile } from 'node:child_process';
import { readFile, realpath, stat } from 'node:fs/promises';
import { basename, delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { coerceError } from '../../../core/errors/app-error.ts';
import { z } from '../../../core/zod.ts';
import { writeFileAtomically } from './files.ts';

const run = promisify(execFile);

export const OLDEST_PYTHON = [3, 11] as const;
const PROBE_TIMEOUT_MS = 10_000;

const installationSchema = z.object({
  /** The program itself, behind shims, links and virtual environments. */
  executable: z.string(),
  version: z.tuple([z.int(), z.int(), z.int()]),
  /** All that the interpreter says of itself; differs between builds. */
  build: z.string(),
  standardLibrary: z.string(),
  dynamicModules: z.string(),
  /** `lib`, or `lib64` where extension modules are kept apart. */
  platformLibrary: z.string(),
});
/** A Python of this machine, by its own account. */
export type PythonInstallation = z.infer<typeof installationSchema>;

export interface PythonSearch {
  readonly found: PythonInstallation | undefined;
  /** Each that was refused, and why. */
  readonly refused: readonly string[];
}

const PROBE = `
import json, os, sys, sysconfig
paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
stdlib = os.path.dirname(os.path.realpath(os.__file__))
platform = getattr(sys, "platlibdir", "lib")
dynamic = os.path.join(sys.base_exec_prefix, platform, os.path.basename(stdlib), "lib-dynload")
print(json.dumps({
  "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
  "version": list(sys.version_info[:3]),
  "build": sys.version,
  "standardLibrary": stdlib,
  "dynamicModules": dynamic,
  "platformLibrary": platform,
}))
`;

/**
 * The first Python of `path` (the variable PATH) that is new enough, python3 before the names with a version.
 *
 * @param cacheFile keeps what was learnt, for asking an interpreter takes 20 to 200 ms
 */
export async function findPython(path: string, cacheFile: string): Promise<PythonSearch> {
  const known = await readCache(cacheFile);
  const refused: string[] = [];
  for (const candidate of await candidatesOf(path)) {
    try {
      const installation = known.get(candidate.key) ?? (await probe(candidate.file));
      if (!isNewEnough(installation.version)) {
        refused.push(`${candidate.file} is ${installation.version.join('.')}`);
        continue;
      }
      // A shim stays the same when what it starts is removed.
      await stat(installation.executable);
      if (!known.has(candidate.key)) {
        const kept = [...known.entries()].slice(-9);
        await writeFileAtomically(cacheFile, JSON.stringify([...kept, [candidate.key, installation]])).catch(
          () => undefined,
        );
      }
      return { found: installation, refused };
    } catch (raw) {
      refused.push(`${candidate.file} does not run: ${firstLineOf(coerceError(raw).message)}`);
    }
  }
  return { found: undefined, refused };
}

/** Tells the content of an installation, as far as that can be told without reading all of it. */
export async function identifyPython(python: PythonInstallation): Promise<string> {
  const [executable, library] = await Promise.all([stat(python.executable), stat(python.standardLibrary)]);
  return [python.build, executable.size, executable.mtimeMs, library.mtimeMs].join(' ');
}

const isNewEnough = ([major, minor]: PythonInstallation['version']): boolean =>
  major === OLDEST_PYTHON[0] && minor >= OLDEST_PYTHON[1];

async function candidatesOf(path: string): Promise<readonly { file: string; key: string }[]> {
  const folders = [...new Set(path.split(delimiter).filter((folder) => folder.startsWith('/')))];
  const names = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'];
  const candidates: { file: string; key: string }[] = [];
  for (const file of names.flatMap((name) => folders.map((folder) => join(folder, name)))) {
    try {
      const real = await realpath(file);
      const { size, mtimeMs, mode } = await stat(real);
      if ((mode & 0o111) === 0) continue;
      // Shims of one program are links or copies of one file; the name by which they are called decides.
      const key = JSON.stringify([real, basename(file), size, mtimeMs]);
      if (!candidates.some((known) => known.key === key)) candidates.push({ file, key });
    } catch {
      // Not there.
    }
  }
  return candidates;
}

async function probe(file: string): Promise<PythonInstallation> {
  // From the root folder: what a shim starts may depend on a file such as .python-version in the current one.
  const { stdout } = await run(file, ['-I', '-c', PROBE], { timeout: PROBE_TIMEOUT_MS, cwd: '/' });
  return installationSchema.parse(JSON.parse(stdout));
}

async function readCache(file: string): Promise<ReadonlyMap<string, PythonInstallation>> {
  try {
    return new Map(
      z.array(z.tuple([z.string(), installationSchema])).parse(JSON.parse(await readFile(file, 'utf8'))),
    );
  } catch {
    return new Map();
  }
}

const firstLineOf = (text: string): string => text.split('\n', 1)[0] ?? '';
