import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { cliCommand, type TestProcess, type TestProcesses } from './processes.ts';
import { waitFor } from './wait-for.ts';

export interface DevPlatform {
  readonly process: TestProcess;
  readonly url: string;
  readonly directory: string;
  /** From its start until it answered that it is ready. */
  readonly readyMs: number;
  /** Runs `millrace <args>` against it, the way a person would: the target is found by the data directory. */
  cli(...args: readonly string[]): Promise<CliResult>;
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface DevOptions {
  readonly directory: string;
  readonly env?: Readonly<Record<string, string>>;
  /** How it is started; by default as `npm start`. */
  readonly command?: readonly [string, ...string[]];
}

/** Runs a command to its end. */
export async function runToEnd(
  processes: TestProcesses,
  command: readonly [string, ...string[]],
  env: Readonly<Record<string, string>> = {},
): Promise<CliResult> {
  const started = processes.start(command, { env });
  const code = await started.exited;
  return { code, stdout: started.stdout(), stderr: started.stderr() };
}

/** Starts the embedded platform on `directory` and free ports, and waits until it is ready and has said so. */
export async function startDevPlatform(processes: TestProcesses, options: DevOptions): Promise<DevPlatform> {
  const apiPort = await freePort();
  const env = {
    API_PORT: String(apiPort),
    WORKER_PORT: String(await freePort()),
    MILLRACE_DATA_DIR: join(options.directory, 'data'),
    ...options.env,
  };
  const since = performance.now();
  const started = processes.start(options.command ?? ['npm', 'start'], { env });
  const url = `http://127.0.0.1:${apiPort}`;
  await waitFor(
    async () => {
      if (started.hasExited()) return 'ended';
      return (await fetch(`${url}/health/ready`)).status === 200;
    },
    { timeoutMs: 60_000, what: 'the platform to be ready' },
  );
  const readyMs = performance.now() - since;
  await started.waitForOutput(/Ctrl-C stops it/);
  return {
    process: started,
    url,
    directory: env.MILLRACE_DATA_DIR,
    readyMs,
    cli: (...args) => runToEnd(processes, cliCommand(...args), { MILLRACE_DATA_DIR: env.MILLRACE_DATA_DIR }),
  };
}
