import type { Queryable } from '../db/database.ts';
import { checkSchema } from '../db/migrate.ts';
import type { DatabaseClock } from '../db/clock.ts';
import type { ReadinessCheck } from '../telemetry/admin-handler.ts';
import { clockFinding } from './clock.ts';
import { durabilityFindings, readDatabaseSettings, writableFinding } from './database.ts';
import { refuse } from './finding.ts';

/** Anybody may ask whether a process is ready; the database is asked no more often than this. */
const KEEP_MS = 1000;
/** One that takes longer hangs; whoever asks then asks anew. */
const PATIENCE_MS = 2000;
/** The schema changes with releases. */
const SCHEMA_EVERY_MS = 30_000;

/**
 * Ready while the database answers, keeps what it confirms, takes writes, and has a schema that this release works with: what
 * `millrace doctor` says of it, and what a process refuses to start with.
 *
 * @param now a monotonic clock in milliseconds
 */
export function createDatabaseCheck(
  db: Queryable,
  now: () => number = () => performance.now(),
): ReadinessCheck {
  let schemaDueAt = -Infinity;
  return shared(
    async () => {
      const settings = await readDatabaseSettings(db);
      refuse('database_unfit', [...durabilityFindings(settings), writableFinding(settings)]);
      if (now() >= schemaDueAt) {
        await checkSchema(db);
        schemaDueAt = now() + SCHEMA_EVERY_MS;
      }
      return undefined;
    },
    KEEP_MS,
    now,
  );
}

/** Ready while timestamps of signatures are judged rightly (FAULTS R30). */
export const createClockCheck =
  (clock: Pick<DatabaseClock, 'skewMs'>): ReadinessCheck =>
  async () => {
    refuse('database_unfit', [clockFinding(clock.skewMs())]);
    return undefined;
  };

/** Callers at the same time, and for a moment after it, share one run and its outcome. */
function shared(check: ReadinessCheck, keepMs: number, now: () => number): ReadinessCheck {
  let last: { readonly outcome: Promise<string | undefined>; endsAt: number } | undefined;
  return () => {
    if (last !== undefined && now() < last.endsAt) return last.outcome;
    const run = { outcome: check(), endsAt: now() + PATIENCE_MS };
    const keep = (): void => void (run.endsAt = now() + keepMs);
    run.outcome.then(keep, keep);
    last = run;
    return run.outcome;
  };
}
