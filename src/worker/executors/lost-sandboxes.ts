import { setTimeout as delay } from 'node:timers/promises';
import type { CompiledStep } from '../../core/definition/types.ts';
import { retryableError, type StepError } from '../../core/step-error.ts';
import { SandboxLostError } from '../sandbox/types.ts';
import type { AttemptContext } from './types.ts';

/** The platform's own retries of an attempt whose sandbox was lost (DESIGN section 6). */
const LOST_RETRY_DELAYS_MS = [1000, 2000, 4000] as const;
/** An attempt that was alone in this many sandboxes when they ended is what ended them. */
const MAX_LOST_ALONE = 2;

/**
 * Runs a step in sandbox after sandbox until one lives long enough to tell how it ended.
 *
 * @param runOnce rejects with a SandboxLostError; is told whether an earlier one was lost, so that nobody else should be
 *   in the next
 * @throws StepError `sandbox_lost`, or what the step did to its sandbox; what `runOnce` throws
 */
export async function runUntilKept<T>(
  step: Pick<CompiledStep, 'atMostOnce'>,
  context: Pick<AttemptContext, 'log' | 'signal'>,
  runOnce: (isSuspect: boolean) => Promise<T>,
): Promise<T> {
  let lostAlone = 0;
  for (let losses = 0; ; losses++) {
    try {
      return await runOnce(losses > 0);
    } catch (raw) {
      if (!(raw instanceof SandboxLostError)) throw raw;
      if (raw.wasAlone) lostAlone++;
      const pauseMs = LOST_RETRY_DELAYS_MS[losses];
      const blamed = blame(raw, lostAlone);
      if (blamed !== undefined) throw blamed;
      if (step.atMostOnce || pauseMs === undefined) throw lostError(raw, losses);
      context.log('warn', `The sandbox was lost (${raw.exit.reason}); the step runs again in ${pauseMs} ms`);
      await delay(pauseMs, undefined, { signal: context.signal });
    }
  }
}

/** The evidence that this attempt, and nothing else, ended its sandbox. */
function blame(lost: SandboxLostError, lostAlone: number): StepError | undefined {
  if (!lost.wasAlone) return undefined;
  if (lost.exit.reason === 'out_of_memory') return retryableError('out_of_memory', OUT_OF_MEMORY);
  if (lost.exit.reason === 'process_limit') {
    return retryableError(
      'resource_limit',
      'The code started more processes or threads than a sandbox may have',
    );
  }
  if (lostAlone < MAX_LOST_ALONE) return undefined;
  return retryableError(
    'resource_limit',
    `The sandbox ended ${lostAlone} times while this step alone was in it; look for what ends processes or uses up memory, disk or processes`,
  );
}

export const OUT_OF_MEMORY =
  'The code needed more memory than its sandbox has; use less, or raise `resources: { memory: … }` of the step';

const lostError = (lost: SandboxLostError, retries: number): StepError =>
  retryableError(
    'sandbox_lost',
    retries === 0
      ? 'The sandbox was lost while the step ran, and `atMostOnce` forbids running it again'
      : `The sandbox was lost ${retries + 1} times while the step ran; this is no fault of its code`,
    { cause: lost },
  );
