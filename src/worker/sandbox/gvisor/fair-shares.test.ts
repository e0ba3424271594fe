import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFairShares, type FairShares } from './fair-shares.ts';

// Ordinary files in place of the kernel's.
describe.each([1, 2] as const)('shares of the processors, control groups of version %i', (version) => {
  const group = '/millrace-w1/w1-1';
  let mount: string;
  let nowMs: number;
  let usedMs: number;
  let shares: FairShares;

  beforeEach(async () => {
    mount = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    for (const folder of version === 1 ? ['cpu', 'cpuacct'] : ['']) {
      await mkdir(join(mount, folder, group), { recursive: true });
    }
    nowMs = 1000;
    usedMs = 500;
    shares = createFairShares({ version, mount, hierarchies: ['cpu', 'cpuacct'] }, () => nowMs);
    for (let n = 0; n < 6; n++) await look(0);
  });
  afterEach(() => rm(mount, { recursive: true }));

  /** 200 ms later, of which so many were used. */
  async function look(ms: number, groups: readonly string[] = [group]): Promise<void> {
    nowMs += 200;
    usedMs += ms;
    if (version === 1) await writeFile(join(mount, 'cpuacct', group, 'cpuacct.usage'), `${usedMs * 1e6}\n`);
    else await writeFile(join(mount, group, 'cpu.stat'), `usage_usec ${usedMs * 1000}\nuser_usec 1\n`);
    await shares.look(groups);
  }
  const weight = async (): Promise<number | undefined> => {
    const file = version === 1 ? join(mount, 'cpu', group, 'cpu.shares') : join(mount, group, 'cpu.weight');
    const text = await readFile(file, 'utf8').catch(() => undefined);
    return text === undefined ? undefined : Math.round(Number(text) / (version === 1 ? 10.24 : 1));
  };

  test('are left alone for steps that take a moment', async () => {
    for (const ms of [20, 60, 0, 99]) await look(ms);
    expect(await weight()).toBeUndefined();
  });

  test('fall for what keeps a processor busy, and rise again when it is idle', async () => {
    await look(190);
    expect(await weight()).toBe(10);
    // Less, because others go first, is no sign of being done.
    await look(30);
    expect(await weight()).toBe(10);
    await look(5);
    expect(await weight()).toBe(100);
  });

  test('are small while it is held, whatever it uses, and rise when it is released', async () => {
    await shares.hold(group);
    for (const ms of [0, 190, 0]) await look(ms);
    expect(await weight()).toBe(10);
    await shares.release(group);
    expect(await weight()).toBe(100);
    // Its start may take long, for somebody waits now.
    await look(190);
    expect(await weight()).toBe(100);
  });

  test('are small for a few seconds at most', async () => {
    await shares.hold(group);
    for (let n = 0; n < 24; n++) await look(1);
    expect(await weight()).toBe(10);
    await look(1);
    expect(await weight()).toBe(100);
    // Only what is held is released.
    await rm(mount, { recursive: true });
    await shares.release(group);
    await mkdir(mount);
  });

  test('of a group that is gone are nobody’s concern', async () => {
    await rm(mount, { recursive: true });
    await shares.look([group]);
    await mkdir(mount);
  });

  test('are left alone while a sandbox starts', async () => {
    await shares.look([]); // as if it were new from here
    for (let n = 0; n < 6; n++) await look(200);
    expect(await weight()).toBeUndefined();
    await look(200);
    expect(await weight()).toBe(10);
  });
});
