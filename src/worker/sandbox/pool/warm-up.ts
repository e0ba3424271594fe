import {
  WARM_UP_INPUT,
  WARM_UP_OUTPUT_BYTES,
  WARM_UP_PAYLOAD,
  WARM_UP_PROGRAMS,
} from '../../../core/sandbox/warm-up-program.ts';
import type { Runtime } from '../driver.ts';
import type { Session } from '../session.ts';

const TIMEOUT_MS = 20_000;

/**
 * Runs a program that does nothing, so that what a runtime loads at first use is there. Only once: runners make slots
 * beyond the first when they are needed, and a spare without them takes a third less memory.
 *
 * @throws when it does not give back what it was given
 */
export async function warmUp(session: Session, runtime: Runtime): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const end = await session.run({
    program: { ...WARM_UP_PROGRAMS[runtime], runtime },
    payload: WARM_UP_PAYLOAD,
    maxOutputBytes: WARM_UP_OUTPUT_BYTES,
    maxLogBytes: 0,
    isolateProcess: false,
    signal,
    onLog: () => undefined,
    fetch: () => Promise.reject(new Error('a warm-up fetches nothing')),
  });
  if (end.type === 'result' && end.output === WARM_UP_INPUT) return;
  throw new Error(
    end.type === 'failed'
      ? `the warm-up failed: ${end.failure}: ${end.detail.message}`
      : 'the warm-up gave back something else',
  );
}
