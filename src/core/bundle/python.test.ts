import { describe, expect, it } from 'vitest';
import { BUNDLE_LIMITS } from './limits.ts';
import { checkWheels, pythonProgram } from './python.ts';
import type { SourceFile, SourceFiles } from './source-files.ts';
import { pythonTarget } from './wheel-name.ts';

const bytesOf = (bytes: Uint8Array): SourceFile => ({ bytes, text: undefined });
const textOf = (text: string): SourceFile => ({ bytes: Buffer.from(text), text });
const RUN = 'def run(ctx, input):\n    pass\n';

describe('the wheels of a workflow', () => {
  const check = async (...sizes: readonly number[]) => {
    const wheels = sizes.map((size, n): [string, SourceFile] => [
      `wheels/p${n}-1-py3-none-any.whl`,
      bytesOf(new Uint8Array(size)),
    ]);
    const { problems } = await checkWheels(new Map(wheels), pythonTarget('x86_64'));
    return problems.map(({ code, message }) => ({ code, message }));
  };
  const half = BUNDLE_LIMITS.wheelBytes / 2;

  it('may have 50 MiB together, and not a byte more', async () => {
    expect(await check(half, half)).not.toContainEqual(expect.objectContaining({ code: 'too_large' }));
    expect(await check(half, half + 1)).toEqual([
      { code: 'too_large', message: 'the wheels have 50 MiB; at most 50 MiB are allowed' },
    ]);
  });
});

describe('the Python modules of a workflow', () => {
  const check = (bytes: number) => {
    const files: SourceFiles = new Map([
      ['a.py', textOf(RUN)],
      ['lib/large.py', textOf('#'.repeat(bytes - RUN.length))],
      ['note.txt', textOf('#'.repeat(bytes))],
    ]);
    return pythonProgram('a.py', files);
  };

  it('may have 5 MiB together, and not a byte more', () => {
    expect(check(BUNDLE_LIMITS.pythonBytes)).toMatchObject({ program: { entry: 'a.py' } });
    expect(check(BUNDLE_LIMITS.pythonBytes + 1)).toMatchObject({
      problems: [{ code: 'too_large', message: expect.stringContaining('at most 5 MiB') }],
    });
  });
});
