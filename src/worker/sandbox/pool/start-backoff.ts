import type { Logger } from '../../../core/logger.ts';

const FIRST_DELAY_MS = 1000;
const MAX_DELAY_MS = 60_000;

/** Keeps starts that fail from being tried again and again; one for each kind of sandbox. */
export interface StartBackoff {
  failed(kind: string, error: Error): void;
  succeeded(kind: string): void;
  /** When the next try is due; 0 when nothing is wrong. */
  notBeforeMs(kind: string): number;
}

/** The log hears of the first failure and of the first success after it, not of each try. */
export function createStartBackoff(logger: Logger, now: () => number): StartBackoff {
  const failures = new Map<string, { readonly count: number; readonly untilMs: number }>();
  return {
    failed(kind, error) {
      const count = (failures.get(kind)?.count ?? 0) + 1;
      if (count === 1) logger.warn({ err: error, kind }, 'a sandbox could not be started; trying less often');
      const untilMs = now() + Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(count - 1, 16));
      failures.set(kind, { count, untilMs });
    },
    succeeded(kind) {
      if (failures.delete(kind)) logger.info({ kind }, 'sandboxes start again');
    },
    notBeforeMs: (kind) => failures.get(kind)?.untilMs ?? 0,
  };
}
