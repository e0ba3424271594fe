import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { acquireLock, lockOwner } from '../../../src/cli/embedded/lock.ts';
import { identify } from '../../../src/cli/embedded/process-identity.ts';
import { createProcesses } from '../../support/processes.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

const write = (directory: string, owner: unknown): Promise<void> =>
  writeFile(join(directory, 'lock'), typeof owner === 'string' ? owner : JSON.stringify(owner));

it('names the process that holds the lock to the second one', async () => {
  const directory = await makeTempDirectory();
  const lock = await acquireLock(directory);

  await expect(acquireLock(directory)).rejects.toThrow(
    new RegExp(`already runs on ${directory} \\(process ${process.pid}, since .*MILLRACE_DATA_DIR`),
  );
  expect((await lockOwner(directory))?.pid).toBe(process.pid);
  await lock.release();
  expect(await lockOwner(directory)).toBeUndefined();
});

it('leaves nothing behind when it is released', async () => {
  const directory = await makeTempDirectory();

  await (await acquireLock(directory)).release();

  expect(await readdir(directory)).toEqual([]);
});

it('takes over the lock of a process that is gone', async () => {
  const directory = await makeTempDirectory();
  const processes = createProcesses();
  const dead = processes.start(['true']);
  await dead.exited;
  await write(directory, { pid: dead.pid, start: 'x', since: '2026-01-01T00:00:00.000Z' });

  const lock = await acquireLock(directory);

  expect((await lockOwner(directory))?.pid).toBe(process.pid);
  await lock.release();
});

it('takes over a lock whose process id belongs to another process by now', async () => {
  const directory = await makeTempDirectory();
  const processes = createProcesses();
  onTestFinished(() => processes.killAll());
  const other = processes.start(['sleep', '60']);
  await write(directory, { pid: other.pid, start: 'an earlier boot/123', since: '2026-01-01T00:00:00.000Z' });

  const lock = await acquireLock(directory);

  expect((await lockOwner(directory))?.pid).toBe(process.pid);
  await lock.release();
});

it('respects the lock of another live process', async () => {
  const directory = await makeTempDirectory();
  const processes = createProcesses();
  onTestFinished(() => processes.killAll());
  const other = processes.start(['sleep', '60']);
  const start = (await identify(other.pid))?.start;
  await write(directory, { pid: other.pid, start, since: '2026-01-01T00:00:00.000Z' });

  await expect(acquireLock(directory)).rejects.toThrow(`process ${other.pid}`);
});

it.each(['', '{"pid":', 'null', '{"pid":"1"}'])('takes over a damaged lock: %j', async (content) => {
  const directory = await makeTempDirectory();
  await write(directory, content);

  await (await acquireLock(directory)).release();
});

it('gives a stale lock to one of many that want it at once', async () => {
  const directory = await makeTempDirectory();
  await write(directory, { pid: 2 ** 22 + 1, start: 'x', since: '2026-01-01T00:00:00.000Z' });

  const results = await Promise.allSettled(Array.from({ length: 20 }, () => acquireLock(directory)));

  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
});

it('gets over a crash in the middle of a takeover', async () => {
  const directory = await makeTempDirectory();
  await write(directory, { pid: 2 ** 22 + 1, start: 'x', since: '2026-01-01T00:00:00.000Z' });
  const takeover = join(directory, 'lock.takeover');
  await writeFile(takeover, '');
  const before = new Date(Date.now() - 60_000);
  await utimes(takeover, before, before);

  await acquireLock(directory);

  expect(JSON.parse(await readFile(join(directory, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
});
