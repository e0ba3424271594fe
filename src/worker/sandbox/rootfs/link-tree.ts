import { constants } from 'node:fs';
import { chmod, link, lstat, open, readdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { makeFolder } from './files.ts';

/**
 * Fills a folder with the files of another: links, or copies where that is another file system. No symbolic link is
 * followed.
 *
 * @throws Error for a file that is not readable for everyone: what reads them in a sandbox owns nothing
 */
export async function linkTree(from: string, to: string): Promise<void> {
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
