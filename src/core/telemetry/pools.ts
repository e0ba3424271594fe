import type { Database } from '../db/database.ts';
import type { Metrics } from './metrics.ts';

/**
 * Shows how busy a pool is whenever somebody asks for metrics.
 *
 * @param pool one of few names
 * @returns stops it
 */
export function watchPool(
  { registry, poolConnections }: Pick<Metrics, 'registry' | 'poolConnections'>,
  pool: string,
  db: Pick<Database, 'stats'>,
): () => void {
  const states = ['busy', 'idle', 'waiting'] as const;
  const stop = registry.onPage(() => {
    const { total, idle, waiting } = db.stats();
    poolConnections.set({ pool, state: 'busy' }, total - idle);
    poolConnections.set({ pool, state: 'idle' }, idle);
    poolConnections.set({ pool, state: 'waiting' }, waiting);
  });
  return () => {
    stop();
    for (const state of states) poolConnections.remove({ pool, state });
  };
}
