import { expect, it } from 'vitest';
import { BUNDLE_LIMITS } from './limits.ts';
import { readSourceFiles } from './source-files.ts';

const filesOf = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`lib/f${n}.ts`, 'export {};']));

it('a deployment may have 2,000 files, and not one more', () => {
  const allowed = readSourceFiles(filesOf(BUNDLE_LIMITS.files));
  expect([allowed.files.size, allowed.problems]).toEqual([2000, []]);
  const { files, problems } = readSourceFiles(filesOf(BUNDLE_LIMITS.files + 1));
  expect(files.size).toBe(0);
  expect(problems).toMatchObject([
    { code: 'too_large', message: 'there are 2001 files; at most 2000 are allowed' },
  ]);
});
