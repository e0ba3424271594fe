import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** What is waited for, said when it does not come. */
  readonly what?: string;
}

/**
 * Calls `probe` until it gives something other than undefined, null or false, and returns that. A probe that throws is
 * asked again; the last error is the cause of the failure.
 */
export async function waitFor<T>(
  probe: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, undefined | null | false>> {
  const { timeoutMs = 10_000, intervalMs = 20, what = 'the condition' } = options;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) {
        return value as Exclude<T, undefined | null | false>; // just checked
      }
      last = undefined;
    } catch (raw) {
      last = raw;
    }
    if (performance.now() > deadline) {
      throw new Error(
        `Waited ${timeoutMs} ms in vain for ${what}`,
        last === undefined ? undefined : { cause: last },
      );
    }
    await delay(intervalMs);
  }
}
