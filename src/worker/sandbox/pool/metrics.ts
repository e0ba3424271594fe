import type { Metrics } from '../../../core/telemetry/metrics.ts';
import type { Entry } from './state.ts';

export type PoolMetrics = Pick<
  Metrics,
  'sandboxClaim' | 'sandboxPoolSize' | 'sandboxLosses' | 'sandboxRecycled'
>;

/** @param elsewhere spares that wait for every worker, beside those of this one */
export function observePoolSize(
  { sandboxPoolSize }: PoolMetrics,
  entries: readonly Entry[],
  elsewhere = 0,
): void {
  const states = { spare: elsewhere, starting: 0, idle: 0, busy: 0 };
  for (const { phase, used } of entries) {
    if (phase === 'spare' || phase === 'starting') states[phase]++;
    else if (used > 0) states.busy++;
    else if (phase === 'kept') states.idle++;
  }
  for (const [state, count] of Object.entries(states)) sandboxPoolSize.set({ state }, count);
}
