import { expect, test, vi } from 'vitest';
import type { Logger } from '../../../core/logger.ts';
import type { EmptyPool, PoolState } from '../../../core/sandbox/runner-pool.ts';
import { createPoolWatch } from './pool-watch.ts';

const WELL: PoolState = { type: 'well', ready: 2, wanted: 2 };
const empty = (reason: string, mayPass: boolean): EmptyPool => ({
  type: 'empty',
  cause: mayPass ? 'starting' : 'runtime_class',
  reason,
  mayPass,
});
const NO_CLASS = empty('pod rejected: RuntimeClass "gvisor" not found', false);
const STARTING = empty('runner-1: it is starting', true);

/** What the log has of the pool for JavaScript after each look; the other is well. */
function setUp() {
  const facts: { state: PoolState; nowMs: number } = { state: WELL, nowMs: 0 };
  const warn = vi.fn();
  const info = vi.fn();
  const look = createPoolWatch({
    pools: { look: async (runtime) => (runtime === 'javascript' ? facts.state : WELL) },
    namespace: 'runners',
    logger: { warn, info } as unknown as Logger,
    now: () => facts.nowMs,
  });
  return { facts, warn, info, look };
}

test('says at once what will not pass, why, and what to do', async () => {
  const { facts, warn, look } = setUp();
  facts.state = NO_CLASS;
  await look();
  expect(warn.mock.calls).toEqual([
    [
      {
        pool: 'runner-warm-pool',
        namespace: 'runners',
        reason: 'pod rejected: RuntimeClass "gvisor" not found',
        remedy: expect.stringContaining('kubectl apply -k deployments/kubernetes/cluster'),
      },
      'no runner of the warm pool is ready',
    ],
  ]);
});

test('says the same cause again every minute, however it is worded, and another one at once', async () => {
  const { facts, warn, look } = setUp();
  facts.state = NO_CLASS;
  await look();
  facts.nowMs = 59_999;
  facts.state = empty('the same in other words', false);
  await look();
  expect(warn).toHaveBeenCalledTimes(1);
  facts.nowMs = 60_000;
  await look();
  expect(warn).toHaveBeenCalledTimes(2);
  facts.state = { ...NO_CLASS, cause: 'quota' };
  await look();
  expect(warn).toHaveBeenCalledTimes(3);
});

test('gives a pool that starts, or was emptied just now, until the next look', async () => {
  const { facts, warn, info, look } = setUp();
  facts.state = STARTING;
  await look();
  facts.state = WELL;
  await look();
  facts.state = STARTING;
  await look();
  expect(warn).not.toHaveBeenCalled();
  expect(info).not.toHaveBeenCalled();
  await look();
  expect(warn).toHaveBeenCalledTimes(1);
});

test('says once that there are runners again', async () => {
  const { facts, info, look } = setUp();
  facts.state = NO_CLASS;
  await look();
  facts.state = WELL;
  await look();
  await look();
  expect(info.mock.calls).toEqual([[{ pool: 'runner-warm-pool' }, 'the warm pool has runners again']]);
});
