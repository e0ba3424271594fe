import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Runtime, SandboxExit, SandboxLimits } from '../driver.ts';
import { makeFolder } from '../rootfs/files.ts';
import { runnerEnvironment } from '../rootfs/layout.ts';
import { describeEnd, keepTail } from '../stderr.ts';
import { makeBundle } from './bundle.ts';
import { killCgroup, makeCgroup, readCgroupEvents, removeCgroup, type CgroupTree } from './cgroups.ts';
import type { RunscChoice } from './launcher-messages.ts';
import type { LauncherState } from './state.ts';

/** What a launcher starts containers with. */
export interface ContainerDeps {
  readonly tree: CgroupTree;
  readonly state: LauncherState;
  readonly runsc: RunscChoice;
  readonly root: string;
  /** The program that ties a child's life to its parent's, with its arguments. */
  readonly tether: readonly [string, ...string[]] | undefined;
}

export interface ContainerSpec {
  readonly id: string;
  readonly runtime: Runtime;
  readonly command: readonly string[];
  readonly limits: SandboxLimits;
}

/** A sandbox's ends of its channel. */
export interface Stdio {
  readonly stdin: Socket;
  readonly stdout: Socket;
}

/** A container that is being started, or runs. */
export interface Container {
  readonly id: string;
  readonly cgroup: string;
  readonly sharedFolder: string;
  /** When nothing is left of it. */
  readonly exited: Promise<SandboxExit>;
  /** Undefined, unless it could not be removed wholly. */
  readonly leftover: () => Error | undefined;
  kill(): void;
}

/**
 * Starts `runsc run`, attached: sandbox and gofer end with it (runsc asks for that with PR_SET_PDEATHSIG), as it ends with
 * this process.
 *
 * @param stdio closed here, whatever happens. Two sockets, not one for both: gVisor makes the first that it takes over
 *   non-blocking, and would show the second so to the runner, whose writes then fail when the worker reads slowly
 * @throws when there is nothing that could be started; nothing is left then
 */
export async function startContainer(
  deps: ContainerDeps,
  spec: ContainerSpec,
  stdio: Stdio,
): Promise<Container> {
  const { id } = spec;
  const folder = join(deps.state.folder, id);
  const sharedFolder = join(folder, 'shared');
  const cgroup = join(deps.state.cgroup, id);
  const remove = async (): Promise<void> => {
    await removeCgroup(deps.tree, cgroup);
    await rm(folder, { recursive: true, force: true });
  };
  let child: ChildProcess;
  try {
    await makeFolder(folder, 0o711);
    await makeFolder(sharedFolder);
    await makeCgroup(deps.tree, cgroup, spec.limits);
    const bundle = makeBundle({
      root: deps.root,
      command: spec.command,
      environment: runnerEnvironment(spec.runtime),
      sharedFolder,
      cgroup,
      firstUserId: deps.runsc.firstUserId ?? undefined,
    });
    await writeFile(join(folder, 'config.json'), JSON.stringify(bundle), { mode: 0o600 });
    child = await spawnRunsc(deps, id, folder, stdio);
  } catch (error) {
    await remove();
    throw error;
  } finally {
    stdio.stdin.destroy();
    stdio.stdout.destroy();
  }
  let isKilled = false;
  let leftover: Error | undefined;
  const stderr = keepTail(child.stderr);
  const end = async (): Promise<SandboxExit> => {
    const [code, signal] = await ended(child);
    await killCgroup(deps.tree, cgroup);
    const events = await readCgroupEvents(deps.tree, cgroup);
    const reason = isKilled
      ? 'killed'
      : events.outOfMemoryKills > 0
        ? 'out_of_memory'
        : events.refusedForks > 0 && code !== 0
          ? 'process_limit'
          : 'exited';
    await remove().catch((error: unknown) => {
      leftover = error instanceof Error ? error : new Error(String(error));
    });
    return { reason, detail: describeEnd(code, signal, stderr()) };
  };
  return {
    id,
    cgroup,
    sharedFolder,
    exited: end(),
    leftover: () => leftover,
    kill() {
      isKilled = true;
      child.kill('SIGKILL');
    },
  };
}

/** Flags that hold for every container, besides those of `RunscCandidate`. */
const FIXED_FLAGS = ['--platform=systrap', '--network=none'] as const;

async function spawnRunsc(
  deps: ContainerDeps,
  id: string,
  folder: string,
  { stdin, stdout }: Stdio,
): Promise<ChildProcess> {
  const [program, ...tether] =
    deps.tether === undefined ? [deps.runsc.file] : [...deps.tether, deps.runsc.file];
  const args = [
    ...tether,
    // A state folder for each, so that removing the folder removes all that runsc knows of it.
    '--root',
    join(folder, 'runsc'),
    ...FIXED_FLAGS,
    ...deps.runsc.flags,
    'run',
    '--bundle',
    folder,
    id,
  ];
  // No variable of ours is any of its business; runsc needs none.
  const child = spawn(program, args, { stdio: [stdin, stdout, 'pipe'], env: {}, cwd: '/' });
  await once(child, 'spawn');
  return child;
}

function ended(child: ChildProcess): Promise<readonly [number | null, NodeJS.Signals | null]> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve([child.exitCode, child.signalCode]);
  }
  return once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>; // what the event carries
}
