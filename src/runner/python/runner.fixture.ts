import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { LogLevel, RunPayload } from '../../core/sandbox/protocol.ts';
import type { Sandbox } from '../../worker/sandbox/driver.ts';
import { openSession, type Session } from '../../worker/sandbox/session.ts';
import type { BrokerRequest, BrokerResponse, RunEnd } from '../../worker/sandbox/types.ts';

const MAIN = fileURLToPath(new URL('main.py', import.meta.url));
/** As README.md says. */
export const RUNNER_COMMAND: readonly [string, ...string[]] = ['python3', '-I', '-S', '-B', MAIN];
const MEBIBYTE = 1_048_576;

export interface LogLine {
  readonly level: LogLevel;
  readonly text: string;
  readonly truncated: boolean;
}

export interface RunOptions {
  readonly input?: unknown;
  readonly context?: Partial<RunPayload['context']>;
  readonly maxOutputBytes?: number;
  readonly maxLogBytes?: number;
  readonly isolateProcess?: boolean;
  readonly packages?: string;
  readonly signal?: AbortSignal;
  readonly onLog?: (line: LogLine) => void;
  readonly fetch?: (request: BrokerRequest) => Promise<BrokerResponse>;
}

export interface TestRunner {
  readonly session: Session;
  /** The folder that stands for /tmp. */
  readonly scratch: string;
  readonly pid: number;
  /** Runs a program: the text of `step.py`, or files of which the first is the entry. */
  run(
    files: string | Readonly<Record<string, string>>,
    options?: RunOptions,
  ): Promise<RunEnd & { readonly logs: readonly LogLine[] }>;
  stop(): Promise<void>;
}

/** Starts the runner as an ordinary process, with the worker's own session at the other end: it ends at any breach. */
export async function startTestRunner(): Promise<TestRunner> {
  const scratch = await mkdtemp(join(tmpdir(), 'millrace-python-'));
  const [program, ...args] = RUNNER_COMMAND;
  const child = spawn(program, [...args, '--scratch', scratch], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'], CANARY: 'canary-in-the-environment' },
  });
  const exited = once(child, 'exit').then(([code, signal]) => ({
    reason: 'exited' as const,
    detail: `${code ?? signal}`,
  }));
  const sandbox: Sandbox = {
    id: 'test',
    channel: Duplex.from({ readable: child.stdout, writable: child.stdin }),
    exited,
    kill: () => void child.kill('SIGKILL'),
    setLimits: async () => undefined,
    share: async (_name, folder) => folder,
    memoryBytes: async () => undefined,
  };
  const session = await openSession(sandbox);
  return {
    session,
    scratch,
    pid: child.pid!, // it is ready, so it was spawned
    async run(files, options = {}) {
      const logs: LogLine[] = [];
      const end = await session.run({
        program: programOf(files, options.packages),
        payload: payloadOf(options),
        maxOutputBytes: options.maxOutputBytes ?? MEBIBYTE,
        maxLogBytes: options.maxLogBytes ?? MEBIBYTE,
        isolateProcess: options.isolateProcess ?? false,
        signal: options.signal ?? new AbortController().signal,
        onLog(level, text, truncated) {
          logs.push({ level, text, truncated });
          options.onLog?.({ level, text, truncated });
        },
        fetch: options.fetch ?? (() => Promise.reject(new Error('nothing is to be fetched here'))),
      });
      return { ...end, logs };
    },
    async stop() {
      child.stdin.end();
      await exited;
      await rm(scratch, { recursive: true, force: true });
    },
  };
}

type Program = Parameters<Session['run']>[0]['program'];

function programOf(files: string | Readonly<Record<string, string>>, packages: string | undefined): Program {
  const all = typeof files === 'string' ? { 'step.py': files } : files;
  const [entry = ''] = Object.keys(all);
  const source = JSON.stringify({ entry, files: all });
  return {
    id: createHash('sha256').update(source).digest('hex'),
    runtime: 'python',
    entry,
    source: new TextEncoder().encode(source),
    ...(packages !== undefined && { packages: { id: packages, folder: packages } }),
  };
}

const payloadOf = ({ input = null, context }: RunOptions): RunPayload => ({
  input,
  context: {
    execution: { id: 'execution-1' },
    workflow: { name: 'orders', version: 3 },
    step: { id: 'score', attempt: 1, item: null },
    config: {},
    secrets: {},
    idempotencyKey: 'execution-1.score',
    ...context,
  },
});
