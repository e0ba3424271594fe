import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseVersion, readModuleVersion } from './find-runsc.ts';

describe('the version of a runsc', () => {
  it.for([
    ['runsc version release-20260914.0\nspec: 1.2.1\n', 'release-20260914.0'],
    ['runsc version 0.0~20221219.0-2+b3\nspec: 1.1.0\n', '0.0~20221219.0-2+b3'],
    ['runsc version VERSION_MISSING\nspec: 1.2.1\n', undefined],
    ['something else of 20260914\n', undefined],
    ['', undefined],
  ] as const)('%j gives %s', ([printed, version]) => {
    expect(parseVersion(printed)).toBe(version);
  });

  it.for([0, 8_388_600, 8_388_608, 20_000_000])(
    'is read from what Go writes into a program, %i bytes into it',
    async (offset) => {
      const folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
      const file = join(folder, 'runsc');
      const info = 'mod\tgvisor.dev/gvisor\tv0.0.0-20260905035102-160fafc42237\th1:abc=\n';
      await writeFile(
        file,
        Buffer.concat([Buffer.alloc(offset, 'x'), Buffer.from(info), Buffer.alloc(1000)]),
      );
      expect(await readModuleVersion(file)).toBe('v0.0.0-20260905035102-160fafc42237');
      await writeFile(file, Buffer.alloc(offset + 100, 'x'));
      expect(await readModuleVersion(file)).toBeUndefined();
      await rm(folder, { recursive: true });
    },
  );
});
