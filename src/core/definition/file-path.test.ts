import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  CODE_EXTENSIONS,
  filePathPattern,
  filePathProblem,
  isFilePath,
  languageOf,
  MAX_FILE_PATH_LENGTH,
} from './file-path.ts';

test.each(['a', 'a/b.ts', '.hidden/b', '..a/b..', 'a b/ü.py', '@scope/x', 'd'.repeat(MAX_FILE_PATH_LENGTH)])(
  '%j is the path of a file',
  (path) => {
    expect(isFilePath(path)).toBe(true);
  },
);

test.each([
  '',
  '.',
  '..',
  '/a',
  'a/',
  'a//b',
  './a',
  'a/.',
  'a/../b',
  '../a',
  'a\\b',
  'C:a',
  'a\0',
  'a\n',
  'd'.repeat(256),
])('%j is none', (path) => {
  expect(isFilePath(path)).toBe(false);
});

/** Texts that come near to paths. */
const pathish = fc
  .array(fc.constantFrom('a', '.', '..', '/', '.ts', '.py', '\\', ':', ' ', '~', '${{', '\n', 'ü'), {
    maxLength: 8,
  })
  .map((parts) => parts.join(''));

test('whatever is taken as the path of code is one, has a language, and matches the pattern', () => {
  const pattern = filePathPattern(CODE_EXTENSIONS);
  fc.assert(
    fc.property(pathish, (text) => {
      if (filePathProblem(text, CODE_EXTENSIONS, 'a.ts') !== undefined) return;
      expect(isFilePath(text)).toBe(true);
      expect(languageOf(text)).toBeDefined();
      expect(text).toMatch(pattern);
    }),
    { numRuns: 2000 },
  );
});

test('what the pattern takes leads nowhere else', () => {
  const pattern = filePathPattern(CODE_EXTENSIONS);
  fc.assert(
    fc.property(pathish, (text) => {
      if (pattern.test(text)) expect(isFilePath(text)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});
