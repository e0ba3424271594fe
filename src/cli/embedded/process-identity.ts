import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errorCodeOf } from '../../core/errors/app-error.ts';

const run = promisify(execFile);

/** What the system tells about a process id. */
export interface ProcessIdentity {
  /** When the process was started, as an opaque text that another process with the same id does not share. */
  readonly start: string | undefined;
  /** Its command line. */
  readonly command: string | undefined;
}

/** The running process with this id; undefined when there is none. A zombie counts as none. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  if (!exists(pid)) return undefined;
  return process.platform === 'linux' ? identifyByProc(pid) : identifyByPs(pid);
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (raw) {
    return errorCodeOf(raw) === 'EPERM';
  }
}

async function identifyByProc(pid: number): Promise<ProcessIdentity | undefined> {
  const [stat, boot, command] = await Promise.all(
    [`/proc/${pid}/stat`, '/proc/sys/kernel/random/boot_id', `/proc/${pid}/cmdline`].map((file) =>
      readFile(file, 'utf8').catch(() => undefined),
    ),
  );
  if (stat === undefined) return exists(pid) ? { start: undefined, command: undefined } : undefined;
  // proc(5): the name (field 2) may hold spaces and parentheses, so fields are counted after its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return { start: `${boot?.trim() ?? ''}/${fields[19]}`, command: command?.replaceAll('\0', ' ').trim() };
}

async function identifyByPs(pid: number): Promise<ProcessIdentity | undefined> {
  const ask = async (column: string): Promise<string | undefined> => {
    try {
      const { stdout } = await run('ps', ['-o', `${column}=`, '-p', String(pid)], {
        env: { ...pathOnly(), LC_ALL: 'C' },
      });
      return stdout.trim() === '' ? undefined : stdout.trim();
    } catch {
      return undefined; // ps fails when there is no such process
    }
  };
  const [state, start, command] = await Promise.all([ask('state'), ask('lstart'), ask('command')]);
  if (state?.startsWith('Z')) return undefined;
  return { start, command };
}

const pathOnly = (): { readonly PATH: string } => ({ PATH: '/usr/bin:/bin:/usr/sbin:/sbin' });
