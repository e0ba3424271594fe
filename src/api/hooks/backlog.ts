import type { Queryable } from '../../core/db/database.ts';
import { queueDepth } from '../../core/executions/claims.ts';

/** Whether so much waits that webhooks are better refused, as far as the last look told. */
export interface BacklogGuard {
  isFull(): boolean;
  start(): void;
  stop(): void;
}

const LOOK_EVERY_MS = 5000;

/** Looks every few seconds, off the path of requests; a look that fails leaves the last answer. */
export function createBacklogGuard(
  db: Queryable,
  maxBacklog: number,
  onError: (raw: unknown) => void,
): BacklogGuard {
  let full = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    try {
      full = (await queueDepth(db, maxBacklog)).depth >= maxBacklog;
    } catch (raw) {
      onError(raw);
    }
    if (timer !== undefined) timer = setTimeout(() => void look(), LOOK_EVERY_MS).unref();
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
