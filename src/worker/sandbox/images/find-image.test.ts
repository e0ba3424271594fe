import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  hostArchitecture,
  makeTar,
  named,
  writeIndex,
  writeLayout,
  writeNestedIndex,
  type ImageSource,
} from '../../../../test/support/oci-layout.ts';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { findImage } from './find-image.ts';

let folder: string;
beforeEach(async () => {
  folder = await makeTempDirectory();
});

const image = (content: string, more: Partial<ImageSource> = {}): ImageSource => ({
  layers: [{ tar: makeTar([{ path: 'a', content }]) }],
  ...more,
});
const TOOL = 'ghcr.io/acme/tool:1.2';

describe('an image is found', () => {
  test('by the name it was copied with, in a folder that is one layout', async () => {
    const [, wanted] = await writeLayout(folder, [image('1', { name: 'other' }), image('2', { name: TOOL })]);
    expect(await findImage(folder, TOOL)).toMatchObject({ layout: folder, digest: wanted!.digest });
  });

  test('in one of several layouts, beside what is none', async () => {
    await writeLayout(join(folder, 'one'), [image('1', { name: 'one' })]);
    const [wanted] = await writeLayout(join(folder, 'two'), [image('2', { name: TOOL })]);
    await writeFile(join(folder, 'README'), '');
    expect(await findImage(folder, TOOL)).toMatchObject({
      layout: join(folder, 'two'),
      digest: wanted!.digest,
    });
  });

  test('by its digest, whatever its name and tag', async () => {
    const [wanted] = await writeLayout(folder, [image('1')]);
    expect(await findImage(folder, `ghcr.io/acme/tool@${wanted!.digest}`)).toMatchObject({
      digest: wanted!.digest,
    });
    expect(await findImage(folder, `${TOOL}@${wanted!.digest}`)).toMatchObject({ digest: wanted!.digest });
  });

  test('by the name that containerd and BuildKit give it', async () => {
    const [wanted] = await writeLayout(folder, [image('1')]);
    await writeIndex(folder, [{ ...wanted!, annotations: { 'io.containerd.image.name': TOOL } }]);
    expect(await findImage(folder, TOOL)).toMatchObject({ digest: wanted!.digest });
  });

  test('for this machine among several platforms, though the others were not copied', async () => {
    const [mine, other] = await writeLayout(folder, [image('1'), image('2', { architecture: 'mips' })]);
    const index = await writeNestedIndex(folder, [
      { ...other!, platform: { os: 'linux', architecture: 'mips' } },
      { ...mine!, platform: { os: 'linux', architecture: hostArchitecture } },
      { ...mine!, digest: `sha256:${'0'.repeat(64)}`, platform: { os: 'unknown', architecture: 'unknown' } },
    ]);
    await writeIndex(folder, [named(index, TOOL)]);
    expect(await findImage(folder, TOOL)).toMatchObject({ digest: mine!.digest });
    expect(await findImage(folder, `x@${index.digest}`)).toMatchObject({ digest: mine!.digest });
    await rm(join(folder, 'blobs', ...other!.digest.split(':')));
    expect(await findImage(folder, TOOL)).toMatchObject({ digest: mine!.digest });
  });

  test('when two layouts hold the same one', async () => {
    await writeLayout(join(folder, 'one'), [image('1', { name: TOOL })]);
    await writeLayout(join(folder, 'two'), [image('1', { name: TOOL })]);
    expect(await findImage(folder, TOOL)).toMatchObject({ layout: join(folder, 'one') });
  });
});

describe('image_not_found', () => {
  const refused = async (reference: string, where: string | undefined = folder): Promise<string> => {
    const error: unknown = await findImage(where, reference).catch((raw: unknown) => raw);
    expect(error).toMatchObject({ code: 'image_not_found', retryable: false });
    return (error as Error).message;
  };

  test('says how to copy the image', async () => {
    await writeLayout(folder, [image('1', { name: 'other' })]);
    expect(await refused(TOOL)).toMatch(
      `\`skopeo copy docker://${TOOL} oci:$SANDBOX_IMAGES_DIR/tool:${TOOL}\``,
    );
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(await refused(`${TOOL}@${digest}`)).toMatch(
      `\`skopeo copy --all docker://ghcr.io/acme/tool@${digest} oci:$SANDBOX_IMAGES_DIR/tool\``,
    );
  });

  test('says when no folder was given, or it cannot be read', async () => {
    const error: unknown = await findImage(undefined, TOOL).catch((raw: unknown) => raw);
    expect(error).toMatchObject({ code: 'image_not_found', message: expect.stringMatching(/no folder/) });
    expect(await refused(TOOL, join(folder, 'nothing'))).toMatch(/cannot be read \(ENOENT/);
  });

  test('takes a name as it is written', async () => {
    await writeLayout(folder, [image('1', { name: TOOL })]);
    await refused('ghcr.io/acme/tool');
    await refused('tool:1.2');
  });

  test('names the platforms that are there', async () => {
    await writeLayout(folder, [image('1', { name: TOOL, architecture: 'mips' })]);
    expect(await refused(TOOL)).toMatch(
      `there for linux/mips, and this worker needs linux/${hostArchitecture}`,
    );
  });

  test('does not choose between different images of one name', async () => {
    await writeLayout(join(folder, 'one'), [image('1', { name: TOOL })]);
    await writeLayout(join(folder, 'two'), [image('2', { name: TOOL })]);
    expect(await refused(TOOL)).toMatch(/several images of this name \(sha256:\w+, sha256:\w+\)/);
  });
});

describe('invalid_image', () => {
  test.each<[string, (blob: string) => Promise<void>, RegExp]>([
    ['a manifest that was changed', (blob) => writeFile(blob, '{}'), /damaged/],
    ['a manifest that was cut off', (blob) => truncate(blob, 10), /damaged/],
    ['a manifest of 5 MiB', (blob) => truncate(blob, 5 * 1_048_576), /manifest of 5242880 bytes/],
  ])('is said of %s', async (_, damage, message) => {
    const [blob] = await writeLayout(folder, [image('1', { name: TOOL })]);
    await damage(join(folder, 'blobs', ...blob!.digest.split(':')));
    const error: unknown = await findImage(folder, TOOL).catch((raw: unknown) => raw);
    expect(error).toMatchObject({ code: 'invalid_image', message: expect.stringMatching(message) });
  });

  test('is said of a name without its blob, and of an index that is none', async () => {
    const [blob] = await writeLayout(folder, [image('1', { name: TOOL })]);
    await rm(join(folder, 'blobs', ...blob!.digest.split(':')));
    await expect(findImage(folder, TOOL)).rejects.toMatchObject({ code: 'invalid_image' });
    await writeFile(join(folder, 'index.json'), '{"schemaVersion":2,"manifests":[{}]}');
    await expect(findImage(folder, TOOL)).rejects.toThrow(/index\.json that cannot be read: manifests\.0/);
  });
});
