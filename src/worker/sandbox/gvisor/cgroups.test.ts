import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  makeCgroup,
  makeParentCgroup,
  memoryFileOf,
  openCgroups,
  readCgroupEvents,
  setCgroupLimits,
  wasCgroupUsed,
} from './cgroups.ts';

const LIMITS = { memoryBytes: 268_435_456, cpus: 0.5, pids: 64 };

// Ordinary files in place of the kernel's, for version 2: the tests of sandboxes run on whichever the machine has.
describe('control groups of version 2', () => {
  let mount: string;
  const put = async (path: string, content = ''): Promise<void> => {
    await mkdir(dirname(join(mount, path)), { recursive: true });
    await writeFile(join(mount, path), content);
  };
  const read = (path: string): Promise<string> => readFile(join(mount, path), 'utf8');

  beforeEach(async () => {
    mount = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    await put('cgroup.controllers', 'cpuset cpu io memory pids\n');
  });
  afterEach(() => rm(mount, { recursive: true }));

  it('are told from those of version 1', async () => {
    expect(await openCgroups(mount)).toEqual({ version: 2, mount, hierarchies: [] });
  });

  it('need the controllers that limit', async () => {
    await put('cgroup.controllers', 'cpuset cpu io\n');
    await expect(openCgroups(mount)).rejects.toThrow('lacks the controllers memory, pids');
  });

  it('hand all controllers on to the sandboxes', async () => {
    const tree = await openCgroups(mount);
    await put('cgroup.subtree_control');
    await put('millrace-w1/cgroup.subtree_control');
    await put('millrace-w1/cgroup.controllers', 'cpu memory pids\n');
    await makeParentCgroup(tree, '/millrace-w1');
    // The kernel adds what is written; a file keeps the last.
    expect(await read('cgroup.subtree_control')).toContain('+pids');
    expect(await read('millrace-w1/cgroup.subtree_control')).toContain('+pids');
  });

  it('limit memory without swap, processes and time, and end together', async () => {
    const tree = await openCgroups(mount);
    const group = '/millrace-w1/w1-1';
    const files = [
      'memory.max',
      'memory.swap.max',
      'memory.oom.group',
      'pids.max',
      'cpu.max',
      'cpu.max.burst',
    ];
    for (const file of files) await put(`${group}/${file}`);
    await makeCgroup(tree, group, LIMITS);
    expect(await read(`${group}/memory.max`)).toBe('268435456');
    expect(await read(`${group}/memory.swap.max`)).toBe('0');
    expect(await read(`${group}/memory.oom.group`)).toBe('1');
    expect(await read(`${group}/pids.max`)).toBe('64');
    expect(await read(`${group}/cpu.max`)).toBe('50000 100000');
    expect(await read(`${group}/cpu.max.burst`)).toBe('50000');
    expect(memoryFileOf(tree, group)).toBe(join(mount, group, 'memory.current'));
  });

  it('limit without the files that only some kernels have', async () => {
    const tree = await openCgroups(mount);
    for (const file of ['memory.max', 'pids.max', 'cpu.max']) await put(`/group/${file}`);
    await setCgroupLimits(tree, '/group', LIMITS);
    expect(await read('/group/memory.max')).toBe('268435456');
    await rm(join(mount, 'group/pids.max'));
    await expect(setCgroupLimits(tree, '/group', LIMITS)).rejects.toThrow(/ENOENT/);
  });

  it('tell what ended their processes', async () => {
    const tree = await openCgroups(mount);
    expect(await readCgroupEvents(tree, '/group')).toEqual({ outOfMemoryKills: 0, refusedForks: 0 });
    await put('/group/memory.events', 'low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 1\n');
    await put('/group/pids.events', 'max 7\n');
    expect(await readCgroupEvents(tree, '/group')).toEqual({ outOfMemoryKills: 1, refusedForks: 7 });
    await put('/group/cpu.stat', 'usage_usec 0\nuser_usec 0\n');
    expect(await wasCgroupUsed(tree, '/group')).toBe(false);
    await put('/group/cpu.stat', 'usage_usec 12\nuser_usec 9\n');
    expect(await wasCgroupUsed(tree, '/group')).toBe(true);
  });
});

describe('control groups of version 1', () => {
  it('need a hierarchy for each thing that is limited', async () => {
    const mount = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    await mkdir(join(mount, 'memory'));
    await writeFile(join(mount, 'memory', 'cgroup.procs'), '');
    await expect(openCgroups(mount)).rejects.toThrow('has no hierarchy for pids, cpu');
    await rm(mount, { recursive: true });
  });
});
