import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { makeTempDirectory } from '../../../test/support/temp-directory.ts';
import { makeZip, type ZipMember } from '../../../test/support/zip.ts';
import { createPackageStore, type PackageStoreOptions, type PackageWheel } from './packages.ts';

const MIB = 1024 * 1024;
let directory: string;
let loads: string[];
beforeEach(async () => {
  directory = join(await makeTempDirectory(), 'packages');
  loads = [];
});

const wheelOf = (name: string, ...members: readonly ZipMember[]): PackageWheel => {
  const content = makeZip(members);
  return {
    name: `${name}-1.0-py3-none-any.whl`,
    sha256: createHash('sha256').update(content).digest('hex'),
    load: async () => {
      loads.push(name);
      return content;
    },
  };
};
const store = (options: Partial<PackageStoreOptions> = {}) =>
  createPackageStore({ directory, maxBytes: 100 * MIB, ...options });
const a = wheelOf(
  'a',
  { path: 'a/__init__.py', content: 'A = 1' },
  { path: 'a/deep/er.so', content: 'native' },
);
const b = wheelOf('b', { path: 'b.py', content: 'B = 1' });

describe('prepare', () => {
  it('unpacks a set once, whatever its order and however many ask', async () => {
    const packages = store();
    const prepared = await Promise.all([
      packages.prepare([a, b]),
      packages.prepare([b, a]),
      packages.prepare([a, b]),
    ]);

    expect(new Set(prepared.map(({ folder }) => folder)).size).toBe(1);
    expect(loads.toSorted()).toEqual(['a', 'b']);
    const { folder } = prepared[0];
    expect((await readdir(folder)).toSorted()).toEqual(['a', 'b.py']);
    expect(await readFile(join(folder, 'a/deep/er.so'), 'utf8')).toBe('native');
    expect((await stat(join(folder, 'a/deep/er.so'))).mode & 0o777).toBe(0o444);
    expect((await stat(join(folder, 'a'))).mode & 0o777).toBe(0o755);
  });

  it('takes what another process has unpacked', async () => {
    const first = await store().prepare([a]);
    expect(await store().prepare([a])).toEqual(first);
    expect(loads).toEqual(['a']);
  });

  it('unpacks anew what is damaged, or was half made', async () => {
    const { folder } = await store().prepare([a]);
    await rm(join(folder, 'a/deep/er.so'));
    await writeFile(join(folder, 'a/deep/er.so'), '');
    await store().prepare([a]);
    expect(await readFile(join(folder, 'a/deep/er.so'), 'utf8')).toBe('native');

    await truncate(join(folder, '../manifest.json'));
    await store().prepare([a]);
    expect(loads).toEqual(['a', 'a', 'a']);
    expect((await readdir(directory)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('refuses a wheel that has another hash, and leaves nothing', async () => {
    const forged = { ...a, sha256: b.sha256 };
    await expect(store().prepare([forged])).rejects.toThrow(/a-1\.0-py3-none-any\.whl has the hash/);
    expect(await readdir(directory)).toEqual([]);
  });

  it.each<[string, ZipMember]>([
    ['a path that leaves the folder', { path: '../evil.py', content: '' }],
    ['a symbolic link', { path: 'link', content: '/etc', mode: 0o120777 }],
    ['more than it claims', { path: 'bomb', content: 'x'.repeat(100_000), claimedBytes: 1 }],
    ['more than is allowed', { path: 'bomb', content: 'x', claimedBytes: 501 * MIB }],
  ])('refuses %s, leaves nothing, and goes on', async (_, member) => {
    const packages = store();
    const evil = wheelOf('evil', { path: 'good.py', content: '' }, member);
    await expect(packages.prepare([evil])).rejects.toThrow();
    expect(await readdir(directory)).toEqual([]);
    expect(await packages.prepare([a])).toMatchObject({ id: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  it('gives the later of two wheels a path that both hold', async () => {
    const one = wheelOf('one', { path: 'shared/__init__.py', content: 'one' });
    const two = wheelOf('two', { path: 'shared/__init__.py', content: 'two' });
    const { folder } = await store().prepare([one, two]);
    expect(await readFile(join(folder, 'shared/__init__.py'), 'utf8')).toBe('two');
  });
});

describe('the space they take', () => {
  const HOUR_MS = 3_600_000;
  const big = (name: string) => wheelOf(name, { path: `${name}.py`, content: name.repeat(1000) });
  const sets = async () => (await readdir(directory)).length;

  it('is bounded: what was used the longest ago goes', async () => {
    let now = Date.now();
    const packages = store({ maxBytes: 2500, minAgeMs: HOUR_MS, now: () => now });
    const first = await packages.prepare([big('x')]);
    now += HOUR_MS;
    await packages.prepare([big('y')]);
    now += HOUR_MS + 1;
    await packages.prepare([big('x')]); // used again
    await packages.prepare([big('z')]);

    expect(await sets()).toBe(2);
    expect(await readdir(first.folder)).toEqual(['x.py']);
    expect((await packages.prepare([big('y')])).folder).toContain(directory);
    expect(loads).toEqual(['x', 'y', 'z', 'y']);
  });

  it('is never taken from sandboxes that use it', async () => {
    let now = Date.now();
    const used = new Set<string>();
    const packages = store({ maxBytes: 1500, minAgeMs: 0, inUse: () => used, now: () => now });
    const first = await packages.prepare([big('x')]);
    used.add(first.id);
    now += HOUR_MS;
    await packages.prepare([big('y')]);
    expect(await readdir(first.folder)).toEqual(['x.py']);
  });

  it('is freed of what a process that died left half made', async () => {
    const left = join(directory, '.new-left');
    await mkdir(left, { recursive: true });
    await utimes(left, 0, 0);
    await store().prepare([a]);
    expect(await sets()).toBe(1);
  });
});
