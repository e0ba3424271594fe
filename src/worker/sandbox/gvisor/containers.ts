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

/** What one kind of container is made of. */
export interface ContainerPlan {
  readonly id: string;
  readonly limits: SandboxLimits;
  readonly bundle: (places: {
    readonly sharedFolder: string;
    readonly cgroup: string;
    readonly firstUserId: number | undefined;
  }) => object;
  /** Further flags of runsc. @param folder of this container, gone with it */
  readonly flags?: (folder: string) => readonly string[];
  readonly openStdio: (folder: string) => Promise<ContainerStdio>;
  /** Looks at what is left, just before it goes; never rejects. By default what `runsc` says is all that is told. */
  readonly conclude?: (end: ContainerEnd) => Promise<SandboxExit>;
}

/** What runsc gets as its stdin, stdout and stderr, and with it the container. `pipe`: the end of it is for the log. */
export interface ContainerStdio {
  readonly ends: readonly [Socket | number, Socket | number, 'pipe' | number];
  /** Of these ends in this process, once runsc has them or cannot be started. */
  readonly close: () => void;
}

export interface ContainerEnd {
  readonly reason: SandboxExit['reason'];
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly folder: string;
}

/**
 * Starts a runner.
 *
 * @param stdio closed here, whatever happens. Two sockets, not one for both: gVisor makes the first that it takes over
 *   non-blocking, and would show the second so to the runner, whose writes then fail when the worker reads slowly
 * @throws when there is nothing that could be started; nothing is left then
 */
export async function startContainer(
  deps: ContainerDeps,
  spec: ContainerSpec,
  { stdin, stdout }: Stdio,
): Promise<Container> {
  const close = (): void => {
    stdin.destroy();
    stdout.destroy();
  };
  try {
    return await launchContainer(deps, {
      id: spec.id,
      limits: spec.limits,
      bundle: (places) =>
        makeBundle({
          ...places,
          root: deps.root,
          command: spec.command,
          environment: runnerEnvironment(spec.runtime),
        }),
      openStdio: async () => ({ ends: [stdin, stdout, 'pipe'], close }),
    });
  } finally {
    close();
  }
}

/**
 * Starts `runsc run`, attached: sandbox and gofer end with it (runsc asks for that with PR_SET_PDEATHSIG), as it ends with
 * this process.
 *
 * @throws when there is nothing that could be started; nothing is left then
 */
export async function launchContainer(deps: ContainerDeps, plan: ContainerPlan): Promise<Container> {
  const { id } = plan;
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
    await makeCgroup(deps.tree, cgroup, plan.limits);
    const bundle = plan.bundle({ sharedFolder, cgroup, firstUserId: deps.runsc.firstUserId ?? undefined });
    await writeFile(join(folder, 'config.json'), JSON.stringify(bundle), { mode: 0o600 });
    const stdio = await plan.openStdio(folder);
    try {
      child = await spawnRunsc(deps, id, folder, plan.flags?.(folder) ?? [], stdio);
    } finally {
      stdio.close();
    }
  } catch (error) {
    await remove();
    throw error;
  }
  let isKilled = false;
  let leftover: Error | undefined;
  const stderr = keepTail(child.stderr);
  const end = async (): Promise<SandboxExit> => {
    const [code, signal] = await ended(child);
    await killCgroup(deps.tree, cgroup);
    const events = await readCgroupEvents(deps.tree, cgroup);
    // Also when it was killed: that is how one of which the kernel has killed only a part ends.
    const reason =
      events.outOfMemoryKills > 0
        ? 'out_of_memory'
        : isKilled
          ? 'killed'
          : events.refusedForks > 0 && code !== 0
            ? 'process_limit'
            : 'exited';
    const exit = (await plan.conclude?.({ reason, code, signal, folder })) ?? {
      reason,
      detail: describeEnd(code, signal, stderr()),
    };
    await remove().catch((error: unknown) => {
      leftover = error instanceof Error ? error : new Error(String(error));
    });
    return exit;
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
  flags: readonly string[],
  { ends }: ContainerStdio,
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
    ...flags,
    'run',
    '--bundle',
    folder,
    id,
  ];
  // No variable of ours is any of its business; runsc needs none.
  const child = spawn(program, args, { stdio: [...ends], env: {}, cwd: '/' });
  await once(child, 'spawn');
  return child;
}

function ended(child: ChildProcess): Promise<readonly [number | null, NodeJS.Signals | null]> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve([child.exitCode, child.signalCode]);
  }
  return once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>; // what the event carries
}
