import { spawn } from 'node:child_process';
import { PROJECT_ROOT } from '../../support/processes.ts';

export interface Ran {
  /** -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly input?: string;
  /** After this long it is killed; a minute unless said. */
  readonly timeoutMs?: number;
  /** Shown on stderr as it comes, each line after this. */
  readonly echo?: string;
}

/** Runs a program to its end; never rejects for how it ended. */
export function run(
  [program, ...args]: readonly [string, ...string[]],
  options: RunOptions = {},
): Promise<Ran> {
  const { env = process.env, cwd = PROJECT_ROOT, input, timeoutMs = 60_000, echo } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, timeout: timeoutMs, killSignal: 'SIGKILL' });
    let stdout = '';
    let stderr = '';
    const show = (chunk: Buffer): void => {
      if (echo !== undefined) process.stderr.write(chunk.toString().replaceAll(/^(?=.)/gm, echo));
    };
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      show(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
      show(chunk);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
    // A program that ends without reading is no failure of ours.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** The same, for what has to work. @throws Error with what it said */
export async function runWell(
  command: readonly [string, ...string[]],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code === 0) return stdout;
  throw new Error(`${command.join(' ')} ended with ${code}:\n${`${stdout}\n${stderr}`.trim().slice(-4000)}`);
}
