interface DenoCore {
  /** Whether an operation, a timer or an immediate is under way that keeps this thread's event loop going. */
  eventLoopHasMoreWork(): boolean;
}

/**
 * Tells whether this thread waits for nothing but its next message: nothing of a run is under way that will call code when
 * it is done. To be asked from an immediate: a timer whose callback runs still counts.
 *
 * Deno keeps that for itself; there is no public way. (Its tracing of leaks, made for test runners, misses operations and
 * takes a stack trace of each one that it sees: 1.1 ms for a run that does nothing.) Without it leftovers of a run are not
 * noticed; a test of this folder fails then.
 */
export function createRestDetector(): () => boolean {
  const { Deno } = globalThis as { Deno?: Record<PropertyKey, unknown> & { readonly internal?: symbol } };
  const internal = Deno?.internal === undefined ? undefined : Deno[Deno.internal];
  const core = (internal as { readonly core?: Partial<DenoCore> } | undefined)?.core;
  const { eventLoopHasMoreWork } = core ?? {};
  return eventLoopHasMoreWork === undefined ? () => true : () => !eventLoopHasMoreWork();
}
