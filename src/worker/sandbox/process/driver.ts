import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import type { Runtime, Sandbox, SandboxDriver, SandboxExit, SandboxSpec } from '../driver.ts';
import { findDeno } from '../rootfs/deno.ts';
import { writeFileAtomically } from '../rootfs/files.ts';
import { DENO_ARGUMENTS, PYTHON_ARGUMENTS, runnerEnvironment } from '../rootfs/layout.ts';
import { findPython } from '../rootfs/python.ts';
import { describeEnd, keepTail } from '../stderr.ts';

export interface ProcessOptions {
  readonly cacheDirectory: string;
  /** The variable PATH: Python is looked for there. */
  readonly path: string;
  readonly logger: Logger;
  readonly bundleJavaScriptRunner?: () => Promise<string>;
  readonly pythonRunner?: string;
}

type Command = readonly [string, ...string[]];

/**
 * Runners as plain processes, for development where gVisor cannot run. Deno's permissions keep JavaScript from files,
 * network and programs; Python is not kept from anything. There are no limits: `setLimits` does nothing.
 */
export async function openProcessDriver(options: ProcessOptions): Promise<SandboxDriver> {
  const commands = new Map<Runtime, Command>([['javascript', await javaScriptCommand(options)]]);
  const python = await findPython(options.path, join(options.cacheDirectory, 'python.json'));
  if (python.found) {
    const runner = options.pythonRunner ?? fileURLToPath(new URL('../../../runner/python', import.meta.url));
    commands.set('python', [python.found.executable, ...PYTHON_ARGUMENTS, join(runner, 'main.py')]);
  } else {
    options.logger.warn({ refused: python.refused }, 'there is no Python; sandboxes run JavaScript only');
  }
  const running = new Set<Sandbox>();
  let count = 0;
  let isClosed = false;
  return {
    description: { driver: 'process', isolation: 'none but Deno permissions (for development only)' },
    runtimes: new Set(commands.keys()),
    async start(spec) {
      if (isClosed) throw new Error('the driver is closed');
      const command = commands.get(spec.runtime);
      if (command === undefined) throw new Error(`there is no ${spec.runtime} on this machine`);
      const sandbox = await startProcess(`p${process.pid}-${++count}`, command, spec);
      running.add(sandbox);
      void sandbox.exited.then(() => running.delete(sandbox));
      return sandbox;
    },
    async close() {
      isClosed = true;
      for (const sandbox of running) sandbox.kill();
      await Promise.all([...running].map((sandbox) => sandbox.exited));
    },
  };
}

async function javaScriptCommand(options: ProcessOptions): Promise<Command> {
  const bundleRunner =
    options.bundleJavaScriptRunner ?? (await import('../rootfs/runner-bundle.ts')).bundleJavaScriptRunner;
  const [deno, bundle] = await Promise.all([findDeno(), bundleRunner()]);
  const key = createHash('sha256').update(bundle).digest('hex').slice(0, 24);
  const file = join(options.cacheDirectory, `runner-${key}.mjs`);
  await writeFileAtomically(file, bundle);
  return [deno.file, ...DENO_ARGUMENTS, file];
}

async function startProcess(id: string, [program, ...args]: Command, spec: SandboxSpec): Promise<Sandbox> {
  const home = await mkdtemp(join(tmpdir(), `millrace-process-${process.pid}-`));
  // All in that folder is removed between runs.
  const scratch = spec.runtime === 'python' ? ['--scratch', home] : [];
  const child = spawn(program, [...args, ...scratch], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that its children can be ended with it.
    detached: true,
    cwd: home,
    env: {
      ...runnerEnvironment(spec.runtime),
      HOME: home,
      TMPDIR: home,
      ...(spec.runtime === 'javascript' && { DENO_DIR: join(home, 'deno') }),
    },
  });
  try {
    await once(child, 'spawn');
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
  let isKilled = false;
  const stderr = keepTail(child.stderr);
  const exited = new Promise<SandboxExit>((resolve) => {
    child.once('exit', (code, signal) => {
      killGroup(child);
      const exit = {
        reason: isKilled ? 'killed' : 'exited',
        detail: describeEnd(code, signal, stderr()),
      } as const;
      void rm(home, { recursive: true, force: true, maxRetries: 5 })
        .catch(() => undefined)
        .finally(() => resolve(exit));
    });
  });
  return {
    id,
    channel: channelOf(child),
    exited,
    kill() {
      isKilled = true;
      killGroup(child);
    },
    setLimits: async () => undefined,
    share: async (_name, folder) => folder,
    memoryBytes: async () => undefined,
  };
}

function channelOf(child: ChildProcess): Duplex {
  const channel = Duplex.from({ readable: child.stdout!, writable: child.stdin! }); // both are pipes
  // Whoever reads the channel learns of its end from `exited`.
  channel.on('error', () => undefined);
  return channel;
}

function killGroup(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGKILL'); // it was spawned
  } catch (raw) {
    if (errorCodeOf(raw) !== 'ESRCH') throw raw;
  }
}
