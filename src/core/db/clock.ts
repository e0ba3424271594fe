import type { Queryable } from './database.ts';

/** The database's clock, seen from this process. Ids and timestamps of signatures use it (FAULTS R29, R30). */
export interface DatabaseClock {
  /** Milliseconds since the epoch by the database's clock. */
  readonly now: () => number;
  /** How far this process's clock is ahead of the database's, in milliseconds, when last measured. */
  skewMs(): number;
  /** Measures again; called at start and then periodically. */
  sync(): Promise<void>;
}

/** A clock that follows the database's by an offset, taken from the quickest of a few round trips. */
export function createDatabaseClock(db: Queryable, localNow: () => number = Date.now): DatabaseClock {
  let offsetMs = 0;
  return {
    now: () => localNow() + offsetMs,
    skewMs: () => -offsetMs,
    async sync() {
      let best: { readonly roundTripMs: number; readonly offsetMs: number } | undefined;
      for (let sample = 0; sample < 3; sample++) {
        const before = localNow();
        const { rows } = await db.query<{ ms: number }>(
          `select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
        );
        const after = localNow();
        const roundTripMs = after - before;
        if (best === undefined || roundTripMs < best.roundTripMs) {
          best = { roundTripMs, offsetMs: rows[0]!.ms - (before + after) / 2 }; // one row: no from
        }
      }
      offsetMs = best!.offsetMs; // the loop ran
    },
  };
}
