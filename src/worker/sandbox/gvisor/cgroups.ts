import { constants } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import type { SandboxLimits } from '../driver.ts';

/**
 * Control groups of one machine: every hierarchy of version 1 that is mounted, or the one of version 2.
 *
 * The launcher makes the groups before runsc sees them, because runsc leaves alone what it finds (runsc/cgroup/cgroup.go,
 * `Install`), limits and removal included: so the counters can still be read when a sandbox is gone.
 */
export interface CgroupTree {
  readonly version: 1 | 2;
  readonly mount: string;
  /** Version 1: the controllers' folders. */
  readonly hierarchies: readonly string[];
}

/** What ended processes of a group, as far as its counters tell. */
export interface CgroupEvents {
  readonly outOfMemoryKills: number;
  readonly refusedForks: number;
}

const NEEDED = ['memory', 'pids', 'cpu'] as const;
const PERIOD_US = 100_000;
/** Where processes of a version 2 root go that is not the machine's own, so that it may have controllers. */
const MOVED_PROCESSES = 'millrace-processes';
const REMOVE_TIMEOUT_MS = 5000;

/** @throws Error that says what is missing */
export async function openCgroups(mount = '/sys/fs/cgroup'): Promise<CgroupTree> {
  if (await exists(join(mount, 'cgroup.controllers'))) {
    const controllers = (await readFile(join(mount, 'cgroup.controllers'), 'utf8')).trim().split(' ');
    const missing = NEEDED.filter((name) => !controllers.includes(name));
    if (missing.length > 0) throw new Error(`${mount} lacks the controllers ${missing.join(', ')}`);
    return { version: 2, mount, hierarchies: [] };
  }
  const entries = await readdir(mount).catch(() => []);
  const hierarchies: string[] = [];
  for (const name of entries) {
    if (name !== 'unified' && (await exists(join(mount, name, 'cgroup.procs')))) hierarchies.push(name);
  }
  const missing = NEEDED.filter((name) => !hierarchies.includes(name));
  if (missing.length > 0) throw new Error(`${mount} has no hierarchy for ${missing.join(', ')}`);
  return { version: 1, mount, hierarchies };
}

/** The folders of a group, one for each hierarchy. */
function foldersOf(tree: CgroupTree, group: string): readonly string[] {
  return tree.version === 2
    ? [join(tree.mount, group)]
    : tree.hierarchies.map((hierarchy) => join(tree.mount, hierarchy, group));
}

/** Makes the group of all sandboxes of a worker, which hands its controllers on. */
export async function makeParentCgroup(tree: CgroupTree, group: string): Promise<void> {
  if (tree.version === 2) {
    await delegate(tree.mount).catch(async (raw: unknown) => {
      // No processes beside groups with controllers: a container's root has its processes in it.
      if (errorCodeOf(raw) !== 'EBUSY') throw raw;
      await moveProcesses(tree.mount, MOVED_PROCESSES);
      await delegate(tree.mount);
    });
  }
  await makeFolders(tree, group);
  if (tree.version === 2) await delegate(join(tree.mount, group));
}

export async function makeCgroup(tree: CgroupTree, group: string, limits: SandboxLimits): Promise<void> {
  await makeFolders(tree, group);
  await setCgroupLimits(tree, group, limits);
}

export async function setCgroupLimits(tree: CgroupTree, group: string, limits: SandboxLimits): Promise<void> {
  const quota = Math.max(1000, Math.round(limits.cpus * PERIOD_US));
  if (tree.version === 2) {
    const folder = join(tree.mount, group);
    await put(join(folder, 'memory.max'), String(limits.memoryBytes));
    await put(join(folder, 'pids.max'), String(limits.pids));
    const burst = join(folder, 'cpu.max.burst');
    await withBurst(burst, quota, () => put(join(folder, 'cpu.max'), `${quota} ${PERIOD_US}`));
    // Both are missing from some kernels: without swap, and before 4.19.
    await put(join(folder, 'memory.swap.max'), '0').catch(ignoreMissing);
    await put(join(folder, 'memory.oom.group'), '1').catch(ignoreMissing);
    return;
  }
  const inside = (hierarchy: string, file: string): string => join(tree.mount, hierarchy, group, file);
  await setMemoryV1(inside('memory', 'memory'), limits.memoryBytes);
  await put(inside('pids', 'pids.max'), String(limits.pids));
  await withBurst(inside('cpu', 'cpu.cfs_burst_us'), quota, async () => {
    await put(inside('cpu', 'cpu.cfs_period_us'), String(PERIOD_US));
    await put(inside('cpu', 'cpu.cfs_quota_us'), String(quota));
  });
}

/**
 * Lets a group use later what it left of a period, up to one period's worth: several threads for a moment are no reason to
 * stop all of them until the period ends, which would cost a start 120 ms. Missing before Linux 5.14.
 */
async function withBurst(file: string, quota: number, setQuota: () => Promise<void>): Promise<void> {
  // Never more than the quota, which may be lowered here.
  await put(file, '0').catch(ignoreMissing);
  await setQuota();
  await put(file, String(quota)).catch(ignoreMissing);
}

/** Memory, and memory with swap, which is never less: so the order depends on the direction. */
async function setMemoryV1(prefix: string, bytes: number): Promise<void> {
  const memory = `${prefix}.limit_in_bytes`;
  const withSwap = `${prefix}.memsw.limit_in_bytes`;
  const isRaised = bytes > Number(await readFile(memory, 'utf8'));
  for (const file of isRaised ? [withSwap, memory] : [memory, withSwap]) {
    // The second is missing where the kernel does not count swap.
    await put(file, String(bytes)).catch(ignoreMissing);
  }
  if (Number(await readFile(memory, 'utf8')) > bytes) {
    throw new Error(`the memory limit could not be set to ${bytes} bytes`);
  }
}

/** Readable by anyone, also after the worker has dropped its privileges. */
export function memoryFileOf(tree: CgroupTree, group: string): string {
  return tree.version === 2
    ? join(tree.mount, group, 'memory.current')
    : join(tree.mount, 'memory', group, 'memory.usage_in_bytes');
}

/** What {@link countOutOfMemoryKills} reads, also after the worker has dropped its privileges. */
export function memoryEventsFileOf(tree: CgroupTree, group: string): string {
  return tree.version === 2
    ? join(tree.mount, group, 'memory.events')
    : join(tree.mount, 'memory', group, 'memory.oom_control');
}

/** How many processes of a group the kernel has killed for its memory limit; 0 when the group is gone. */
export const countOutOfMemoryKills = (memoryEventsFile: string): Promise<number> =>
  readCounter(memoryEventsFile, 'oom_kill');

export async function readCgroupEvents(tree: CgroupTree, group: string): Promise<CgroupEvents> {
  const pids = join(tree.mount, tree.version === 2 ? '' : 'pids', group, 'pids.events');
  return {
    outOfMemoryKills: await countOutOfMemoryKills(memoryEventsFileOf(tree, group)),
    refusedForks: await readCounter(pids, 'max'),
  };
}

/** Whether anything ever ran in the group: proof that runsc uses it. */
export async function wasCgroupUsed(tree: CgroupTree, group: string): Promise<boolean> {
  return tree.version === 2
    ? (await readCounter(join(tree.mount, group, 'cpu.stat'), 'usage_usec')) > 0
    : Number(await readFile(join(tree.mount, 'memory', group, 'memory.max_usage_in_bytes'), 'utf8')) > 0;
}

/** Sends SIGKILL to every process in the group. Those forked meanwhile are for the next call. */
export async function killCgroup(tree: CgroupTree, group: string): Promise<void> {
  if (tree.version === 2) {
    // Linux 5.14 and later: all at once.
    const isKilled = await put(join(tree.mount, group, 'cgroup.kill'), '1').then(
      () => true,
      () => false,
    );
    if (isKilled) return;
  }
  for (const folder of foldersOf(tree, group)) {
    const list = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const pid of list.split('\n').filter(Boolean).map(Number)) {
      // 0 stands for a process of another PID namespace; killing it would be killing our own group.
      if (pid > 1 && pid !== process.pid) tryKill(pid);
    }
  }
}

/** Kills what is left in the group and removes it, with the groups below it. */
export async function removeCgroup(tree: CgroupTree, group: string): Promise<void> {
  const below = new Set<string>();
  for (const folder of foldersOf(tree, group)) {
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) if (entry.isDirectory()) below.add(entry.name);
  }
  for (const name of below) await removeCgroup(tree, join(group, name));
  const deadline = performance.now() + REMOVE_TIMEOUT_MS;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    await killCgroup(tree, group);
    const results = await Promise.all(foldersOf(tree, group).map(removeFolder));
    if (results.every(Boolean)) return;
    if (performance.now() > deadline) throw new Error(`the cgroup ${group} has processes that do not end`);
    await delay(pauseMs);
  }
}

async function removeFolder(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT') return true;
    if (errorCodeOf(raw) === 'EBUSY') return false;
    throw raw;
  }
}

async function makeFolders(tree: CgroupTree, group: string): Promise<void> {
  for (const folder of foldersOf(tree, group)) {
    await mkdir(folder, { recursive: true });
    if (tree.version !== 1 || !folder.startsWith(join(tree.mount, 'cpuset'))) continue;
    // A new set of processors is empty, and nothing can be put into an empty one.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      await put(join(folder, file), await readFile(join(folder, '..', file), 'utf8'));
    }
  }
}

/** Lets the groups below have all controllers that can be had. */
async function delegate(folder: string): Promise<void> {
  const file = join(folder, 'cgroup.subtree_control');
  await put(file, NEEDED.map((name) => `+${name}`).join(' '));
  const all = (await readFile(join(folder, 'cgroup.controllers'), 'utf8')).trim().split(' ');
  // runsc writes all of them in one go, which fails unless each is possible; others are of no use to us.
  for (const name of all) await put(file, `+${name}`).catch(() => undefined);
}

async function moveProcesses(mount: string, name: string): Promise<void> {
  await mkdir(join(mount, name), { recursive: true });
  const list = await readFile(join(mount, 'cgroup.procs'), 'utf8');
  for (const pid of list.split('\n').filter(Boolean)) {
    // Kernel threads and what has just ended cannot be moved.
    await put(join(mount, name, 'cgroup.procs'), pid).catch(() => undefined);
  }
}

async function readCounter(file: string, name: string): Promise<number> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}

/** Never creates: what is missing is ENOENT, not the refusal that cgroupfs has for new files. */
const put = (file: string, text: string): Promise<void> =>
  writeFile(file, text, { flag: constants.O_WRONLY });

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (raw) {
    if (errorCodeOf(raw) !== 'ESRCH') throw raw;
  }
}

function ignoreMissing(raw: unknown): void {
  if (errorCodeOf(raw) !== 'ENOENT') throw raw;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
