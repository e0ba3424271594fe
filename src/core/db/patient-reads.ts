import { setTimeout as delay } from 'node:timers/promises';
import { coerceError, errorCodeOf } from '../errors/app-error.ts';
import type { Queryable } from './database.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;
/** SQLSTATE classes that mean that what was asked is wrong, not that the database is gone: data, integrity, syntax. */
const REFUSED = /^(22|23|42)/;

/** Whether PostgreSQL was reached and said no, so that asking again is in vain. */
export const isRefused = (error: Error): boolean => REFUSED.test(errorCodeOf(error) ?? '');

/** How long to wait before each further try, in milliseconds, without end. */
export function* pausesMs(): Generator<number, never> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) yield pauseMs;
}

export interface PatientReadsOptions {
  /** For so long a statement is repeated. */
  readonly patienceMs: number;
  /** Told of each failure that is not the last. */
  readonly onRetry: (error: Error) => void;
}

/**
 * A database whose statements are repeated while it cannot be reached: for reads alone, as nobody knows whether one that
 * failed was run.
 *
 * Its callers get what PostgreSQL refused at once, and any other failure when their patience is over.
 */
export function patientReads(db: Queryable, { patienceMs, onRetry }: PatientReadsOptions): Queryable {
  // Of its many overloads those that give a promise, which is all that stores use.
  const query = db.query.bind(db) as (...args: readonly unknown[]) => Promise<unknown>;
  const repeat: typeof query = async (...args) => {
    const untilMs = performance.now() + patienceMs;
    for (const pauseMs of pausesMs()) {
      try {
        return await query(...args);
      } catch (raw) {
        const error = coerceError(raw);
        if (isRefused(error) || performance.now() + pauseMs > untilMs) throw error;
        onRetry(error);
        await delay(pauseMs, undefined, { ref: false });
      }
    }
    return undefined;
  };
  return { query: repeat as Queryable['query'] };
}
