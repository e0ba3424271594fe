import type { Runtime } from '../driver.ts';

/** Where things are inside a root file system; the image of `Dockerfile.runner` has the same. */
export const DENO_INSIDE = '/usr/bin/deno';
export const PYTHON_HOME_INSIDE = '/python';
export const JAVASCRIPT_RUNNER_INSIDE = '/runner/javascript.mjs';
export const PYTHON_RUNNER_INSIDE = '/runner/python';
/** What the image of runner pods has besides: the programs of a pod's containers. */
export const RELAY_INSIDE = '/runner/relay.mjs';
export const ENTER_INSIDE = '/runner/enter.py';
/** What runs a program of an image, and what puts it into that image. */
export const PROGRAM_INSIDE = '/runner/program.py';
export const PROVIDE_INSIDE = '/runner/provide.py';
/** Mount point of the folder that `Sandbox.share` fills. */
export const SHARED_INSIDE = '/shared';

/** Nobody's user, in the container and in its image. */
export const SANDBOX_UID = 65_532;

/** What is known of a built root file system: `manifest.json` beside `root/`. */
export interface RootfsManifest {
  /** Tells the content. */
  readonly key: string;
  readonly deno: string;
  /** Undefined: JavaScript only. */
  readonly python: { readonly version: string; readonly executable: string } | undefined;
  /** Why there is no Python, for the log. */
  readonly pythonMissing: string | undefined;
}

/**
 * No permission of any kind, no prompt for one, and nothing that looks outside the root file system. What it compiles is
 * not kept: a cache that begins empty in each sandbox is 2,000 system calls and 6 MB for nobody.
 */
export const DENO_ARGUMENTS: readonly string[] = [
  'run',
  '--no-prompt',
  '--no-remote',
  '--no-npm',
  '--cached-only',
  '--no-code-cache',
  '--no-config',
  '--no-lock',
];

/** Neither variables nor site-packages, nor byte code written; the Python runner says why it wants these. */
export const PYTHON_ARGUMENTS: readonly string[] = ['-I', '-S', '-B', '-X', 'utf8'];

/** The command of a runner inside. */
export function runnerCommand(manifest: RootfsManifest, runtime: Runtime): readonly string[] {
  switch (runtime) {
    case 'javascript':
      return [DENO_INSIDE, ...DENO_ARGUMENTS, JAVASCRIPT_RUNNER_INSIDE];
    case 'python':
      if (manifest.python === undefined) throw new Error(manifest.pythonMissing ?? 'there is no Python');
      return [manifest.python.executable, ...PYTHON_ARGUMENTS, `${PYTHON_RUNNER_INSIDE}/main.py`];
    default:
      throw new Error(`no such runtime: ${String(runtime satisfies never)}`);
  }
}

/** Where nothing can be made: Deno then does without its databases. */
const NO_FOLDER = '/nonexistent';

/** All variables that a runner gets (SECURITY X03). */
export function runnerEnvironment(runtime: Runtime): Readonly<Record<string, string>> {
  const common = { PATH: '/usr/bin', HOME: '/tmp', TMPDIR: '/tmp', LANG: 'C.UTF-8' };
  return runtime === 'javascript'
    ? { ...common, DENO_DIR: NO_FOLDER, DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' }
    : common;
}
