import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import pLimit from 'p-limit';
import type { BundlerMessage, BundleRequest } from './bundler-process.ts';
import type { BundleResult } from './esbuild.ts';

export interface BundlerOptions {
  /** Processes at once. */
  readonly maxProcesses?: number;
  /** Of one step; then its process is killed. */
  readonly timeoutMs?: number;
  /** How long a process is kept for the next step of the same tenant. */
  readonly idleMs?: number;
  /** Of esbuild's WebAssembly, and as much again of JavaScript. */
  readonly maxMemoryBytes?: number;
}

/** It took too long, or too much memory: what was to be bundled is to blame. */
export class BundleLimitError extends Error {
  override readonly name = 'BundleLimitError';
  /** For the log: what the process said. */
  readonly detail: string | undefined;

  constructor(message: string, detail?: string) {
    super(message);
    this.detail = detail;
  }
}

export interface Bundler {
  /**
   * Bundles one step from the given files alone. A process serves one tenant only, and ends soon after.
   *
   * @throws BundleLimitError
   */
  bundle(tenantId: string, request: BundleRequest): Promise<BundleResult>;
  /** Ends all processes; what is under way fails. Idempotent. */
  close(): Promise<void>;
}

interface BundlerProcess {
  readonly child: ChildProcess;
  readonly tenantId: string;
  readonly stderr: () => string;
  /** It has loaded esbuild: what ends it from then on is what it is given. */
  isReady: boolean;
  isBusy: boolean;
  idleTimer: NodeJS.Timeout | undefined;
}

const PAGE_BYTES = 65_536;
const MIB = 1024 * 1024;
const MAX_STDERR = 2000;
const DEFAULTS = { maxProcesses: 2, timeoutMs: 30_000, idleMs: 20_000, maxMemoryBytes: 768 * MIB };

/** Bundles in processes of its own, which are started when they are needed. */
export function createBundler(options: BundlerOptions = {}): Bundler {
  const { maxProcesses, timeoutMs, idleMs, maxMemoryBytes } = { ...DEFAULTS, ...options };
  const limit = pLimit(maxProcesses);
  const processes = new Set<BundlerProcess>();
  let closed = false;

  const end = async (member: BundlerProcess): Promise<void> => {
    processes.delete(member);
    clearTimeout(member.idleTimer);
    if (member.child.exitCode !== null || member.child.signalCode !== null) return;
    const exited = once(member.child, 'exit');
    member.child.ref();
    member.child.kill('SIGKILL');
    await exited;
  };
  const acquire = async (tenantId: string): Promise<BundlerProcess> => {
    const idle = [...processes].filter(({ isBusy }) => !isBusy);
    const own = idle.find((member) => member.tenantId === tenantId && member.child.connected);
    if (own === undefined && processes.size >= maxProcesses) await Promise.all(idle.slice(0, 1).map(end));
    const member = own ?? start(tenantId, maxMemoryBytes);
    clearTimeout(member.idleTimer);
    processes.add(member);
    member.isBusy = true;
    return member;
  };
  const release = (member: BundlerProcess): void => {
    member.isBusy = false;
    member.idleTimer = setTimeout(() => void end(member), idleMs).unref();
    member.child.unref();
    member.child.channel?.unref();
  };

  return {
    bundle: (tenantId, request) =>
      limit(async () => {
        if (closed) throw new Error('the bundler is closed');
        const member = await acquire(tenantId);
        try {
          const result = await ask(member, request, timeoutMs);
          release(member);
          return result;
        } catch (error) {
          await end(member);
          throw error;
        }
      }),
    async close() {
      closed = true;
      await Promise.all([...processes].map(end));
    },
  };
}

/** Beside this file, in the sources as in what is built of them. */
const PROGRAM = fileURLToPath(new URL(`./bundler-process${extension(import.meta.url)}`, import.meta.url));
const LIBRARY = import.meta.resolve('esbuild-wasm/esm/browser.js');
const BINARY = import.meta.resolve('esbuild-wasm/esbuild.wasm');

function extension(url: string): string {
  return url.endsWith('.ts') ? '.ts' : '.js';
}

/** What keeps the process from everything but the files below `readable`; the network it has no code for. */
export const wallArguments = (readable: readonly string[], maxMemoryBytes: number): readonly string[] => [
  '--permission',
  ...readable.map((folder) => `--allow-fs-read=${folder}/*`),
  '--disallow-code-generation-from-strings',
  '--disable-proto=delete',
  `--max-old-space-size=${Math.ceil(maxMemoryBytes / MIB)}`,
  `--wasm-max-mem-pages=${Math.ceil(maxMemoryBytes / PAGE_BYTES)}`,
  // The optimising compiler takes longer than a step does: 15 ms for each instead of 80, ready in 150 instead of 480.
  '--liftoff-only',
  '--no-warnings',
];

function start(tenantId: string, maxMemoryBytes: number): BundlerProcess {
  const readable = [dirname(PROGRAM), dirname(fileURLToPath(BINARY))];
  const child = fork(PROGRAM, [LIBRARY, BINARY], {
    env: {},
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [...wallArguments(readable, maxMemoryBytes)],
  });
  if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
  // One that cannot be started reports that, and then that it took no message; only the first is waited for.
  child.on('error', () => undefined);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-MAX_STDERR);
  });
  return { child, tenantId, stderr: () => stderr, isReady: false, isBusy: true, idleTimer: undefined };
}

function ask(member: BundlerProcess, request: BundleRequest, timeoutMs: number): Promise<BundleResult> {
  const { child, stderr } = member;
  return new Promise((resolve, reject) => {
    const settle = (work: () => void): void => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      work();
    };
    const onMessage = (message: BundlerMessage): void => {
      if (message.type === 'ready') member.isReady = true;
      else settle(() => resolve(message.result));
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onExit = (code: number | null, signal: string | null): void =>
      settle(() => {
        const how = `the bundler ended with ${signal ?? code}: ${stderr()}`;
        reject(member.isReady ? new BundleLimitError(limitMet(stderr()), how) : new Error(how));
      });
    const timer = setTimeout(() => {
      settle(() => reject(new BundleLimitError(`bundling it takes longer than ${timeoutMs / 1000} s`)));
    }, timeoutMs);
    child.on('message', onMessage).on('exit', onExit).on('error', onError);
    child.ref();
    child.channel?.ref();
    child.send(request);
  });
}

const limitMet = (stderr: string): string =>
  stderr.includes('Maximum call stack')
    ? 'its code is nested too deeply'
    : 'bundling it takes too much memory';
