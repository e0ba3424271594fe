import { readFile, readlink } from 'node:fs/promises';
import { errorCodeOf } from '../../../core/errors/app-error.ts';

/** A process, told apart from a later one that got the same number. */
export interface Owner {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), field 22 of stat); 0 where there is no /proc. */
  readonly startTicks: number;
  readonly bootId: string;
  /** The numbers of another PID namespace say nothing here: a folder may be shared between containers. */
  readonly pidNamespace: string;
}

const START_TICKS_FIELD = 22;

export async function describeOwner(pid: number = process.pid): Promise<Owner> {
  const [startTicks, bootId, pidNamespace] = await Promise.all([
    readStartTicks(pid),
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => ''),
    readlink('/proc/self/ns/pid').catch(() => ''),
  ]);
  return { pid, startTicks: startTicks ?? 0, bootId: bootId.trim(), pidNamespace };
}

/** Whether what belongs to this process may be taken away; what cannot be told counts as living. */
export async function isOwnerGone(owner: Owner): Promise<boolean> {
  const self = await describeOwner();
  if (owner.bootId !== self.bootId) return true;
  if (owner.pidNamespace !== self.pidNamespace) return false;
  if (self.startTicks === 0) return !existsWithoutProc(owner.pid);
  return (await readStartTicks(owner.pid)) !== owner.startTicks;
}

/** Undefined for what is no owner. */
export function parseOwner(text: string): Owner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Owner> | null;
    return typeof value?.pid === 'number' && typeof value.startTicks === 'number'
      ? {
          pid: value.pid,
          startTicks: value.startTicks,
          bootId: String(value.bootId),
          pidNamespace: String(value.pidNamespace),
        }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such process. A zombie is none: it holds nothing any more. */
async function readStartTicks(pid: number): Promise<number | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field, the name, may hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[START_TICKS_FIELD - 3]);
  } catch {
    return undefined;
  }
}

function existsWithoutProc(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (raw) {
    return errorCodeOf(raw) !== 'ESRCH';
  }
}
