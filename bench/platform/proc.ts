import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { SANDBOX_CGROUP_PREFIX } from './sandboxes.ts';

/** proc(5): times in /proc are in clock ticks, of which Linux shows user space 100 a second. */
const TICK_MS = 10;

/**
 * CPU time in milliseconds that a process and all its children used since they started, ended children included.
 * Sandboxes are not: their cgroup counts them.
 */
export async function cpuMsOfTree(pid: number): Promise<number> {
  let ticks = 0;
  for (const [index, id] of (await tree(pid)).entries()) {
    const fields = await statOf(id);
    if (fields === undefined) continue; // ended in between; its parent counts it
    const [utime, stime, cutime, cstime] = fields;
    ticks += utime + stime;
    // Children that ended before the first look count, too; those of children are in their own line of the tree.
    if (index === 0) ticks += cutime + cstime;
  }
  return ticks * TICK_MS;
}

async function tree(pid: number): Promise<readonly number[]> {
  const text = await read(`/proc/${pid}/task/${pid}/children`);
  const children = (text ?? '').split(' ').filter((id) => id.trim() !== '');
  const below = await Promise.all(
    children.map(async (id) => ((await isInSandbox(id)) ? [] : tree(Number(id)))),
  );
  return [pid, ...below.flat()];
}

const isInSandbox = async (pid: string): Promise<boolean> =>
  ((await read(`/proc/${pid}/cgroup`)) ?? '').includes(SANDBOX_CGROUP_PREFIX);

async function statOf(pid: number): Promise<readonly [number, number, number, number] | undefined> {
  const text = await read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The second field, the name, is in parentheses and may hold blanks; utime is the 14th.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (n: number): number => Number(fields[n - 3]);
  return [at(14), at(15), at(16), at(17)];
}

/** The part, 0 to 1, of all cores that was busy for `ms`. */
export async function busyShare(ms: number): Promise<number> {
  const before = await cpuTimes();
  await delay(ms);
  const after = await cpuTimes();
  return 1 - (after.idle - before.idle) / (after.all - before.all);
}

async function cpuTimes(): Promise<{ readonly idle: number; readonly all: number }> {
  const fields = ((await read('/proc/stat')) ?? '').split('\n', 1)[0]!.split(/\s+/).slice(1, 9).map(Number);
  // proc(5): user, nice, system, idle, iowait, irq, softirq, steal
  return { idle: fields[3]! + fields[4]!, all: fields.reduce((sum, field) => sum + field, 0) };
}

/** Resident memory in bytes; undefined when the process is gone. */
export async function residentBytes(pid: number): Promise<number | undefined> {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec((await read(`/proc/${pid}/status`)) ?? '')?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined; // the process is gone
  }
}
