import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { makeZip, type ZipMember } from '../../../test/support/zip.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { newUnpackBudget, readWheel, WheelArchiveError } from './wheel-archive.ts';

async function unpack(
  archive: Uint8Array,
  budget = newUnpackBudget(),
): Promise<Readonly<Record<string, string>>> {
  const files: Record<string, string> = {};
  for await (const entry of readWheel(archive, budget)) {
    files[entry.path] = (await buffer(await entry.open())).toString();
  }
  return files;
}
const refusal = async (...members: readonly ZipMember[]): Promise<string> => {
  const raw: unknown = await unpack(makeZip(members)).catch((error: unknown) => error);
  expect(raw).toBeInstanceOf(WheelArchiveError);
  return (raw as WheelArchiveError).message;
};

describe('readWheel', () => {
  it('gives what Python imports, with what lies in purelib and platlib', async () => {
    const archive = makeZip([
      { path: 'pkg/__init__.py', content: 'x = 1' },
      { path: 'pkg/', content: '', mode: 0o40755 },
      { path: 'pkg-1.0.dist-info/METADATA', content: 'Name: pkg' },
      { path: 'pkg-1.0.data/purelib/pure.py', content: 'pure' },
      { path: 'pkg-1.0.data/platlib/native/ext.so', content: 'native' },
      { path: 'pkg-1.0.data/scripts/run', content: 'script' },
      { path: 'pkg-1.0.data/data/etc/conf', content: 'data' },
    ]);
    expect(await unpack(archive)).toEqual({
      'pkg/__init__.py': 'x = 1',
      'pkg-1.0.dist-info/METADATA': 'Name: pkg',
      'pure.py': 'pure',
      'native/ext.so': 'native',
    });
  });

  it.each([
    ['../evil.py'],
    ['pkg/../../evil.py'],
    ['/etc/evil.py'],
    ['C:/evil.py'],
    ['pkg\\..\\evil.py'],
    ['pkg//evil.py'],
    ['pkg/./evil.py'],
    ['pkg/e\u0007vil.py'],
    ['pkg-1.0.data/purelib/../../evil.py'],
  ])('refuses the path %j', async (path) => {
    expect(await refusal({ path, content: 'evil' })).toMatch(/path|directory cannot be read/);
  });

  it('refuses a symbolic link', async () => {
    expect(await refusal({ path: 'pkg/link', content: '/etc/passwd', mode: 0o120777 })).toContain(
      'symbolic link',
    );
  });

  it('refuses more files, or more bytes, than allowed, before it inflates them', async () => {
    const many = Array.from({ length: BUNDLE_LIMITS.unpackedFiles + 1 }, (_, index) => ({
      path: `f${index}`,
      content: '',
    }));
    expect(await refusal(...many)).toContain('more than 20000 files');
    expect(await refusal({ path: 'bomb', content: 'x', claimedBytes: 600 * 1024 * 1024 })).toContain(
      'more than 500 MiB',
    );
  });

  it('ends the stream of a file that is larger than it claims', async () => {
    const archive = makeZip([{ path: 'bomb', content: 'x'.repeat(1_000_000), claimedBytes: 10 }]);
    await expect(unpack(archive)).rejects.toThrow(/too many bytes/);
  });

  it('refuses what is no archive, or half of one', async () => {
    const whole = makeZip([{ path: 'a.py', content: 'a'.repeat(100) }]);
    for (const bytes of [Buffer.from('nonsense'), Buffer.alloc(0), whole.subarray(0, whole.length - 30)]) {
      await expect(unpack(bytes)).rejects.toThrow(WheelArchiveError);
    }
  });
});
