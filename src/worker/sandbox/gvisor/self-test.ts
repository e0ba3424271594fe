import { stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { coerceError } from '../../../core/errors/app-error.ts';
import { wasCgroupUsed } from './cgroups.ts';
import { startContainer, type ContainerDeps } from './containers.ts';
import type { RunscCandidate, RunscChoice } from './launcher-messages.ts';
import type { Channel } from './socket-pairs.ts';

export interface SelfTest {
  readonly deps: Omit<ContainerDeps, 'runsc'>;
  readonly imagesDirectory: string;
  /** Inside. */
  readonly deno: string;
  readonly openChannel: () => Promise<Channel>;
  readonly onRefused: (file: string, reason: string) => void;
}

const TEST_TIMEOUT_MS = 20_000;
const LOOK_INTERVAL_MS = 5;
/** How long what was said may take to come, once all of it is said. */
const SAID_TIMEOUT_MS = 2000;
const SAID_BYTES = 4096;
const TEST_LIMITS = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };

/** Above the ranges that distributions and systemd give to users and containers (systemd's UIDS-GIDS.md). */
const UNUSED_USER_IDS = 2_000_000_000;

/** How the log of gVisor's kernel begins (https://gvisor.dev/docs/user_guide/quick_start/docker/, "Verify"). */
const GVISOR_LOG = /Starting gVisor/;

/**
 * Tells what the kernel's log begins with, by syslog(2) with SYSLOG_ACTION_READ_ALL. Deno alone, because there may be no
 * Python; it has every permission here, for no code of others is near.
 */
const TELL_KERNEL_LOG = `
const { symbols } = Deno.dlopen('libc.so.6', { klogctl: { parameters: ['i32', 'buffer', 'i32'], result: 'i32' } });
const log = new Uint8Array(65536);
const size = symbols.klogctl(3, log, log.length);
console.log(new TextDecoder().decode(log.subarray(0, Math.max(0, size))).split('\\n')[0].slice(0, 200));
`;

/**
 * The first runsc that starts a container as every sandbox is started: systrap, no network, in its cgroup, in the user
 * namespace that isolates best; and whose kernel is gVisor's (SECURITY X01), not that of this machine.
 *
 * @throws Error naming why each was refused
 */
export async function chooseRunsc(
  candidates: readonly RunscCandidate[],
  test: SelfTest,
): Promise<RunscChoice> {
  const reasons: string[] = [];
  for (const candidate of candidates) {
    let reason = '';
    for (const firstUserId of await userMappings(test)) {
      const choice: RunscChoice = { ...candidate, firstUserId };
      const failure = await tryRunsc(choice, test);
      if (failure === undefined) return choice;
      reason = failure;
    }
    test.onRefused(candidate.file, reason);
    reasons.push(`${candidate.file} failed the self-test: ${reason}`);
  }
  throw new Error(reasons.join('; '));
}

/**
 * User ids to map those inside to, best first. Ids that own nothing on this machine can only be used when everyone may
 * pass to the files; with ids mapped to themselves the gofer still has no capability outside of its namespace.
 */
async function userMappings({ deps, imagesDirectory }: SelfTest): Promise<readonly (number | null)[]> {
  const folders = [deps.root, deps.state.folder, imagesDirectory];
  const isOpen = (await Promise.all(folders.map(isPassable))).every(Boolean);
  return isOpen ? [UNUSED_USER_IDS, 0, null] : [0, null];
}

async function isPassable(folder: string): Promise<boolean> {
  for (let at = folder; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/** Undefined when all is well. */
async function tryRunsc(choice: RunscChoice, test: SelfTest): Promise<string | undefined> {
  const { deps } = test;
  const id = `${deps.state.id}-test`;
  const { outer, inner } = await test.openChannel();
  const said = hear(outer.stdout);
  try {
    const container = await startContainer(
      { ...deps, runsc: choice },
      {
        id,
        runtime: 'javascript',
        command: [test.deno, 'eval', '--quiet', '--no-config', '--no-lock', TELL_KERNEL_LOG],
        limits: TEST_LIMITS,
      },
      inner,
    );
    const used = watchCgroup(deps, join(deps.state.cgroup, id), container.exited);
    const exit = await Promise.race([container.exited, delay(TEST_TIMEOUT_MS, undefined, { ref: false })]);
    if (exit === undefined) {
      container.kill();
      return `it did not end within ${TEST_TIMEOUT_MS} ms: ${(await container.exited).detail}`;
    }
    if (exit.detail !== 'exit code 0') return exit.detail;
    if (!(await used)) return 'it does not run containers in their cgroups';
    return refusalOfKernel(await said());
  } catch (raw) {
    return coerceError(raw).message;
  } finally {
    outer.stdin.destroy();
    outer.stdout.destroy();
  }
}

/** Keeps the beginning of what comes; gives it when all has come. */
function hear(stream: Socket): () => Promise<string> {
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    if (text.length < SAID_BYTES) text += chunk.toString('latin1');
  });
  stream.resume(); // sockets of a channel begin paused
  const ended = finished(stream, { writable: false }).catch(() => undefined);
  return async () => {
    await Promise.race([ended, delay(SAID_TIMEOUT_MS, undefined, { ref: false })]);
    return text.trim().slice(0, SAID_BYTES);
  };
}

/** Undefined for the log of gVisor's kernel. */
function refusalOfKernel(log: string): string | undefined {
  if (GVISOR_LOG.test(log)) return undefined;
  const shown = log === '' ? 'nothing that a container may read' : JSON.stringify(log);
  return `it does not run containers on gVisor's kernel: the log of the kernel that they see has ${shown}, and gVisor's begins with "Starting gVisor"`;
}

/** Looks while it runs, for the group is gone afterwards. */
async function watchCgroup(
  deps: SelfTest['deps'],
  cgroup: string,
  exited: Promise<unknown>,
): Promise<boolean> {
  const over = exited.then(() => 'over' as const);
  do {
    if (await wasCgroupUsed(deps.tree, cgroup).catch(() => false)) return true;
  } while ((await Promise.race([over, delay(LOOK_INTERVAL_MS)])) !== 'over');
  return false;
}
