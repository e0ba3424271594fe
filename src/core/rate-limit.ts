/** A limit of events a second for each of many keys. */
export interface RateLimiter {
  /** Takes one of `key`'s; false when it has none left. */
  take(key: string): boolean;
}

const UNLIMITED: RateLimiter = { take: () => true };
const MAX_KEYS = 20_000;

/**
 * Token buckets that hold one second's worth.
 *
 * @param perSecond 0 is no limit
 * @param now monotonic milliseconds
 */
export function createRateLimiter(
  perSecond: number,
  now: () => number = () => performance.now(),
): RateLimiter {
  if (perSecond === 0) return UNLIMITED;
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(key) {
      const nowMs = now();
      let bucket = buckets.get(key);
      if (bucket === undefined) {
        // A full bucket says the same as none, so the oldest may go.
        if (buckets.size >= MAX_KEYS) buckets.delete(buckets.keys().next().value as string); // not empty
        buckets.set(key, (bucket = { tokens: perSecond, atMs: nowMs }));
      }
      bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * perSecond);
      bucket.atMs = nowMs;
      if (bucket.tokens < 1) return false;
      bucket.tokens--;
      return true;
    },
  };
}
