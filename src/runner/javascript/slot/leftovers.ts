interface DenoCore {
  setLeakTracingEnabled(isEnabled: boolean): void;
  /** What this thread waits for (operations of the runtime and its timers), one entry each. */
  getAllLeakTraces(): Iterable<unknown> & { readonly size?: number };
}

/**
 * Tells whether this thread waits for nothing but its next message: nothing of a run is under way that will call code when
 * it is done.
 *
 * Deno counts that for its test runner, which finds leaking tests with it; there is no public way. Without it leftovers of
 * a run are not noticed; a test of this folder fails then.
 */
export function createRestDetector(): () => boolean {
  const { Deno } = globalThis as { Deno?: Record<PropertyKey, unknown> & { readonly internal?: symbol } };
  const internal = Deno?.internal === undefined ? undefined : Deno[Deno.internal];
  const core = (internal as { readonly core?: Partial<DenoCore> } | undefined)?.core;
  const { setLeakTracingEnabled, getAllLeakTraces } = core ?? {};
  if (setLeakTracingEnabled === undefined || getAllLeakTraces === undefined) return () => true;
  setLeakTracingEnabled(true);
  return () => [...getAllLeakTraces()].length <= 1;
}
