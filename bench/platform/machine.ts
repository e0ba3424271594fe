import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { PROJECT_ROOT } from '../../test/support/processes.ts';

/** What figures depend on beside the code. No names of hosts or people. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** As `abc1234`, with a word when files differ from it. */
  readonly commit: string;
}

const run = promisify(execFile);

export async function describeMachine(): Promise<Machine> {
  const cpuinfo = await readFile('/proc/cpuinfo', 'utf8');
  const git = async (...args: readonly string[]): Promise<string> =>
    (await run('git', args, { cwd: PROJECT_ROOT })).stdout.trim();
  const changed = await git(
    'status',
    '--porcelain',
    '--untracked-files=no',
    '--',
    'src',
    'package-lock.json',
  );
  return {
    cpu: /^model name\s*:\s*(.+)$/m.exec(cpuinfo)?.[1]?.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim().replace(/-.*$/, ''),
    node: process.version,
    commit: (await git('rev-parse', '--short', 'HEAD')) + (changed === '' ? '' : ' with uncommitted changes'),
  };
}
