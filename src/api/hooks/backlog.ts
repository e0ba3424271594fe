import type { Queryable } from '../../core/db/database.ts';
import { queueDepth } from '../../core/executions/claims.ts';

/** Whether so much waits that webhooks are better refused, as far as the last look told. */
export interface BacklogGuard {
  isFull(): boolean;
  start(): void;
  stop(): void;
}

const LOOK_EVERY_MS = 5000;
const PAUSES_PER_LOOK = 20;

/** Looks every few seconds, off the path of requests; a look that fails leaves the last answer. */
export function createBacklogGuard(
  db: Queryable,
  maxBacklog: number,
  onError: (raw: unknown) => void,
): BacklogGuard {
  let full = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const startedAtMs = performance.now();
    try {
      full = (await queueDepth(db, maxBacklog)).depth >= maxBacklog;
    } catch (raw) {
      onError(raw);
    }
    // A long backlog takes a while to count, so it is counted less often: PostgreSQL is to have time for other things.
    const pauseMs = Math.max(LOOK_EVERY_MS, (performance.now() - startedAtMs) * PAUSES_PER_LOOK);
    if (timer !== undefined) timer = setTimeout(() => void look(), pauseMs).unref();
  };
  return {
    isFull: () => full,
    start() {
      if (timer !== undefined) return;
      timer = setTimeout(() => void look(), 0).unref();
    },
    stop() {
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
