import { execFile, spawn } from 'node:child_process';
import { open, mkdir, rm, rmdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A file system of its own that can be filled up. */
export interface SmallDisk {
  readonly path: string;
  unmount(): Promise<void>;
}

/**
 * Mounts a tmpfs of this size in `directory`. A guard, a shell that reads from a pipe we hold, unmounts it when this process
 * dies in any way.
 *
 * @throws Error where mounting is not allowed
 */
export async function mountSmallDisk(directory: string, megabytes: number): Promise<SmallDisk> {
  const path = join(directory, 'disk');
  await mkdir(path);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'millrace-faults', path]).catch(
    (raw: unknown) => {
      throw new Error('A full disk needs a disk that is small: only root on Linux may mount one.', {
        cause: raw,
      });
    },
  );
  const guard = spawn('/bin/sh', ['-c', 'read -r line; umount -l "$1" && rmdir "$1"', 'sh', path], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.stdin.on('error', () => undefined);
  guard.unref();
  return {
    path,
    async unmount() {
      if (guard.killed) return;
      await run('umount', ['-l', path]);
      guard.kill('SIGKILL');
      await rmdir(path);
    },
  };
}

const fillerIn = (disk: string): string => join(disk, 'filler');

/** Takes all the space there is. @returns the bytes it took */
export async function fillDisk(disk: string): Promise<number> {
  const filler = fillerIn(disk);
  const { bavail, bsize } = await statfs(disk);
  const bytes = bavail * bsize;
  await run('fallocate', ['-l', String(bytes), filler]).catch(() => fillByWriting(filler));
  return bytes;
}

/** Gives it back. */
export const freeDisk = (disk: string): Promise<void> => rm(fillerIn(disk), { force: true });

/** Somebody took a page between the question and the answer: writes until nothing is left. */
async function fillByWriting(path: string): Promise<void> {
  const file = await open(path, 'w');
  const block = Buffer.alloc(64 * 1024);
  try {
    for (;;) await file.write(block);
  } catch (raw) {
    if ((raw as NodeJS.ErrnoException).code !== 'ENOSPC') throw raw;
  } finally {
    await file.close();
  }
}
