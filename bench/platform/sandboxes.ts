import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Runtime } from '../../src/worker/sandbox/driver.ts';

/** Every worker's sandboxes are in a cgroup whose name begins so. */
export const SANDBOX_CGROUP_PREFIX = '/millrace-w';

/** The sandboxes of the one worker whose state folder this is, read from outside of it. */
export interface SandboxView {
  /** CPU milliseconds of all sandboxes so far, ended ones included; undefined while there is none. */
  cpuMs(): Promise<number | undefined>;
  list(): Promise<readonly SandboxUsage[]>;
}

export interface SandboxUsage {
  readonly id: string;
  readonly runtime: Runtime;
  readonly cpuMs: number;
  /** The runsc that waits for it, outside of its cgroup. */
  readonly runscPid: number;
  /** What is charged to its cgroup. */
  readonly memoryBytes: number;
}

export function viewSandboxes(stateDirectory: string): SandboxView {
  const launcher = async (): Promise<string | undefined> =>
    (await readdir(stateDirectory).catch(() => [])).find((name) => name.startsWith('w'));
  return {
    async cpuMs() {
      const id = await launcher();
      return id === undefined ? undefined : cpuMsOf(`millrace-${id}`);
    },
    async list() {
      const id = await launcher();
      if (id === undefined) return [];
      const names = await readdir(join(stateDirectory, id));
      const usages = await Promise.all(
        names.map(async (name) => usageOf(name, join(stateDirectory, id, name), `millrace-${id}/${name}`)),
      );
      return usages.filter((usage) => usage !== undefined);
    },
  };
}

async function usageOf(id: string, folder: string, cgroup: string): Promise<SandboxUsage | undefined> {
  const bundle = await read(join(folder, 'config.json'));
  const memoryBytes = Number(
    (await read(`/sys/fs/cgroup/memory/${cgroup}/memory.usage_in_bytes`)) ??
      (await read(`/sys/fs/cgroup/${cgroup}/memory.current`)),
  );
  const cpuMs = await cpuMsOf(cgroup);
  const runscPid = await runscOf(id);
  if (bundle === undefined || cpuMs === undefined || runscPid === undefined || !(memoryBytes > 0))
    return undefined; // it has ended
  const { process } = JSON.parse(bundle) as { process: { args: readonly string[] } };
  const runtime = process.args[0]?.endsWith('deno') === true ? 'javascript' : 'python';
  return { id, runtime, runscPid, cpuMs, memoryBytes };
}

/** A launcher is named by its process, of which every runsc is a child; a sandbox's id begins with its launcher's. */
async function runscOf(sandbox: string): Promise<number | undefined> {
  const launcher = /^w(\d+)-/.exec(sandbox)?.[1];
  const children = (await read(`/proc/${launcher}/task/${launcher}/children`)) ?? '';
  for (const pid of children.split(' ').filter((id) => id.trim() !== '')) {
    const command = (await read(`/proc/${pid}/cmdline`)) ?? '';
    if (command.split('\0').includes(sandbox)) return Number(pid);
  }
  return undefined;
}

/** With all groups below it, also those that are gone. */
async function cpuMsOf(cgroup: string): Promise<number | undefined> {
  const nanoseconds = await read(`/sys/fs/cgroup/cpuacct/${cgroup}/cpuacct.usage`);
  if (nanoseconds !== undefined) return Number(nanoseconds) / 1e6;
  const microseconds = /^usage_usec (\d+)$/m.exec(
    (await read(`/sys/fs/cgroup/${cgroup}/cpu.stat`)) ?? '',
  )?.[1];
  return microseconds === undefined ? undefined : Number(microseconds) / 1000;
}

const read = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);
