import { describe, expect, test } from 'vitest';
import { isNotBegun, nextDelayMs, notBegunDelayMs } from './retry.ts';

const exponential = { attempts: 5, backoff: { type: 'exponential', initialMs: 1000, maxMs: 5000 } } as const;

describe('nextDelayMs', () => {
  test.each([
    [1, 0, 500],
    [1, 0.999999, 1000],
    [2, 0, 1000],
    [3, 0.5, 3000],
    [4, 0, 2500],
    [4, 0.999999, 5000],
  ])('after attempt %i with random %d waits %i ms', (failed, random, expected) => {
    expect(nextDelayMs(exponential, failed, random)).toBe(expected);
  });

  test('gives up after the last attempt; the first try counts', () => {
    expect(nextDelayMs(exponential, 5, 0)).toBeUndefined();
    expect(nextDelayMs({ attempts: 1, backoff: { type: 'fixed', delayMs: 1 } }, 1, 0)).toBeUndefined();
  });

  test('a list of delays repeats its last one', () => {
    const policy = { attempts: 9, backoff: { type: 'delays', delaysMs: [10, 20] } } as const;
    expect([1, 2, 3, 4].map((failed) => nextDelayMs(policy, failed, 0.3))).toEqual([10, 20, 20, 20]);
  });

  test('waits at least as long as the other side asks, up to an hour', () => {
    const policy = { attempts: 3, backoff: { type: 'fixed', delayMs: 2000 } } as const;
    expect(nextDelayMs(policy, 1, 0, 7000)).toBe(7000);
    expect(nextDelayMs(policy, 1, 0, 500)).toBe(2000);
    expect(nextDelayMs(policy, 1, 0, 86_400_000)).toBe(3_600_000);
  });

  test('does not overflow however many attempts there were', () => {
    const policy = { attempts: 10_000, backoff: exponential.backoff };
    expect(nextDelayMs(policy, 9000, 0)).toBe(2500);
  });
});

describe('what could not begin', () => {
  const patient = (attempts: number) => ({ attempts, backoff: { type: 'fixed', delayMs: 60_000 } }) as const;

  test('is tried again three times, whatever the step’s policy', () => {
    expect([1, 2, 3, 4].map((times) => notBegunDelayMs(patient(1), times, 0))).toEqual([
      1000,
      2000,
      4000,
      undefined,
    ]);
  });

  test('is tried again as long as a more patient policy says', () => {
    expect([3, 4, 5].map((times) => notBegunDelayMs(patient(5), times, 0))).toEqual([
      4000,
      60_000,
      undefined,
    ]);
  });

  test('is told by its code', () => {
    expect(['no_sandbox', 'sandbox_lost', 'code_error', undefined].map(isNotBegun)).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});
