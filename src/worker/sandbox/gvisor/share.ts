import { constants } from 'node:fs';
import {
  chmod,
  link,
  lstat,
  mkdtemp,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join, sep } from 'node:path';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { makeFolder } from '../rootfs/files.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/**
 * Puts a folder's files into a sandbox's shared folder: links, or copies where that is another file system. They appear
 * all at once. A name that is there already stays as it is.
 *
 * The launcher does this for a worker that may have been taken over, so only what everyone may read is shared, from the
 * folders that were named before, and no link is followed.
 */
export async function shareFolder(
  sharedFolder: string,
  name: string,
  folder: string,
  allowed: readonly string[],
): Promise<void> {
  if (!NAME.test(name)) throw new Error(`${JSON.stringify(name)} is no name for a shared folder`);
  const real = await realpath(folder);
  const bases = await Promise.all(allowed.map((base) => realpath(base).catch(() => base)));
  if (!bases.some((base) => real.startsWith(base + sep))) {
    throw new Error(`${folder} is not below ${allowed.join(' or ')}, which is all that may be shared`);
  }
  const target = join(sharedFolder, name);
  if (
    await lstat(target).then(
      () => true,
      () => false,
    )
  )
    return;
  // Outside of what the sandbox sees, on the same file system.
  const aside = await mkdtemp(`${sharedFolder}-`);
  try {
    await linkTree(real, aside);
    await chmod(aside, 0o755);
    await rename(aside, target);
  } catch (raw) {
    await rm(aside, { recursive: true, force: true });
    if (errorCodeOf(raw) !== 'ENOTEMPTY' && errorCodeOf(raw) !== 'EEXIST') throw raw;
  }
}

async function linkTree(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) {
      await makeFolder(target);
      await linkTree(source, target);
    } else if (entry.isSymbolicLink()) {
      // Resolved inside, where it leads nowhere else.
      await symlink(await readlink(source), target);
    } else if (entry.isFile()) {
      await linkFile(source, target);
    }
  }
}

async function linkFile(source: string, target: string): Promise<void> {
  try {
    await link(source, target);
  } catch (raw) {
    if (errorCodeOf(raw) !== 'EXDEV' && errorCodeOf(raw) !== 'EMLINK' && errorCodeOf(raw) !== 'EPERM')
      throw raw;
    await copyRegularFile(source, target);
  }
  // Looked at after linking: what it is called by now cannot be exchanged any more.
  const { mode } = await lstat(target);
  if ((mode & constants.S_IFMT) !== constants.S_IFREG || (mode & constants.S_IROTH) === 0) {
    throw new Error(`${source} is not readable for everyone; chmod a+r it`);
  }
}

async function copyRegularFile(source: string, target: string): Promise<void> {
  const handle = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode } = await handle.stat();
    await writeFile(target, handle.createReadStream({ autoClose: false }), {
      flag: 'wx',
      mode: mode & 0o777,
    });
    await chmod(target, mode & 0o777);
  } finally {
    await handle.close();
  }
}
