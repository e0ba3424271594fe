import { chmod, lstat, mkdtemp, realpath, rename, rm } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { linkTree } from '../rootfs/link-tree.ts';

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
