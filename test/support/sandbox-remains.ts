import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What sandboxes of this machine are made of, as seen from outside. */

const CGROUPS = '/sys/fs/cgroup';

/** The launchers that keep their sandboxes below a state directory, by name. */
export const launchersOf = async (stateDirectory: string): Promise<readonly string[]> =>
  (await readdir(stateDirectory).catch(() => [])).filter((name) => /^w\d+-/.test(name));

export interface SandboxProcess {
  readonly pid: number;
  readonly command: readonly string[];
}

/** Processes of sandboxes whose state is below a directory: runsc, its sentry and its gofer. */
export async function sandboxProcesses(stateDirectory: string): Promise<readonly SandboxProcess[]> {
  const found: SandboxProcess[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)) {
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (command.some((part) => part.includes(stateDirectory))) found.push({ pid, command });
  }
  return found;
}

/** Everything that is left of sandboxes: processes, mounts, cgroups and files, one line each. */
export async function sandboxRemains(
  stateDirectory: string,
  launchers: readonly string[],
): Promise<readonly string[]> {
  const [processes, members, mounts, cgroups, files] = await Promise.all([
    sandboxProcesses(stateDirectory),
    membersOf(launchers),
    readFile('/proc/self/mountinfo', 'utf8'),
    cgroupsOf(launchers),
    readdir(stateDirectory, { recursive: true }).catch(() => []),
  ]);
  return [
    ...processes.map(({ pid, command }) => `process ${pid}: ${command.join(' ').slice(0, 200)}`),
    ...members,
    ...mounts
      .split('\n')
      .filter((line) => line.includes(stateDirectory))
      .map((line) => `mount ${line}`),
    ...cgroups.map((folder) => `cgroup ${folder}`),
    ...files.map((file) => `file ${file}`),
  ];
}

/** The launchers themselves, and processes in cgroups of theirs, whatever they call themselves. */
async function membersOf(launchers: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    const of = launchers.find((name) => groups.includes(`millrace-${name}`));
    if (of !== undefined) found.push(`process ${pid} in the cgroup of ${of}`);
    const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '');
    if (launchers.some((name) => folder.endsWith(name))) found.push(`process ${pid} in ${folder}`);
  }
  return found;
}

async function cgroupsOf(launchers: readonly string[]): Promise<readonly string[]> {
  const hierarchies = await readdir(CGROUPS).catch(() => []);
  const found: string[] = [];
  for (const parent of [CGROUPS, ...hierarchies.map((name) => join(CGROUPS, name))]) {
    const names = await readdir(parent).catch(() => []);
    found.push(
      ...names
        .filter((name) => launchers.some((launcher) => name.includes(launcher)))
        .map((name) => join(parent, name)),
    );
  }
  return found;
}
