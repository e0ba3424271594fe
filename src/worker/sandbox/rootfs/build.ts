import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  copyFile,
  cp,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from '../../../core/zod.ts';
import { findDeno, type DenoBinary } from './deno.ts';
import { filesBelow, makeFolder } from './files.ts';
import { linkTree } from './link-tree.ts';
import {
  DENO_INSIDE,
  JAVASCRIPT_RUNNER_INSIDE,
  PYTHON_HOME_INSIDE,
  PYTHON_RUNNER_INSIDE,
  SANDBOX_UID,
  SHARED_INSIDE,
  type RootfsManifest,
} from './layout.ts';
import { librariesOf } from './libraries.ts';
import { withLock } from './lock.ts';
import { findPython, identifyPython, OLDEST_PYTHON, type PythonInstallation } from './python.ts';

const run = promisify(execFile);

/** Counts up with every change of what is put where, but for the runners. */
const LAYOUT_VERSION = 1;
const KEY_DIGITS = 24;
/** What the bundle of the JavaScript runner is made of and by: bundling to learn whether it changed takes too long. */
const RUNNER_SOURCES = ['runner/javascript', 'core/sandbox', 'worker/sandbox/rootfs'] as const;
const LOCK_TIMEOUT_MS = 120_000;
const DAY_MS = 86_400_000;
/** What nobody has used for so long is removed when another one is built. */
const KEPT_UNUSED_MS = 14 * DAY_MS;

/** Of the standard library: what needs a display, a terminal, a compiler or pip, and what tests it. */
const LEFT_OUT_OF_PYTHON: ReadonlySet<string> = new Set([
  'test',
  'tests',
  'idlelib',
  'idle_test',
  'tkinter',
  'turtledemo',
  'ensurepip',
  'lib2to3',
  'pydoc_data',
  'venv',
  'site-packages',
  'dist-packages',
  'lib-dynload',
]);
const LEFT_OUT_MODULES =
  /^(_test|_ctypes_test|_tkinter|xxlimited|xxsubtype|_curses|readline|_gdbm|_dbm|ossaudiodev|nis)/;

export interface Rootfs {
  /** To be given to a container as its root; nothing in it is ever written. */
  readonly root: string;
  readonly manifest: RootfsManifest;
}

export interface RootfsOptions {
  /** Built ones are `<cacheDirectory>/rootfs/<key>`. */
  readonly cacheDirectory: string;
  /** The variable PATH: Python and ldd are looked for there. */
  readonly path: string;
  /** One ES module; by default the runner of this release, bundled. */
  readonly bundleJavaScriptRunner?: () => Promise<string>;
  /** The folder of main.py; by default the runner of this release. */
  readonly pythonRunner?: string;
  /** Called before a build, which takes seconds. */
  readonly onBuild?: (key: string) => void;
}

interface Inputs extends RootfsOptions {
  readonly deno: DenoBinary;
  readonly python: PythonInstallation | undefined;
  readonly pythonRunner: string;
  readonly baseKey: string;
  readonly manifest: RootfsManifest;
}

const manifestSchema = z.object({
  key: z.string(),
  deno: z.string(),
  python: z.object({ version: z.string(), executable: z.string() }).optional(),
  pythonMissing: z.string().optional(),
});

const sourceFolder = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Gives the root file system for what is installed on this machine, and builds it when it is not in the cache yet. */
export async function provideRootfs(options: RootfsOptions): Promise<Rootfs> {
  const inputs = await gatherInputs(options);
  const { key } = inputs.manifest;
  const place = join(options.cacheDirectory, 'rootfs', key);
  const known = await readRootfs(place).catch(() => undefined);
  if (known !== undefined) return known;
  return withLock(`${place}.lock`, LOCK_TIMEOUT_MS, async () => {
    const meanwhile = await readRootfs(place).catch(() => undefined);
    if (meanwhile !== undefined) return meanwhile;
    options.onBuild?.(key);
    await removeUnused(dirname(place));
    const base = await provideBase(inputs);
    await buildAside(place, async (aside) => {
      await makeFolder(join(aside, 'root'));
      await linkTree(base, join(aside, 'root'));
      await finish(inputs, aside);
    });
    return readRootfs(place);
  });
}

/** Marks it as used, now and every day from now on, for as long as this process lives. */
export function keepRootfs(rootfs: Rootfs): void {
  const mark = (): void => void markUsed(dirname(rootfs.root)).catch(() => undefined);
  mark();
  setInterval(mark, DAY_MS).unref();
}

async function markUsed(place: string): Promise<void> {
  const now = new Date();
  await utimes(place, now, now);
}

async function removeUnused(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const place = join(folder, name);
    const used = await stat(place).catch(() => undefined);
    const keptMs = name.includes('.new-') ? LOCK_TIMEOUT_MS : KEPT_UNUSED_MS;
    if (used?.isDirectory() && Date.now() - used.mtimeMs > keptMs) {
      await rm(place, { recursive: true, force: true });
    }
  }
}

/** Builds one into a folder that does not exist yet. */
export async function buildRootfs(options: RootfsOptions, place: string): Promise<Rootfs> {
  const inputs = await gatherInputs(options);
  await buildAside(place, async (aside) => {
    await putBase(inputs, join(aside, 'root'));
    await finish(inputs, aside);
  });
  return readRootfs(place);
}

async function finish(inputs: Inputs, aside: string): Promise<void> {
  await putRunners(inputs, join(aside, 'root'));
  await writeFile(join(aside, 'manifest.json'), JSON.stringify(inputs.manifest, undefined, 2));
}

/** @throws Error when there is no whole one */
export async function readRootfs(place: string): Promise<Rootfs> {
  const text = await readFile(join(place, 'manifest.json'), 'utf8');
  const parsed = manifestSchema.parse(JSON.parse(text));
  return {
    root: join(place, 'root'),
    manifest: { ...parsed, python: parsed.python, pythonMissing: parsed.pythonMissing },
  };
}

async function gatherInputs(options: RootfsOptions): Promise<Inputs> {
  const pythonRunner = options.pythonRunner ?? sourceFolder('runner/python');
  const cacheFile = join(options.cacheDirectory, 'python.json');
  const [deno, python] = await Promise.all([findDeno(), findPython(options.path, cacheFile)]);
  const base = createHash('sha256');
  base.update(`${LAYOUT_VERSION} ${process.arch} ${deno.identity}\n`);
  if (python.found) base.update(`${await identifyPython(python.found)}\n`);
  const baseKey = base.digest('hex').slice(0, KEY_DIGITS);
  const hash = createHash('sha256').update(baseKey);
  if (options.bundleJavaScriptRunner) hash.update(await options.bundleJavaScriptRunner());
  else for (const part of RUNNER_SOURCES) await hashFolder(hash, sourceFolder(part));
  await hashFolder(hash, pythonRunner);
  const wanted = OLDEST_PYTHON.join('.');
  return {
    ...options,
    deno,
    python: python.found,
    pythonRunner,
    baseKey,
    manifest: {
      key: hash.digest('hex').slice(0, KEY_DIGITS),
      deno: deno.version,
      python: python.found && {
        version: python.found.version.join('.'),
        executable: `${PYTHON_HOME_INSIDE}/bin/${basename(python.found.standardLibrary)}`,
      },
      pythonMissing: python.found
        ? undefined
        : [`no python3 of version ${wanted} or later is on the PATH`, ...python.refused].join('; '),
    },
  };
}

async function hashFolder(hash: ReturnType<typeof createHash>, folder: string): Promise<void> {
  for (const file of await filesBelow(folder)) {
    if (/(^|\/)__pycache__\/|\.test\.ts$|^README/.test(file)) continue;
    const content = await readFile(join(folder, file));
    hash.update(`${file} ${content.length}\n`).update(content);
  }
}

/** Everything but the runners: it is large, and stays the same while they change. */
async function provideBase(inputs: Inputs): Promise<string> {
  const place = join(inputs.cacheDirectory, 'rootfs', `base-${inputs.baseKey}`);
  const marker = join(place, 'complete');
  const isThere = (): Promise<boolean> =>
    stat(marker).then(
      () => true,
      () => false,
    );
  if (await isThere()) {
    await markUsed(place);
    return join(place, 'root');
  }
  return withLock(`${place}.lock`, LOCK_TIMEOUT_MS, async () => {
    if (!(await isThere())) {
      await buildAside(place, async (aside) => {
        await putBase(inputs, join(aside, 'root'));
        await writeFile(join(aside, 'complete'), '');
      });
    }
    return join(place, 'root');
  });
}

/** Makes a folder whole before it has its name. */
async function buildAside(place: string, build: (aside: string) => Promise<void>): Promise<void> {
  await makeFolder(dirname(place));
  const aside = await mkdtemp(`${place}.new-`);
  try {
    await chmod(aside, 0o755);
    await build(aside);
    await rename(aside, place);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    throw error;
  }
}

async function putBase(inputs: Inputs, root: string): Promise<void> {
  await makeSkeleton(root);
  await putFile(root, inputs.deno.file, DENO_INSIDE, 0o755);
  const linked = [inputs.deno.file];
  if (inputs.python) linked.push(...(await putPython(root, inputs.python)));
  for (const { from, inside } of await librariesOf(linked, inputs.path)) {
    await putFile(root, from, inside, 0o755);
  }
}

async function putRunners(inputs: Inputs, root: string): Promise<void> {
  const bundle = inputs.bundleJavaScriptRunner ?? (await import('./runner-bundle.ts')).bundleJavaScriptRunner;
  await writeInside(root, JAVASCRIPT_RUNNER_INSIDE, await bundle());
  if (inputs.python === undefined) return;
  const runner = join(root, PYTHON_RUNNER_INSIDE);
  await cp(inputs.pythonRunner, runner, {
    recursive: true,
    filter: (from) => basename(from) !== '__pycache__',
  });
  const compile = ['-m', 'compileall', '-q', '--invalidation-mode', 'unchecked-hash', '-s', root];
  await run(inputs.python.executable, ['-I', ...compile, runner]);
  await run('chmod', ['-R', 'a+rX,go-w', runner]);
}

/** Mount points, and the few files of /etc that libraries read. No resolver: there is no network. */
async function makeSkeleton(root: string): Promise<void> {
  for (const folder of ['proc', 'sys', 'dev/shm', 'tmp', SHARED_INSIDE]) await makeFolder(join(root, folder));
  await writeInside(
    root,
    '/etc/passwd',
    `root:x:0:0::/:/nonexistent\nsandbox:x:${SANDBOX_UID}:${SANDBOX_UID}::/tmp:/nonexistent\n`,
  );
  await writeInside(root, '/etc/group', `root:x:0:\nsandbox:x:${SANDBOX_UID}:\n`);
  await writeInside(root, '/etc/hosts', '127.0.0.1 localhost sandbox\n::1 localhost\n');
  await writeInside(root, '/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files\n');
}

/** Copies interpreter and standard library; gives what has to be linked. */
async function putPython(root: string, python: PythonInstallation): Promise<string[]> {
  const versioned = basename(python.standardLibrary);
  const library = join(root, PYTHON_HOME_INSIDE, 'lib', versioned);
  const dynamic = join(root, PYTHON_HOME_INSIDE, python.platformLibrary, versioned, 'lib-dynload');
  await putFile(root, python.executable, `${PYTHON_HOME_INSIDE}/bin/${versioned}`, 0o755);
  await makeFolder(dirname(library));
  await cp(python.standardLibrary, library, {
    recursive: true,
    dereference: true,
    // Byte code is taken for current when the time of its source is the one it was made from.
    preserveTimestamps: true,
    filter: (from) => isWantedOfPython(python, from),
  });
  await makeFolder(dynamic);
  const modules = (await readdir(python.dynamicModules)).filter(
    (name) => name.endsWith('.so') && !LEFT_OUT_MODULES.test(name),
  );
  for (const name of modules) await copyFile(join(python.dynamicModules, name), join(dynamic, name));
  await run('chmod', ['-R', 'a+rX,go-w', root]);
  return [python.executable, ...modules.map((name) => join(python.dynamicModules, name))];
}

function isWantedOfPython(python: PythonInstallation, from: string): boolean {
  const name = basename(from);
  if (from === python.standardLibrary) return true;
  if (LEFT_OUT_OF_PYTHON.has(name) || /^config-\d|\.(a|o|exe)$|\.opt-\d\.pyc$/.test(name)) return false;
  // Debian links sitecustomize.py into /etc, where it is not for us.
  return name !== 'sitecustomize.py' && name !== 'EXTERNALLY-MANAGED';
}

async function putFile(root: string, from: string, inside: string, mode: number): Promise<void> {
  const to = join(root, inside);
  await makeFolder(dirname(to));
  await copyFile(from, to);
  await chmod(to, mode);
}

async function writeInside(root: string, inside: string, content: string): Promise<void> {
  const to = join(root, inside);
  await makeFolder(dirname(to));
  await writeFile(to, content, { mode: 0o644 });
}
