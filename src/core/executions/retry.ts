import type { RetryPolicy } from '../definition/types.ts';

/** A service's `Retry-After` is honoured up to this long. */
const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * The delay in milliseconds before the attempt that follows attempt number `failedAttempt` (1-based), or undefined when
 * there is none left.
 *
 * Exponential: `initial · 2^(n−1)` capped at `max`, of which the upper half is random ("equal jitter", AWS Architecture
 * Blog, Exponential Backoff And Jitter), so that many executions that failed together do not return together. A list of
 * delays repeats its last entry.
 *
 * @param random a number in [0, 1)
 * @param retryAfterMs a lower bound that the other side asked for; capped at one hour
 */
export function nextDelayMs(
  policy: RetryPolicy,
  failedAttempt: number,
  random: number,
  retryAfterMs = 0,
): number | undefined {
  if (failedAttempt >= policy.attempts) return undefined;
  const own = backoffMs(policy, failedAttempt, random);
  return Math.round(Math.max(own, Math.min(retryAfterMs, MAX_RETRY_AFTER_MS)));
}

/** The platform's own retries of an attempt that it could not begin; they are none of the step's (DESIGN section 6). */
const NOT_BEGUN_DELAYS_MS = [1000, 2000, 4000] as const;
const NOT_BEGUN_CODES: readonly string[] = ['no_sandbox'];

/** Whether this failure says that nothing of the step has run, for want of what it runs in. */
export const isNotBegun = (code: string | undefined): boolean =>
  code !== undefined && NOT_BEGUN_CODES.includes(code);

/**
 * The delay before the next attempt at what could not begin `notBegun` times; undefined when there is none left. A step's
 * policy that has more patience than the platform is heeded.
 */
export const notBegunDelayMs = (policy: RetryPolicy, notBegun: number, random: number): number | undefined =>
  NOT_BEGUN_DELAYS_MS[notBegun - 1] ?? nextDelayMs(policy, notBegun, random);

function backoffMs({ backoff }: RetryPolicy, failedAttempt: number, random: number): number {
  switch (backoff.type) {
    case 'fixed':
      return backoff.delayMs;
    case 'exponential': {
      const ceiling = Math.min(backoff.maxMs, backoff.initialMs * 2 ** Math.min(failedAttempt - 1, 40));
      return ceiling / 2 + (ceiling / 2) * random;
    }
    case 'delays':
      return backoff.delaysMs[Math.min(failedAttempt, backoff.delaysMs.length) - 1] ?? 0;
    default:
      return backoff satisfies never;
  }
}
