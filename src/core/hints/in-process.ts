import type { Metrics } from '../telemetry/metrics.ts';
import type { HintConsumer, HintPublisher } from './types.ts';

/**
 * Hints within one process: the embedded platform's, which has no Redis.
 *
 * @param capacity hints held at most; the rest is dropped and found by polling
 */
export function createInProcessHints(
  metrics: Pick<Metrics, 'hints'>,
  options: { readonly capacity: number; readonly concurrency: number },
): HintPublisher & HintConsumer {
  const waiting = new Set<string>();
  let active = 0;
  let handle: ((executionId: string) => Promise<void>) | undefined;
  const inFlight = new Set<Promise<void>>();

  const pump = (): void => {
    const onHint = handle;
    if (onHint === undefined) return;
    for (const executionId of waiting) {
      if (active >= options.concurrency) return;
      waiting.delete(executionId);
      active++;
      const work = onHint(executionId).finally(() => {
        active--;
        inFlight.delete(work);
        pump();
      });
      inFlight.add(work);
    }
  };

  return {
    publish(hints) {
      for (const { executionId, span } of hints) {
        span?.child('hint.publish', { kind: 'producer' }).end();
        if (waiting.size >= options.capacity) {
          metrics.hints.inc({ outcome: 'dropped' });
          continue;
        }
        waiting.add(executionId);
        metrics.hints.inc({ outcome: 'published' });
      }
      if (waiting.size > 0) setImmediate(pump);
    },
    healthy: () => handle !== undefined,
    close: async () => {},
    async start(onHint) {
      handle = onHint;
      pump();
    },
    async stop() {
      handle = undefined;
      await Promise.allSettled(inFlight);
    },
  };
}
