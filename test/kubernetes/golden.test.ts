import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GOLDEN, GOLDEN_FOLDER } from '../../scripts/write-kubernetes-golden.ts';

describe('what Kustomize makes', () => {
  it.each(Object.entries(GOLDEN))(
    '%s is what was committed; `node scripts/write-kubernetes-golden.ts` renews it',
    async (file, text) => {
      expect(await text()).toBe(await readFile(join(GOLDEN_FOLDER, file), 'utf8'));
    },
  );

  it('is all that is kept', async () => {
    expect((await readdir(GOLDEN_FOLDER)).sort()).toEqual(Object.keys(GOLDEN).sort());
  });
});
