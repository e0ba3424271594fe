import { describe, expect, it } from 'vitest';
import type { Bundler } from './bundler.ts';
import { bundleJavascript } from './javascript.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import type { SourceFiles } from './source-files.ts';

const ENTRY = 'export default () => 1;';

/** Says how many files it was given, as the bundle. */
const counting: Bundler = {
  bundle: (_, { files }) =>
    Promise.resolve({
      ok: true,
      code: `${files.size} files`,
      map: '',
      inputs: [],
      specifiers: new Set(),
      warnings: [],
    }),
  close: () => Promise.resolve(),
};

describe('the files that JavaScript can import', () => {
  const bundle = (bytes: number) => {
    const text = 'x'.repeat(bytes - ENTRY.length);
    const files: SourceFiles = new Map(
      Object.entries({ 'a.ts': ENTRY, 'lib/large.json': text, 'lib/module.py': text }).map(
        ([path, content]) => [path, { bytes: Buffer.from(content), text: content }],
      ),
    );
    return bundleJavascript(counting, 'tenant', 'a.ts', files);
  };

  it('may have 20 MiB together, and not a byte more; what it cannot import does not count', async () => {
    expect(await bundle(BUNDLE_LIMITS.sourceBytes)).toMatchObject({ ok: true, code: '2 files' });
    expect(await bundle(BUNDLE_LIMITS.sourceBytes + 1)).toMatchObject({
      ok: false,
      problems: [{ code: 'too_large', message: expect.stringContaining('at most 20 MiB') }],
    });
  });
});
