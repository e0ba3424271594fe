import v8 from 'node:v8';

/**
 * Tells whether this thread has met its heap's limit.
 *
 * Deno then raises the limit and ends what runs, and the thread with it; but when that was a callback of a promise, the
 * thread goes on without it, and the code waits forever. The limit that was raised tells.
 */
export function createMemoryCheck(): () => boolean {
  const limit = v8.getHeapStatistics().heap_size_limit;
  return () => v8.getHeapStatistics().heap_size_limit > limit;
}
