import type { Logger } from '../../../core/logger.ts';
import { poolRemedy, type EmptyCause } from '../../../core/sandbox/runner-pool.ts';
import { RUNTIMES, type Runtime } from '../driver.ts';
import { POOLS } from './names.ts';
import type { WarmPools } from './warm-pools.ts';

/** How often the same is said again. */
const AGAIN_MS = 60_000;

interface Empty {
  /** What was said; undefined: nothing yet. Its reason in full may change with each look. */
  readonly cause: EmptyCause | undefined;
  readonly saidAtMs: number;
}

/**
 * Says in one line of the log that no runner waits, and why: at once where that will not pass by itself, else when it is seen
 * twice in a row. The same cause is said again every minute, and the end of it once.
 *
 * @returns what looks once; it throws when the API server does not answer
 */
export function createPoolWatch(deps: {
  readonly pools: Pick<WarmPools, 'look'>;
  /** Of the runners. */
  readonly namespace: string;
  readonly logger: Logger;
  readonly now: () => number;
}): () => Promise<void> {
  const { pools, namespace, logger, now } = deps;
  const empty = new Map<Runtime, Empty>();

  const look = async (runtime: Runtime): Promise<void> => {
    const state = await pools.look(runtime);
    const before = empty.get(runtime);
    const pool = POOLS[runtime];
    if (state.type === 'well') {
      empty.delete(runtime);
      if (before?.cause !== undefined) logger.info({ pool }, 'the warm pool has runners again');
      return;
    }
    const { reason, cause, mayPass } = state;
    const isFirst = before === undefined;
    const isSaid = before?.cause === cause && now() - before.saidAtMs < AGAIN_MS;
    if ((isFirst && mayPass) || isSaid) {
      empty.set(runtime, before ?? { cause: undefined, saidAtMs: 0 });
      return;
    }
    empty.set(runtime, { cause, saidAtMs: now() });
    logger.warn(
      { pool, namespace, reason, remedy: poolRemedy(cause, namespace) },
      'no runner of the warm pool is ready',
    );
  };
  return async function lookAtPools() {
    for (const runtime of RUNTIMES) await look(runtime);
  };
}
