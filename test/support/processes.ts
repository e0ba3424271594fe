import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor, type WaitOptions } from './wait-for.ts';

export const PROJECT_ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** How package.json starts Node for every process of the platform. */
export const NODE_FLAGS = ['--disallow-code-generation-from-strings', '--disable-proto=delete'] as const;

/** What keeps the heaps of API and worker small under load: docs/operations.md. */
export const MEMORY_FLAGS = {
  api: ['--max-semi-space-size=4', '--max-old-space-size=512'],
  worker: ['--max-semi-space-size=8', '--max-old-space-size=1024'],
} as const;

/** As package.json has it: a process that finds its modules compiled is ready in half the time. */
const COMPILE_CACHE = join(PROJECT_ROOT, 'node_modules/.cache/node');

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface TestProcess {
  readonly pid: number;
  /** What it wrote so far, both streams together in `output`. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly output: () => string;
  /** The exit code, or null when a signal ended it. */
  readonly exited: Promise<number | null>;
  readonly hasExited: () => boolean;
  /** To the process alone. */
  signal(signal: NodeJS.Signals): void;
  /** To the process and all its children that did not leave its group. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Waits for a line in the output; fails at once when the process ends before. */
  waitForOutput(pattern: RegExp, options?: WaitOptions): Promise<RegExpExecArray>;
}

export interface TestProcesses {
  start(command: readonly [string, ...string[]], options?: StartOptions): TestProcess;
  /** Kills every group that is left; for afterEach or afterAll. */
  killAll(): Promise<void>;
}

// Nothing of the machine's own configuration reaches the processes under test.
const inherited = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    ['PATH', 'HOME', 'TMPDIR', 'LANG', 'USER', 'XDG_CACHE_HOME'].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );

/** Starts children, each in a process group of its own, and forgets none of them. */
export function createProcesses(): TestProcesses {
  const running = new Set<TestProcess>();
  return {
    start(command, options = {}) {
      const started = startProcess(command, options);
      running.add(started);
      void started.exited.then(() => running.delete(started));
      return started;
    },
    async killAll() {
      const left = [...running];
      for (const one of left) one.signalGroup('SIGKILL');
      await Promise.all(left.map((one) => one.exited));
    },
  };
}

function startProcess(
  [program, ...args]: readonly [string, ...string[]],
  options: StartOptions,
): TestProcess {
  const child = spawn(program, args, {
    cwd: options.cwd ?? PROJECT_ROOT,
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...inherited(), ...options.env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    output += chunk.toString();
  });
  let hasExited = false;
  const exited = new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      output += `${error.message}\n`;
      hasExited = true;
      resolve(null);
    });
    child.once('close', (code) => {
      hasExited = true;
      resolve(code);
    });
  });
  const pid = child.pid ?? 0;
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (pid > 0) process.kill(-pid, signal);
    } catch (raw) {
      if ((raw as NodeJS.ErrnoException).code !== 'ESRCH') throw raw;
    }
  };
  return {
    pid,
    stdout: () => stdout,
    stderr: () => stderr,
    output: () => output,
    exited,
    hasExited: () => hasExited,
    signal: (signal) => void child.kill(signal),
    signalGroup,
    async waitForOutput(pattern, waitOptions) {
      const found = await waitFor(() => pattern.exec(output) ?? (hasExited ? 'ended' : undefined), {
        what: `${String(pattern)} in the output of ${program} ${args.join(' ')}`,
        ...waitOptions,
      }).catch((raw: unknown) => {
        throw new Error(`${String(raw)}\n${output.slice(-4000)}`, { cause: raw });
      });
      if (found === 'ended')
        throw new Error(`${program} ${args.join(' ')} ended early:\n${output.slice(-4000)}`);
      return found;
    },
  };
}

/** The command of a process of the platform, from the sources or, after `npm run build`, from `dist/`. */
export function platformCommand(
  name: 'api' | 'worker',
  options: { readonly built: boolean; readonly folder?: string },
): readonly [string, ...string[]] {
  const file = options.built ? `${options.folder ?? 'dist'}/${name}/main.js` : `src/${name}/main.ts`;
  return [process.execPath, ...NODE_FLAGS, ...MEMORY_FLAGS[name], file];
}

/** The command line `millrace …`, as `npx millrace` runs it. */
export const cliCommand = (...args: readonly string[]): readonly [string, ...string[]] => [
  process.execPath,
  'bin/millrace.js',
  ...args,
];
