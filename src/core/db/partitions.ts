import { setTimeout as delay } from 'node:timers/promises';
import { DAY_MS } from '../definition/duration.ts';
import { errorCodeOf } from '../errors/app-error.ts';
import { maybeOne, one, type Queryable } from './database.ts';
import { SQLSTATE } from './sqlstate.ts';

/** The tables of which each partition is a span of time. */
export const PARTITIONED_TABLES = ['delivery', 'execution', 'step_run', 'step_log'] as const;
export type PartitionedTable = (typeof PARTITIONED_TABLES)[number];

/** Partitions exist this many days ahead (DESIGN section 4), and yesterday's for clocks that lag. */
export const PARTITION_DAYS_AHEAD = 8;

/**
 * How many partitions a history has at most, about. A statement that finds live executions opens all of them: with 8
 * partitions a claim of five took 1 ms, with 38 it took 3, with 98 it took 20, and planning it anew 10, 100 and 200.
 */
const PARTITIONS_OF_HISTORY = 6;
/** The span where history is kept for ever. */
const LONGEST_SPAN_DAYS = 31;

/** Days that a new partition spans, so that the number of partitions stays the same however long history is kept. */
export const partitionSpanDays = (retentionMs: number | undefined): number =>
  retentionMs === undefined
    ? LONGEST_SPAN_DAYS
    : Math.min(LONGEST_SPAN_DAYS, Math.max(1, Math.ceil(retentionMs / DAY_MS / PARTITIONS_OF_HISTORY)));

/** Makes the partitions ahead that are missing, one in a transaction; returns their names. @param db of millrace_engine */
export async function addPartitions(
  db: Queryable,
  spanDays: number,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const added: string[] = [];
  for (const table of PARTITIONED_TABLES) {
    for (;;) {
      const { name } = one(
        await withLockRetries(signal, () =>
          db.query<{ name: string | null }>(
            `select millrace_add_partition($1, (now() at time zone 'utc')::date - 1, $2, $3) as name`,
            [table, PARTITION_DAYS_AHEAD + 1, spanDays],
          ),
        ),
      );
      if (name === null) break;
      added.push(name);
    }
  }
  return added;
}

export interface OldHistory {
  /** Names of partitions that are gone. */
  readonly dropped: readonly string[];
  /** Names of partitions that are old enough, but still needed. */
  readonly kept: readonly string[];
}

interface Partition {
  readonly name: string;
  readonly first_id: string;
  readonly end_id: string;
}

/**
 * Drops the partitions whose newest row is older than `retentionMs`, except those that something needs which has not
 * ended: an execution, with its steps and logs, and the delivery it was started by. Repeating it is harmless, and so is
 * doing it in several workers at once, or being cut off in between: what remains goes the next time.
 *
 * Each partition goes in a transaction of its own that waits for its locks no longer than 100 ms, as whoever comes
 * meanwhile waits behind it. PostgreSQL's `detach … concurrently` would not wait, but refuses tables with a default partition.
 *
 * @param db of millrace_engine
 */
export async function dropOldPartitions(
  db: Queryable,
  retentionMs: number,
  signal: AbortSignal,
): Promise<OldHistory> {
  const dropped: string[] = [];
  const kept: string[] = [];
  // Executions go first; what is only read through them follows.
  for (const table of ['execution', 'step_run', 'step_log', 'delivery'] as const) {
    for (const partition of await oldPartitions(db, table, retentionMs)) {
      const isGone = await withLockRetries(
        signal,
        async () => !(await isNeeded(db, table, partition)) && drop(db, partition.name, retentionMs),
      );
      (isGone ? dropped : kept).push(partition.name);
    }
  }
  return { dropped, kept };
}

const BEFORE = `now() - $2::float8 * interval '1 millisecond'`;

async function oldPartitions(
  db: Queryable,
  table: PartitionedTable,
  retentionMs: number,
): Promise<readonly Partition[]> {
  const { rows } = await db.query<Partition>(
    `select name, first_id, end_id from millrace_partition where parent = $1 and ends_at <= ${BEFORE} order by first_id`,
    [table, retentionMs],
  );
  return rows;
}

/** Executions of the span are still there: in a partition, or outside of all of them. */
const HAS_EXECUTIONS = `select from millrace_partition where parent = 'execution' and first_id < $2 and end_id > $1
    union all select from execution_default where id >= $1 and id < $2`;

const IS_NEEDED: Readonly<Record<PartitionedTable, string>> = {
  execution: `select from execution where id >= $1 and id < $2 and next_dispatch_at is not null`,
  step_run: HAS_EXECUTIONS,
  step_log: HAS_EXECUTIONS,
  // A retry is younger than the delivery that it is given.
  delivery: `${HAS_EXECUTIONS}
    union all select from execution where next_dispatch_at is not null and delivery_id >= $1 and delivery_id < $2`,
};

async function isNeeded(db: Queryable, table: PartitionedTable, partition: Partition): Promise<boolean> {
  const row = maybeOne(
    await db.query<{ is_needed: boolean }>(`select exists (${IS_NEEDED[table]}) as is_needed`, [
      partition.first_id,
      partition.end_id,
    ]),
  );
  return row?.is_needed ?? true;
}

async function drop(db: Queryable, name: string, retentionMs: number): Promise<boolean> {
  const { is_gone: isGone } = one(
    await db.query<{ is_gone: boolean }>(`select millrace_drop_partition($1, ${BEFORE}) as is_gone`, [
      name,
      retentionMs,
    ]),
  );
  return isGone;
}

const LOCK_ATTEMPTS = 20;
const PAUSE_MS = 250;

/** Repeats what gave way to others (`lock_timeout`); they get on in the pauses. */
export async function withLockRetries<T>(
  signal: AbortSignal,
  work: () => Promise<T>,
  { attempts = LOCK_ATTEMPTS, pauseMs = PAUSE_MS } = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (errorCodeOf(error) !== SQLSTATE.lockNotAvailable || attempt >= attempts) throw error;
    }
    await delay(pauseMs * (0.5 + Math.random()), undefined, { signal });
  }
}
