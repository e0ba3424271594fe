import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StepError } from '../../core/step-error.ts';
import type { SandboxExit } from '../sandbox/driver.ts';
import { SandboxLostError } from '../sandbox/types.ts';
import { runUntilKept } from './lost-sandboxes.ts';

const MEBIBYTE = 1_048_576;

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'Date'], fakeNodeBuiltins: true }));
afterEach(() => void vi.useRealTimers());

const lost = (reason: SandboxExit['reason'], wasAlone: boolean): SandboxLostError =>
  new SandboxLostError({ reason, detail: '' }, wasAlone);

/** Runs a step whose sandboxes are lost like this, one after the other; then it succeeds. Time passes by itself. */
async function run(
  losses: readonly Error[],
  { atMostOnce = false, signal = new AbortController().signal } = {},
) {
  const startedAtMs: number[] = [];
  const suspected: boolean[] = [];
  const lines: string[] = [];
  const beganAtMs = Date.now();
  const end = runUntilKept(
    {
      step: { atMostOnce },
      context: { signal, log: (level, message) => void lines.push(`${level} ${message}`) },
      limits: { memoryBytes: 256 * MEBIBYTE, cpus: 1, pids: 200 },
    },
    async (isSuspect) => {
      startedAtMs.push(Date.now() - beganAtMs);
      suspected.push(isSuspect);
      const loss = losses[startedAtMs.length - 1];
      if (loss !== undefined) throw loss;
      return 'done';
    },
  ).catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  return { end: await end, startedAtMs, suspected, lines };
}

describe('a step whose sandbox was lost', () => {
  test('runs again after 1, 2 and 4 s, with nobody beside it', async () => {
    const neighbours = [1, 2, 3].map(() => lost('killed', false));
    const { end, startedAtMs, suspected, lines } = await run(neighbours);
    expect(end).toBe('done');
    expect(startedAtMs).toEqual([0, 1000, 3000, 7000]);
    expect(suspected).toEqual([false, true, true, true]);
    expect(lines).toEqual([
      'warn The sandbox was lost (killed); the step runs again in 1000 ms',
      'warn The sandbox was lost (killed); the step runs again in 2000 ms',
      'warn The sandbox was lost (killed); the step runs again in 4000 ms',
    ]);
  });

  test('fails as `sandbox_lost` at the fourth loss, without blame', async () => {
    const { end, startedAtMs } = await run([1, 2, 3, 4].map(() => lost('exited', false)));
    expect(startedAtMs).toEqual([0, 1000, 3000, 7000]);
    expect(end).toMatchObject({
      code: 'sandbox_lost',
      retryable: true,
      message: 'The sandbox was lost 4 times while the step ran; this is no fault of its code',
    });
  });

  test('does not run again where `atMostOnce` forbids it', async () => {
    const { end, startedAtMs } = await run([lost('exited', false)], { atMostOnce: true });
    expect(startedAtMs).toEqual([0]);
    expect(end).toMatchObject({ code: 'sandbox_lost', message: expect.stringContaining('`atMostOnce`') });
  });

  test('does not run again once it is cancelled', async () => {
    const { end, startedAtMs } = await run([lost('exited', false)], { signal: AbortSignal.abort() });
    expect(startedAtMs).toEqual([0]);
    expect(end).toBeInstanceOf(Error);
  });

  test.each(['out_of_memory', 'process_limit', 'killed'] as const)(
    'by a neighbour (%s) is not blamed for it, however often that happens',
    async (reason) => {
      const { end, startedAtMs } = await run([1, 2, 3].map(() => lost(reason, false)));
      expect([end, startedAtMs.length]).toEqual(['done', 4]);
      const fourth = await run([1, 2, 3, 4].map(() => lost(reason, false)));
      expect(fourth.end).toMatchObject({ code: 'sandbox_lost' });
    },
  );

  test('is not blamed for its own sandbox’s end after a neighbour’s, until it was alone twice', async () => {
    const once = await run([lost('out_of_memory', false), lost('exited', true)]);
    expect(once.end).toBe('done');
    const twice = await run([lost('exited', true), lost('exited', false), lost('killed', true)]);
    expect(twice.startedAtMs).toEqual([0, 1000, 3000]);
    expect(twice.end).toMatchObject({
      code: 'resource_limit',
      retryable: true,
      message: expect.stringMatching(/^The sandbox ended 2 times while this step alone was in it/),
    });
  });

  test('by its own memory fails at once, and says how much it had', async () => {
    const { end, startedAtMs } = await run([lost('out_of_memory', true)]);
    expect(startedAtMs).toEqual([0]);
    expect(end).toMatchObject({
      code: 'out_of_memory',
      retryable: true,
      message: expect.stringMatching(
        /Its sandbox has 256Mi; use less, or raise `resources: \{ memory: … \}`/,
      ),
    });
  });

  test('by its own processes fails at once, and says how many it may have', async () => {
    const { end } = await run([lost('process_limit', true)]);
    expect(end).toMatchObject({
      code: 'resource_limit',
      message: expect.stringMatching(/than the 200 that any sandbox may have.*; start fewer at a time/),
    });
  });
});

test('what is no loss of a sandbox is not repeated', async () => {
  const error = new StepError('code_error', 'its own', { retryable: true });
  const { end, startedAtMs } = await run([error]);
  expect([end, startedAtMs]).toEqual([error, [0]]);
});
