import { accessSync, constants } from 'node:fs';
import type { Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import { coerceError } from '../../../core/errors/app-error.ts';
import { DENO_INSIDE, runnerCommand } from '../rootfs/layout.ts';
import {
  makeParentCgroup,
  memoryEventsFileOf,
  memoryFileOf,
  openCgroups,
  setCgroupLimits,
  type CgroupTree,
} from './cgroups.ts';
import { startContainer, type Container, type ContainerDeps } from './containers.ts';
import { createFairShares, type FairShares } from './fair-shares.ts';
import { startImage } from './image-containers.ts';
import type { FromLauncher, LauncherSettings, ToLauncher } from './launcher-messages.ts';
import { chooseRunsc } from './self-test.ts';
import { shareFolder } from './share.ts';
import { openChannel, openSocketPairs, type SocketPairs } from './socket-pairs.ts';
import { createState, removeState, sweepStates } from './state.ts';

type Send = (message: FromLauncher, socket?: Socket) => void;
type Call = Extract<ToLauncher, { readonly call: number }>;

const SHARES_EVERY_MS = 200;

interface Opened extends ContainerDeps {
  readonly settings: LauncherSettings;
  readonly pairs: SocketPairs;
  readonly shares: FairShares;
}

/** What the launcher process does, apart from being a process. */
export class Launcher {
  readonly #send: Send;
  readonly #containers = new Map<string, Container>();
  /** Starts under way, to be waited for before the end. */
  readonly #starting = new Set<Promise<void>>();
  #opened: Opened | undefined;
  #opening: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #sharing: NodeJS.Timeout | undefined;
  #count = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  receive(message: ToLauncher): void {
    switch (message.type) {
      case 'open':
        this.#opening ??= this.#open(message).catch((raw: unknown) => {
          this.#send({ type: 'refused', ...asRefusal(raw) });
        });
        return;
      case 'hurry':
        this.#hurry(message.sandbox);
        return;
      case 'kill':
        this.#containers.get(message.sandbox)?.kill();
        return;
      case 'close':
        void this.stop().finally(() => process.disconnect?.());
        return;
      case 'start':
      case 'run_image':
      case 'set_limits':
      case 'share':
        this.#answer(message);
        return;
      default:
        throw new Error(`the worker said something unknown: ${JSON.stringify(message satisfies never)}`);
    }
  }

  /** Ends every container, and removes all that was made. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    await this.#opening;
    clearInterval(this.#sharing);
    while (this.#containers.size > 0 || this.#starting.size > 0) {
      for (const container of this.#containers.values()) container.kill();
      await Promise.allSettled([
        ...this.#starting,
        ...[...this.#containers.values()].map((container) => container.exited),
      ]);
    }
    if (this.#opened === undefined) return;
    this.#opened.pairs.close();
    await removeState(this.#opened.tree, this.#opened.state);
  }

  async #open(settings: LauncherSettings): Promise<void> {
    const tree = await openTree();
    const swept = await sweepStates(tree, settings.stateDirectory);
    const state = await createState(settings.stateDirectory);
    const pairs = await openSocketPairs(state.folder);
    const parts = { tree, state, root: settings.root, tether: findTether(settings.path) };
    try {
      await makeParentCgroup(tree, state.cgroup).catch((raw: unknown) => {
        throw new Refusal(`no cgroup can be made (${coerceError(raw).message})`, CGROUP_REMEDY);
      });
      const choice =
        settings.known ??
        (await chooseRunsc(settings.candidates, {
          deps: parts,
          imagesDirectory: settings.imagesDirectory,
          deno: DENO_INSIDE,
          openChannel: () => openChannel(pairs),
          onRefused: (file, reason) =>
            this.#send({
              type: 'log',
              level: 'warn',
              message: 'runsc was refused',
              fields: { file, reason },
            }),
        }).catch((raw: unknown) => {
          throw new Refusal(coerceError(raw).message, RUNSC_REMEDY);
        }));
      const shares = createFairShares(tree);
      this.#opened = { ...parts, runsc: choice, settings, pairs, shares };
      this.#shareProcessors(shares);
      this.#send({ type: 'ready', choice, swept });
    } catch (error) {
      pairs.close();
      await removeState(tree, state);
      throw error;
    }
  }

  #shareProcessors(shares: FairShares): void {
    let looking: Promise<void> | undefined;
    this.#sharing = setInterval(() => {
      if (this.#containers.size === 0) return;
      const groups = [...this.#containers.values()].map(({ cgroup }) => cgroup);
      looking ??= shares.look(groups).finally(() => (looking = undefined));
    }, SHARES_EVERY_MS).unref();
  }

  #hurry(sandbox: string): void {
    const container = this.#containers.get(sandbox);
    if (container === undefined) return;
    void this.#opened?.shares.release(container.cgroup).catch(() => undefined); // it may end meanwhile
  }

  #answer(call: Call): void {
    const work = this.#perform(call).catch((raw: unknown) => {
      this.#send({ type: 'failed', call: call.call, message: coerceError(raw).message });
    });
    this.#starting.add(work);
    void work.finally(() => this.#starting.delete(work));
  }

  async #perform(call: Call): Promise<void> {
    await this.#opening;
    const opened = this.#opened;
    if (opened === undefined || this.#stopping !== undefined) throw new Error('the launcher is not open');
    if (call.type === 'start') return this.#start(opened, call);
    if (call.type === 'run_image') return this.#runImage(opened, call);
    const container = this.#containers.get(call.sandbox);
    if (container === undefined) throw new Error('the sandbox has ended');
    if (call.type === 'set_limits') await setCgroupLimits(opened.tree, container.cgroup, call.limits);
    else await shareFolder(container.sharedFolder, call.name, call.folder, opened.settings.shareFrom);
    this.#send({ type: 'done', call: call.call });
  }

  async #start(opened: Opened, call: Extract<Call, { readonly type: 'start' }>): Promise<void> {
    const id = `${opened.state.id}-${++this.#count}`;
    const channel = await openChannel(opened.pairs);
    try {
      const container = await startContainer(
        opened,
        {
          id,
          runtime: call.runtime,
          command: runnerCommand(opened.settings.manifest, call.runtime),
          limits: call.limits,
        },
        channel.inner,
      );
      this.#containers.set(id, container);
      void this.#report(container);
      if (call.isBackground) await opened.shares.hold(container.cgroup).catch(() => undefined); // it may have ended
      this.#send({ type: 'stdin', call: call.call }, channel.outer.stdin);
      this.#send(
        {
          type: 'started',
          call: call.call,
          sandbox: id,
          memoryFile: memoryFileOf(opened.tree, container.cgroup),
          memoryEventsFile: memoryEventsFileOf(opened.tree, container.cgroup),
        },
        channel.outer.stdout,
      );
    } catch (error) {
      channel.outer.stdin.destroy();
      channel.outer.stdout.destroy();
      throw error;
    }
  }

  async #runImage(opened: Opened, call: Extract<Call, { readonly type: 'run_image' }>): Promise<void> {
    const id = `${opened.state.id}-${++this.#count}`;
    const { imagesDirectory, path } = opened.settings;
    const { container, stdout, stderr } = await startImage({ ...opened, imagesDirectory, path }, id, call);
    this.#containers.set(id, container);
    void this.#report(container);
    this.#send({ type: 'output', call: call.call, stream: 'stdout' }, stdout);
    this.#send({ type: 'output', call: call.call, stream: 'stderr' }, stderr);
    this.#send({ type: 'image_started', call: call.call, sandbox: id });
  }

  async #report(container: Container): Promise<void> {
    const exit = await container.exited;
    this.#containers.delete(container.id);
    const leftover = container.leftover();
    if (leftover !== undefined) {
      this.#send({
        type: 'log',
        level: 'warn',
        message: 'a sandbox could not be removed wholly',
        fields: { sandbox: container.id, reason: leftover.message },
      });
    }
    this.#send({ type: 'exited', sandbox: container.id, exit });
  }
}

/** Why there is no gVisor here, for people. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly remedy: string;

  constructor(reason: string, remedy: string) {
    super(reason);
    this.remedy = remedy;
  }
}

const CGROUP_REMEDY =
  'let the worker write to /sys/fs/cgroup with the controllers memory, pids and cpu (as root on the machine; in a container, run it privileged)';

const RUNSC_REMEDY =
  'mend what the reason names, or run `scripts/install-gvisor` as root for a release of gVisor and take MILLRACE_RUNSC away';

const asRefusal = (raw: unknown): { readonly reason: string; readonly remedy: string } => {
  const error = coerceError(raw);
  return {
    reason: error.message,
    remedy: error instanceof Refusal ? error.remedy : 'see the reason; nothing else is known of it',
  };
};

async function openTree(): Promise<CgroupTree> {
  try {
    return await openCgroups();
  } catch (raw) {
    throw new Refusal(coerceError(raw).message, CGROUP_REMEDY);
  }
}

/**
 * util-linux's setpriv sets PR_SET_PDEATHSIG, so that runsc ends with this process even when nothing could be done about
 * it any more. Where it is missing, the next start of a worker sweeps what is left.
 */
function findTether(path: string): ContainerDeps['tether'] {
  for (const folder of path.split(delimiter)) {
    const file = join(folder, 'setpriv');
    try {
      accessSync(file, constants.X_OK);
      return [file, '--pdeathsig', 'KILL'];
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}
