import { describe, expect, test } from 'vitest';
import { sandboxLimits } from './sandbox-limits.ts';

const MEBIBYTE = 1_048_576;
const USUAL = { memoryBytes: 256 * MEBIBYTE, cpus: 1, pids: 200 };
const ANYTHING = { isSingleUse: false, maxMemoryBytes: undefined, maxCpus: undefined };
const NOTHING = { memoryBytes: undefined, cpus: undefined };

describe('the limits of a sandbox', () => {
  test('are the usual ones of the worker, or what the step asks for', () => {
    expect(sandboxLimits(NOTHING, USUAL, ANYTHING)).toEqual(USUAL);
    expect(sandboxLimits({ memoryBytes: 512 * MEBIBYTE, cpus: 2 }, USUAL, ANYTHING)).toEqual({
      memoryBytes: 512 * MEBIBYTE,
      cpus: 2,
      pids: 200,
    });
  });

  test('may be all that the tenant may have', () => {
    const asked = { memoryBytes: 512 * MEBIBYTE, cpus: 2 };
    const rules = { ...ANYTHING, maxMemoryBytes: 512 * MEBIBYTE, maxCpus: 2 };
    expect(sandboxLimits(asked, USUAL, rules)).toEqual({ ...asked, pids: 200 });
    expect(sandboxLimits(NOTHING, USUAL, rules)).toEqual(USUAL);
  });

  test('of a step that asks for nothing are cut to what the tenant may have', () => {
    const rules = { ...ANYTHING, maxMemoryBytes: 128 * MEBIBYTE, maxCpus: 0.5 };
    expect(sandboxLimits(NOTHING, USUAL, rules)).toEqual({
      memoryBytes: 128 * MEBIBYTE,
      cpus: 0.5,
      pids: 200,
    });
  });

  test.each([
    ['memory', { ...NOTHING, memoryBytes: 512 * MEBIBYTE }, { ...ANYTHING, maxMemoryBytes: 384 * MEBIBYTE }],
    ['cpu', { ...NOTHING, cpus: 1.5 }, { ...ANYTHING, maxCpus: 0.5 }],
  ])('are refused when the step asks for more %s than the tenant may have by now', (key, needs, rules) => {
    expect(() => sandboxLimits(needs, USUAL, rules)).toThrow(
      expect.objectContaining({
        code: 'resource_limit',
        retryable: false,
        message: expect.stringMatching(
          key === 'memory'
            ? /`resources: \{ memory: 512Mi \}`.* 384Mi at most.*Ask for less.*maximum raised/
            : /`resources: \{ cpu: 1\.5 \}`.* 0\.5 at most.*Ask for less.*maximum raised/,
        ),
      }),
    );
  });
});
