import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { describeOwner, isOwnerGone, parseOwner } from './owner.ts';

const POLL_MS = 50;

/**
 * Runs `work` while no other process on this machine runs the work of the same lock. A lock whose process is gone is
 * broken.
 *
 * @throws Error when it is not had within `timeoutMs`
 */
export async function withLock<T>(path: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  const owner = JSON.stringify(await describeOwner());
  await mkdir(dirname(path), { recursive: true });
  while (!(await tryLock(path, owner))) {
    if (performance.now() > deadline) {
      throw new Error(`another process has held ${path} for ${timeoutMs} ms; delete it if there is none`);
    }
    await delay(POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function tryLock(path: string, owner: string): Promise<boolean> {
  try {
    await writeFile(path, owner, { flag: 'wx' });
    return true;
  } catch (raw) {
    if (errorCodeOf(raw) !== 'EEXIST') throw raw;
  }
  const text = await readFile(path, 'utf8').catch(() => undefined);
  const holder = text === undefined ? undefined : parseOwner(text);
  if (text !== undefined && holder !== undefined && (await isOwnerGone(holder))) await breakLock(path, text);
  return false;
}

/** Moves the lock away before removing it, so that of two that break it none removes the other's new one. */
async function breakLock(path: string, expected: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  await rename(path, aside).catch(() => undefined);
  const moved = await readFile(aside, 'utf8').catch(() => undefined);
  if (moved !== undefined && moved !== expected) await rename(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}
