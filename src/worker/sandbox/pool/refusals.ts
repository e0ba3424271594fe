import { retryableError, type StepError } from '../../../core/step-error.ts';
import type { DriverDescription, NoDriver, Runtime } from '../driver.ts';
import type { Member } from './member.ts';
import type { PoolBounds, Wish } from './state.ts';

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1_048_576)} MiB`;

export const noDriver = ({ reason, remedy }: NoDriver): StepError =>
  retryableError('no_sandbox', `This worker has no sandbox for code steps: ${reason} ${remedy}`);

export const noRuntime = (runtime: Runtime, { driver }: DriverDescription): StepError =>
  retryableError(
    'no_sandbox',
    runtime === 'python'
      ? `The ${driver} sandboxes of this worker have no Python. Install Python 3.11 or later and start it again.`
      : `The ${driver} sandboxes of this worker have no Deno. Install its npm packages with \`npm ci\` and start it again.`,
  );

export const tooLarge = (wish: Wish, budgetBytes: number): StepError =>
  retryableError(
    'no_sandbox',
    `The step asks for ${mebibytes(wish.limits.memoryBytes)}, and all sandboxes of this worker together have ` +
      `${mebibytes(budgetBytes)}. Ask for less in \`resources\`, or raise SANDBOX_MEMORY_BUDGET_BYTES.`,
  );

export const closing = (): StepError =>
  retryableError('no_sandbox', 'This worker is stopping and starts nothing any more; another one goes on.');

export const notOpen = (timeoutMs: number): StepError =>
  retryableError('no_sandbox', `The sandboxes of this worker were not ready within ${timeoutMs} ms.`);

/** Says what is full, and how to raise it. */
export function timedOut(
  wish: Wish,
  timeoutMs: number,
  members: readonly Member[],
  bounds: PoolBounds,
  doStartsFail: boolean,
): StepError {
  const before = `No place in a sandbox became free within ${timeoutMs} ms: `;
  if (doStartsFail) {
    return retryableError('no_sandbox', `${before}none can be started. The worker's log says why.`);
  }
  const own = members.filter(
    ({ owner, phase }) => owner?.key === wish.owner.key && phase !== 'ending',
  ).length;
  if (own >= bounds.maxPerOwner) {
    return retryableError(
      'no_sandbox',
      `${before}all ${own} sandboxes that this version of the workflow may have on one worker are busy. ` +
        'Make its steps shorter, limit its `concurrency`, or run more workers.',
    );
  }
  const used = members.reduce((sum, { cost }) => sum + cost, 0);
  return retryableError(
    'no_sandbox',
    `${before}${members.length} sandboxes hold ${mebibytes(used)} of ${mebibytes(bounds.budgetBytes)}, and ` +
      `${mebibytes(wish.cost)} are needed. Raise SANDBOX_MEMORY_BUDGET_BYTES, or run more workers.`,
  );
}
