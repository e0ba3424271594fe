import { randomBytes } from 'node:crypto';
import { mkdtemp, chmod, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../rootfs/files.ts';
import { describeOwner, isOwnerGone, parseOwner } from '../rootfs/owner.ts';
import { removeCgroup, type CgroupTree } from './cgroups.ts';

/** A launcher's own place among those of other workers on this machine. */
export interface LauncherState {
  /** Also the beginning of the ids of its sandboxes. */
  readonly id: string;
  readonly folder: string;
  /** The cgroup that holds those of its sandboxes. */
  readonly cgroup: string;
}

const NAME = /^w[0-9]+-[0-9a-f]{8}$/;
const OWNER_FILE = 'owner.json';
/** Nobody takes this long between making a folder and naming its owner. */
const ABANDONED_AFTER_MS = 60_000;

const cgroupOf = (id: string): string => `/millrace-${id}`;

/** A folder whose owner is written before it has its name, so that no other launcher takes it for a dead one's. */
export async function createState(stateDirectory: string): Promise<LauncherState> {
  // Passable for everyone: what reads a shared folder for a container has no privileges.
  await makeFolder(stateDirectory, 0o711);
  const id = `w${process.pid}-${randomBytes(4).toString('hex')}`;
  const aside = await mkdtemp(join(stateDirectory, 'new-'));
  await writeFile(join(aside, OWNER_FILE), JSON.stringify(await describeOwner()));
  await chmod(aside, 0o711);
  const folder = join(stateDirectory, id);
  await rename(aside, folder);
  return { id, folder, cgroup: cgroupOf(id) };
}

export async function removeState(tree: CgroupTree, state: LauncherState): Promise<void> {
  await removeCgroup(tree, state.cgroup);
  await rm(state.folder, { recursive: true, force: true });
}

/**
 * Ends and removes what launchers left that are gone: processes, cgroups and folders.
 *
 * @returns the ids of those that were swept
 */
export async function sweepStates(tree: CgroupTree, stateDirectory: string): Promise<readonly string[]> {
  const names = await readdir(stateDirectory).catch(() => []);
  const swept: string[] = [];
  for (const name of names) {
    const folder = join(stateDirectory, name);
    if (name.startsWith('new-')) {
      const made = await stat(folder).catch(() => undefined);
      if (made && Date.now() - made.mtimeMs > ABANDONED_AFTER_MS)
        await rm(folder, { recursive: true, force: true });
      continue;
    }
    if (!NAME.test(name)) continue;
    const text = await readFile(join(folder, OWNER_FILE), 'utf8').catch(() => undefined);
    const owner = text === undefined ? undefined : parseOwner(text);
    if (owner === undefined || !(await isOwnerGone(owner))) continue;
    await removeState(tree, { id: name, folder, cgroup: cgroupOf(name) });
    swept.push(name);
  }
  return swept;
}
