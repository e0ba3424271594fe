import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type {
  Runtime,
  Sandbox,
  SandboxDriver,
  SandboxLimits,
} from '../../../../src/worker/sandbox/driver.ts';
import { openSandboxDriver, type DriverOptions } from '../../../../src/worker/sandbox/open-driver.ts';

export const LIMITS: SandboxLimits = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };

/** gVisor needs root on Linux; everywhere else the tests only check that it is refused. */
export const canIsolate = process.platform === 'linux' && process.getuid?.() === 0;

/** The machine's own cache: runsc is in it, and building a root file system for each test would take too long. */
export const machineCache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'millrace');

const standIn = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Options of a driver whose runners evaluate what they are told. */
export function standInOptions(stateDirectory: string, more: Partial<DriverOptions> = {}): DriverOptions {
  return {
    driver: 'auto',
    environment: 'development',
    runscPath: process.env.MILLRACE_RUNSC || undefined,
    cacheDirectory: machineCache,
    stateDirectory,
    shareFrom: [stateDirectory],
    path: process.env.PATH ?? '',
    logger: pino({ level: 'silent' }),
    bundleJavaScriptRunner: () => readFile(standIn('./stand-in.mjs'), 'utf8'),
    pythonRunner: standIn('./stand-in'),
    ...more,
  };
}

/** A driver that must be there. */
export async function openDriver(options: DriverOptions): Promise<SandboxDriver> {
  const driver = await openSandboxDriver(options);
  if (driver.description === undefined) {
    throw new Error(`no sandbox driver: ${driver.reason}; ${driver.remedy}`);
  }
  return driver;
}

/** A sandbox with a stand-in in it that is ready. */
export interface Told {
  readonly sandbox: Sandbox;
  /** Evaluates code inside; Python gives what it names `result`. */
  readonly tell: (code: string) => Promise<unknown>;
  /** Sends code that will not be answered. */
  readonly leave: (code: string) => void;
}

export async function startStandIn(
  driver: SandboxDriver,
  runtime: Runtime,
  limits: SandboxLimits = LIMITS,
): Promise<Told> {
  const sandbox = await driver.start({ runtime, limits });
  const lines = createInterface({ input: sandbox.channel })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`the sandbox ended: ${JSON.stringify(await sandbox.exited)}`);
    return value;
  };
  const first = await next();
  if (first !== 'ready') throw new Error(`the stand-in said ${first}`);
  const leave = (code: string): void => {
    sandbox.channel.write(`${JSON.stringify(code)}\n`);
  };
  return {
    sandbox,
    leave,
    async tell(code) {
      leave(code);
      const answer = JSON.parse(await next()) as { readonly value?: unknown; readonly error?: string };
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer.value;
    },
  };
}

/** Everything of this machine that names a state directory, or the launchers that were in it. */
export async function tracesOf(
  stateDirectory: string,
  launchers: readonly string[],
): Promise<readonly string[]> {
  const [processes, mounts, cgroups, folders] = await Promise.all([
    processesOf(stateDirectory).then((found) => found.map(({ command }) => command)),
    readFile('/proc/self/mountinfo', 'utf8').then((text) =>
      text.split('\n').filter((line) => line.includes(stateDirectory)),
    ),
    cgroupsOf(launchers),
    readdir(stateDirectory).catch(() => []),
  ]);
  return [...processes, ...mounts, ...cgroups, ...folders];
}

/** The launcher that started a sandbox: `w<its process>-<random>`, before the sandbox's number. */
export const launcherOf = (sandboxId: string): { readonly id: string; readonly pid: number } => ({
  id: sandboxId.slice(0, sandboxId.lastIndexOf('-')),
  pid: Number(/^w(\d+)-/.exec(sandboxId)?.[1]),
});

/** runsc's processes for the sandboxes of a state directory, and the machine's user each runs as. */
export async function processesOf(
  stateDirectory: string,
): Promise<readonly { readonly command: string; readonly uid: number }[]> {
  const found: { command: string; uid: number }[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    // The worker under test names it, too.
    if (!command.includes(stateDirectory) || !command.includes('runsc')) continue;
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const uid = /^Uid:\s*(\d+)/m.exec(status)?.[1];
    if (uid !== undefined) found.push({ command: command.replaceAll('\0', ' '), uid: Number(uid) });
  }
  return found;
}

async function cgroupsOf(launchers: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  const root = '/sys/fs/cgroup';
  for (const folder of [root, ...(await readdir(root)).map((name) => join(root, name))]) {
    const entries = await readdir(folder).catch(() => []);
    found.push(
      ...entries
        .filter((name) => launchers.some((id) => name === `millrace-${id}`))
        .map((name) => join(folder, name)),
    );
  }
  return found;
}
