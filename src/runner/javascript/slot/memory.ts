import v8 from 'node:v8';
// oxlint-disable-next-line no-restricted-imports -- no host code: this runs inside the sandbox
import vm from 'node:vm';

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

/** Gives back what starting took: slots wait for work, and their memory is counted meanwhile. */
export function collectGarbage(): void {
  v8.setFlagsFromString('--expose-gc');
  const collect: unknown = vm.runInContext('globalThis.gc', vm.createContext(vm.constants.DONT_CONTEXTIFY));
  v8.setFlagsFromString('--no-expose-gc'); // contexts made from now on are without it
  if (typeof collect === 'function') collect();
}
