import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withLock } from './lock.ts';
import { describeOwner, isOwnerGone, parseOwner, type Owner } from './owner.ts';

/** The owner that a process was which has ended. */
async function endedOwner(): Promise<Owner> {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
  await once(child, 'spawn');
  const owner = await describeOwner(child.pid);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return owner;
}

describe.runIf(process.platform === 'linux')('the owner of a thing', () => {
  it('lives as long as its process', async () => {
    expect(await isOwnerGone(await describeOwner())).toBe(false);
    expect(await isOwnerGone(await endedOwner())).toBe(true);
  });

  it('is gone when its number belongs to a later process, or its machine was started anew', async () => {
    const owner = await describeOwner();
    expect(await isOwnerGone({ ...owner, startTicks: owner.startTicks - 1 })).toBe(true);
    expect(await isOwnerGone({ ...owner, bootId: 'another' })).toBe(true);
  });

  it('is left alone when it is of another container', async () => {
    const owner = await endedOwner();
    expect(await isOwnerGone({ ...owner, pidNamespace: 'pid:[1]' })).toBe(false);
  });

  it('is none when its text is damaged', () => {
    for (const text of ['', '{', 'null', '[]', '{"pid":"1"}']) expect(parseOwner(text)).toBeUndefined();
  });
});

describe('a lock', () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    path = join(folder, 'it.lock');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('lets one work at a time, and leaves nothing behind', async () => {
    let working = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++working);
      await delay(5);
      working -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => withLock(path, 10_000, work)));
    expect(most).toBe(1);
    expect(await readdir(folder)).toEqual([]);
  });

  it('is given back when the work fails', async () => {
    await expect(withLock(path, 1000, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await withLock(path, 1000, async () => 'yes')).toBe('yes');
  });

  it('of a process that has ended is broken, by one of several who want it', async () => {
    await writeFile(path, JSON.stringify(await endedOwner()));
    let working = 0;
    const work = async (): Promise<number> => {
      const now = ++working;
      await delay(5);
      working -= 1;
      return now;
    };
    const seen = await Promise.all(Array.from({ length: 5 }, () => withLock(path, 10_000, work)));
    expect(seen).toEqual([1, 1, 1, 1, 1]);
  });

  it('that stays held is reported with its file', async () => {
    await writeFile(path, JSON.stringify(await describeOwner()));
    await expect(withLock(path, 100, async () => 'never')).rejects.toThrow(path);
  });
});
