import { setTimeout as delay } from 'node:timers/promises';
import { formatMemory } from '../../core/definition/quantities.ts';
import type { CompiledStep } from '../../core/definition/types.ts';
import { retryableError, type StepError } from '../../core/step-error.ts';
import type { SandboxLimits } from '../sandbox/driver.ts';
import { SandboxLostError } from '../sandbox/types.ts';
import type { AttemptContext } from './types.ts';

/** The platform's own retries of an attempt whose sandbox was lost (DESIGN section 6). */
const LOST_RETRY_DELAYS_MS = [1000, 2000, 4000] as const;
/** An attempt that was alone in this many sandboxes when they ended is what ended them. */
const MAX_LOST_ALONE = 2;

/** Whose sandbox it is, and what it may use. */
export interface Sandboxed {
  readonly step: Pick<CompiledStep, 'atMostOnce'>;
  readonly context: Pick<AttemptContext, 'log' | 'signal'>;
  readonly limits: SandboxLimits;
}

/**
 * Runs a step in sandbox after sandbox until one lives long enough to tell how it ended.
 *
 * @param runOnce rejects with a SandboxLostError; is told whether an earlier one was lost, so that nobody else should be
 *   in the next
 * @throws StepError `sandbox_lost`, or what the step did to its sandbox; what `runOnce` throws
 */
export async function runUntilKept<T>(
  { step, context, limits }: Sandboxed,
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
      const blamed = blame(raw, lostAlone, limits);
      if (blamed !== undefined) throw blamed;
      if (step.atMostOnce || pauseMs === undefined) throw lostError(raw, losses);
      context.log('warn', `The sandbox was lost (${raw.exit.reason}); the step runs again in ${pauseMs} ms`);
      await delay(pauseMs, undefined, { signal: context.signal });
    }
  }
}

/** The evidence that this attempt, and nothing else, ended its sandbox. */
function blame(lost: SandboxLostError, lostAlone: number, limits: SandboxLimits): StepError | undefined {
  if (!lost.wasAlone) return undefined;
  if (lost.exit.reason === 'out_of_memory') return outOfMemory(limits, 'all of its sandbox was used up');
  if (lost.exit.reason === 'process_limit') {
    return retryableError(
      'resource_limit',
      `The code started more processes or threads than the ${limits.pids} that any sandbox may have, with those of ` +
        'the sandbox itself; start fewer at a time, for `resources` do not raise this limit',
    );
  }
  if (lostAlone < MAX_LOST_ALONE) return undefined;
  return retryableError(
    'resource_limit',
    `The sandbox ended ${lostAlone} times while this step alone was in it; look for what ends processes or uses up memory, disk or processes`,
  );
}

/** @param how which part of the memory was used up, as far as it is known */
export const outOfMemory = ({ memoryBytes }: SandboxLimits, how: string): StepError =>
  retryableError(
    'out_of_memory',
    `The code needed more memory than it may have: ${how}. Its sandbox has ${formatMemory(memoryBytes)}; use less, or ` +
      'raise `resources: { memory: … }` of the step',
  );

const lostError = (lost: SandboxLostError, retries: number): StepError =>
  retryableError(
    'sandbox_lost',
    retries === 0
      ? 'The sandbox was lost while the step ran, and `atMostOnce` forbids running it again'
      : `The sandbox was lost ${retries + 1} times while the step ran; this is no fault of its code`,
    { cause: lost },
  );
