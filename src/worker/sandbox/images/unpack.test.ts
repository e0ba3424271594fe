import { lstat, mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { create } from 'tar';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  digestOf,
  makeTar,
  writeLayout,
  type ImageSource,
  type LayerSource,
  type Member,
} from '../../../../test/support/oci-layout.ts';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { findImage } from './find-image.ts';
import { createImageStore } from './store.ts';
import { unpackImage } from './unpack.ts';

let base: string;
let outside: string;
beforeEach(async () => {
  base = await makeTempDirectory();
  outside = join(base, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'canary'), 'untouched');
});

const layer = (...members: readonly Member[]): LayerSource => ({ tar: makeTar(members) });

/** Unpacks an image into a folder of its own. */
async function unpack(layers: readonly LayerSource[], more: Partial<ImageSource> = {}): Promise<string> {
  const layout = join(base, 'layout');
  await writeLayout(layout, [{ name: 'it', layers, ...more }]);
  const folder = join(base, 'unpacked/root');
  await mkdir(folder, { recursive: true });
  await unpackImage(await findImage(layout, 'it'), folder);
  expect(await readdir(join(base, 'unpacked'))).toEqual(['root']);
  return folder;
}

async function listOf(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.map((entry) => relative(folder, join(entry.parentPath, entry.name))).toSorted();
}
const modeOf = async (path: string): Promise<number> => (await lstat(path)).mode & 0o7777;

describe('an image', () => {
  test.for(['gzip', 'zstd', 'none'] as const)(
    'is unpacked from layers with compression %s',
    async (compression) => {
      const tar = makeTar([{ path: 'etc/name', content: 'x'.repeat(300_000) }]);
      const folder = await unpack([{ tar, compression }]);
      expect(await readFile(join(folder, 'etc/name'), 'utf8')).toBe('x'.repeat(300_000));
    },
  );

  test('is readable for everyone, writable for nobody, with no more bits than that', async () => {
    const folder = await unpack([
      layer(
        { path: 'private', type: 'Directory', mode: 0o700 },
        { path: 'private/key', content: 'k', mode: 0o600 },
        { path: 'su', content: 's', mode: 0o4755 },
        { path: 'open', content: 'o', mode: 0o666 },
      ),
    ]);
    expect(await modeOf(join(folder, 'private'))).toBe(0o755);
    expect(await modeOf(join(folder, 'private/key'))).toBe(0o444);
    expect(await modeOf(join(folder, 'su'))).toBe(0o555);
    expect(await modeOf(join(folder, 'open'))).toBe(0o444);
    expect((await stat(join(folder, 'open'))).mtimeMs).toBe(1_700_000_000_000);
  });

  test('keeps names that take more than a header', async () => {
    const name = `${'é'.repeat(120)}/${'long-'.repeat(40)}`;
    await mkdir(join(base, 'source', name), { recursive: true });
    await writeFile(join(base, 'source', name, 'a'), 'found');
    const chunks: Buffer[] = [];
    for await (const chunk of create({ cwd: join(base, 'source') }, ['.'])) chunks.push(chunk);
    const folder = await unpack([{ tar: Buffer.concat(chunks) }]);
    expect(await readFile(join(folder, name, 'a'), 'utf8')).toBe('found');
  });

  test('has no devices and no pipes', async () => {
    const folder = await unpack([
      layer({ path: 'dev/sda', type: 'CharacterDevice' }, { path: 'pipe', type: 'FIFO' }, { path: 'a' }),
    ]);
    expect(await listOf(folder)).toEqual(['a']);
  });

  test('loses what later layers hide', async () => {
    const folder = await unpack([
      layer({ path: 'a/old' }, { path: 'a/deep/old' }, { path: 'b' }, { path: 'c/old' }),
      layer({ path: 'a/.wh..wh..opq' }, { path: 'a/new' }, { path: '.wh.b' }, { path: 'c/.wh.old' }),
    ]);
    expect(await listOf(folder)).toEqual(['a', 'a/new', 'c']);
  });

  test('keeps hard links as one file', async () => {
    const folder = await unpack([
      layer({ path: 'a', content: 'one' }, { path: 'b/c', type: 'Link', target: '/a' }),
      layer({ path: '.wh.a' }),
      layer({ path: 'd', type: 'Link', target: 'b/c' }),
    ]);
    expect(await listOf(folder)).toEqual(['b', 'b/c', 'd']);
    expect((await stat(join(folder, 'd'))).ino).toBe((await stat(join(folder, 'b/c'))).ino);
  });

  test('has the folder that it starts in', async () => {
    const folder = await unpack([layer({ path: 'a' })], { config: { WorkingDir: '/srv/app' } });
    expect(await listOf(folder)).toEqual(['a', 'srv', 'srv/app']);
  });
});

describe('a hostile layer', () => {
  test('writes nothing outside through links, absolute or relative, of folders or files', async () => {
    const folder = await unpack([
      layer(
        { path: 'absolute', type: 'SymbolicLink', target: outside },
        { path: 'absolute/canary', content: 'evil' },
        { path: 'absolute/new', content: 'evil' },
        { path: 'relative', type: 'SymbolicLink', target: '../../outside' },
        { path: 'relative/canary', content: 'evil' },
        { path: 'file', type: 'SymbolicLink', target: join(outside, 'canary') },
        { path: 'file', content: 'evil' },
      ),
      layer({ path: 'absolute/.wh.canary' }, { path: 'relative/.wh..wh..opq' }),
    ]);
    expect(await readdir(outside)).toEqual(['canary']);
    expect(await readFile(join(outside, 'canary'), 'utf8')).toBe('untouched');
    expect(await modeOf(join(outside, 'canary'))).not.toBe(0o444);
    expect(await readlink(join(folder, 'absolute'))).toBe(outside);
    expect(await readFile(join(folder, outside, 'new'), 'utf8')).toBe('evil');
    expect((await lstat(join(folder, 'file'))).isFile()).toBe(true);
  });

  test.each<[string, readonly Member[], RegExp]>([
    ['climbs out', [{ path: '../outside/canary', content: 'evil' }], /leads out/],
    ['climbs out on the way', [{ path: 'a/../../outside/canary', content: 'evil' }], /leads out/],
    ['hides what is outside', [{ path: '../outside/.wh.canary' }], /leads out/],
    ['links a file of the machine', [{ path: 'a', type: 'Link', target: '/etc/passwd' }], /hard link/],
    [
      'links a file through a link that leads out',
      [
        { path: 'out', type: 'SymbolicLink', target: '/etc' },
        { path: 'a', type: 'Link', target: 'out/passwd' },
      ],
      /hard link/,
    ],
    ['hides a whole path', [{ path: '.wh...' }], /leads out/],
  ])('that %s is refused', async (_, members, message) => {
    await expect(unpack([layer(...members)])).rejects.toMatchObject({
      code: 'invalid_image',
      message: expect.stringMatching(message),
    });
    expect(await readFile(join(outside, 'canary'), 'utf8')).toBe('untouched');
  });

  test.each<[string, LayerSource, RegExp]>([
    ['is no tar archive', { tar: Buffer.from('x'.repeat(2000)) }, /no tar archive/],
    [
      'is cut off',
      { tar: makeTar([{ path: 'a', content: 'x'.repeat(5000) }]).subarray(0, 2048) },
      /no tar archive/,
    ],
    ['has the wrong content', { ...layer({ path: 'a' }), diffId: digestOf(Buffer.from('')) }, /damaged/],
    ['is of an unknown type', { ...layer({ path: 'a' }), mediaType: 'application/x-squashfs' }, /squashfs/],
    [
      'is not compressed as it says',
      {
        ...layer({ path: 'a' }),
        compression: 'none',
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      },
      /decompressed/,
    ],
  ])('that %s is refused', async (_, source, message) => {
    await expect(unpack([source])).rejects.toMatchObject({
      code: 'invalid_image',
      message: expect.stringMatching(message),
    });
  });

  test('that unpacks to more than is allowed is refused before it is whole', async () => {
    const layout = join(base, 'layout');
    await writeLayout(layout, [
      { name: 'it', layers: [layer({ path: 'zeros', content: Buffer.alloc(5_000_000) })] },
    ]);
    const folder = join(base, 'root');
    await mkdir(folder);
    const found = await findImage(layout, 'it');
    await expect(unpackImage(found, folder, { maxBytes: 1_000_000 })).rejects.toThrow(/larger than 1000000/);
    expect(await listOf(folder)).toEqual([]);
  });

  test('whose blob was changed is refused', async () => {
    const layout = join(base, 'layout');
    await writeLayout(layout, [{ name: 'it', layers: [{ ...layer({ path: 'a' }), compression: 'none' }] }]);
    const found = await findImage(layout, 'it');
    const blob = join(layout, 'blobs', ...found.manifest.layers[0]!.digest.split(':'));
    await writeFile(blob, makeTar([{ path: 'b' }]));
    await expect(unpackImage(found, await makeTempDirectory())).rejects.toThrow(/damaged/);
  });
});

describe('the store', () => {
  const open = (layout: string) =>
    createImageStore({ folder: layout, directory: join(base, 'images'), inUse: () => new Set() });

  test('unpacks an image once, and says how it is run', async () => {
    const layout = join(base, 'layout');
    const config = {
      Entrypoint: ['/bin/tool'],
      Cmd: ['--help'],
      Env: ['PATH=/bin', 'A=b=c'],
      User: '1000:2000',
      WorkingDir: '/srv',
    };
    await writeLayout(layout, [{ name: 'it', layers: [layer({ path: 'bin/tool', mode: 0o755 })], config }]);
    const images = open(layout);
    const [one, two] = await Promise.all([images.provide('it'), images.provide('it')]);
    expect(one).toEqual(two);
    expect(one).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{64}$/),
      entrypoint: ['/bin/tool'],
      command: ['--help'],
      environment: { PATH: '/bin', A: 'b=c' },
      folder: '/srv',
      userId: 1000,
      groupId: 2000,
    });
    expect(await readdir(join(base, 'images'))).toEqual([one.id]);
    expect(await listOf(join(base, 'images', one.id, 'root'))).toEqual(['bin', 'bin/tool', 'srv']);
  });

  test.each([
    ['', 65_532, 65_532],
    ['0', 65_532, 65_532],
    ['root', 65_532, 65_532],
    ['nobody:nogroup', 65_532, 65_532],
    ['0:0', 65_532, 65_532],
    ['1000', 1000, 1000],
    ['1000:0', 1000, 1000],
    ['70000', 65_532, 65_532],
  ])('runs it as somebody, never as root: %j', async (user, userId, groupId) => {
    const layout = join(base, 'layout');
    await writeLayout(layout, [{ name: 'it', layers: [layer({ path: 'a' })], config: { User: user } }]);
    expect(await open(layout).provide('it')).toMatchObject({ userId, groupId, folder: '/' });
  });

  test('leaves nothing of an image that was refused', async () => {
    const layout = join(base, 'layout');
    await writeLayout(layout, [{ name: 'it', layers: [layer({ path: 'a' }), layer({ path: '../b' })] }]);
    await expect(open(layout).provide('it')).rejects.toMatchObject({ code: 'invalid_image' });
    expect(await readdir(join(base, 'images'))).toEqual([]);
  });
});
