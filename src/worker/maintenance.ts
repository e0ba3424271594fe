import type { DatabaseClock } from '../core/db/clock.ts';
import { one, type Database, type Queryable } from '../core/db/database.ts';
import {
  PARTITIONED_TABLES,
  addPartitions,
  dropOldPartitions,
  partitionSpanDays,
} from '../core/db/partitions.ts';
import { coerceError } from '../core/errors/app-error.ts';
import {
  WORKER_ALIVE_MS,
  forgetDeadWorkers,
  removeWorker,
  reportWorker,
  type SandboxClaims,
} from '../core/executions/workers.ts';
import type { Logger } from '../core/logger.ts';
import type { Metrics } from '../core/telemetry/metrics.ts';
import { purgeDeletedWorkflows } from '../core/workflows/purge.ts';

export interface MaintenanceDeps {
  readonly db: Database;
  readonly clock: DatabaseClock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Of this worker, unlike all others. */
  readonly workerId: string;
  readonly sandboxClaims: () => SandboxClaims;
  readonly dedupeWindowMs: number;
  /** How long history is kept; undefined: for ever. */
  readonly retentionMs: number | undefined;
}

export interface Maintenance {
  start(): void;
  stop(): Promise<void>;
}

/** Three may be missed before the worker counts as dead. */
const REPORT_EVERY_MS = WORKER_ALIVE_MS / 3;
const EXPIRED_KEYS_BATCH = 5000;

/** The chores of a worker. Each is safe to do in several workers at once, and none is waited for by anybody. */
export function createMaintenance(deps: MaintenanceDeps): Maintenance {
  const { db, metrics } = deps;
  const stopping = new AbortController();
  const chores: readonly {
    readonly everyMs: number;
    readonly name: string;
    readonly work: () => Promise<void>;
  }[] = [
    {
      name: 'say that this worker lives',
      everyMs: REPORT_EVERY_MS,
      work: () => reportWorker(db, deps.workerId, deps.sandboxClaims()),
    },
    { name: 'forget dead workers', everyMs: 3_600_000, work: () => forgetDeadWorkers(db) },
    {
      name: 'measure the clock',
      everyMs: 10_000,
      work: async () => {
        await deps.clock.sync();
        metrics.clockSkew.set(deps.clock.skewMs() / 1000);
      },
    },
    { name: 'forget old delivery keys', everyMs: 60_000, work: () => forgetOldKeys(db, deps.dedupeWindowMs) },
    {
      name: 'make partitions',
      everyMs: 3_600_000,
      work: async () => {
        const partitions = await addPartitions(db, partitionSpanDays(deps.retentionMs), stopping.signal);
        if (partitions.length > 0) deps.logger.info({ partitions }, 'partitions were made ahead');
      },
    },
    { name: 'drop old history', everyMs: 600_000, work: () => dropOldHistory(deps, stopping.signal) },
    { name: 'look into the default partitions', everyMs: 300_000, work: () => countStrayRows(deps) },
  ];
  const timers: NodeJS.Timeout[] = [];
  const underWay = new Set<Promise<void>>();

  const run = (name: string, work: () => Promise<void>): void => {
    const done = work()
      .catch((raw: unknown) => {
        if (stopping.signal.aborted) return;
        deps.logger.warn({ err: coerceError(raw), chore: name }, 'a chore failed');
      })
      .finally(() => underWay.delete(done));
    underWay.add(done);
  };

  return {
    start() {
      if (timers.length > 0) return;
      for (const { name, everyMs, work } of chores) {
        run(name, work);
        const timer = setInterval(() => run(name, work), everyMs);
        timer.unref();
        timers.push(timer);
      }
    },
    async stop() {
      stopping.abort();
      for (const timer of timers.splice(0)) clearInterval(timer);
      await Promise.all(underWay);
      await removeWorker(db, deps.workerId).catch((raw: unknown) =>
        deps.logger.warn({ err: coerceError(raw) }, 'this worker counts as alive a little longer'),
      );
    },
  };
}

/** In batches, so that no statement holds many rows for long. */
async function forgetOldKeys(db: Queryable, windowMs: number): Promise<void> {
  for (;;) {
    const { rowCount } = await db.query(
      `delete from delivery_key where (endpoint_id, key) in (
         select endpoint_id, key from delivery_key
         where received_at < now() - $1::float8 * interval '1 millisecond' order by received_at limit $2
         for update skip locked)`,
      [windowMs, EXPIRED_KEYS_BATCH],
    );
    if ((rowCount ?? 0) < EXPIRED_KEYS_BATCH) return;
  }
}

/** What is older than retention asks for, as far as nothing needs it that has not ended. */
async function dropOldHistory(deps: MaintenanceDeps, signal: AbortSignal): Promise<void> {
  const { db, metrics, logger, retentionMs } = deps;
  if (retentionMs === undefined) return;
  const { dropped, kept } = await dropOldPartitions(db, retentionMs, signal);
  metrics.partitionsDropped.inc(dropped.length);
  metrics.partitionsOverdue.set(kept.length);
  if (dropped.length > 0) logger.info({ partitions: dropped }, 'old history was dropped');
  if (kept.length > 0)
    logger.debug({ partitions: kept }, 'old history is kept: something in it has not ended');
  const { workflows, files } = await purgeDeletedWorkflows(db, retentionMs);
  if (workflows > 0 || files > 0)
    logger.info({ workflows, files }, 'what deleted workflows left was removed');
}

const DEFAULT_PARTITIONS = PARTITIONED_TABLES.map(
  (table) => `select count(*) as rows from ${table}_default`,
).join(' union all ');

/** Rows outside all dated partitions come from an id with a wrong time, or from partitions that were not made. */
async function countStrayRows({ db, metrics, logger }: MaintenanceDeps): Promise<void> {
  const { rows } = one(
    await db.query<{ rows: number }>(
      `select sum(rows)::float8 as rows from (${DEFAULT_PARTITIONS}) as of_each`,
    ),
  );
  metrics.defaultPartitionRows.set(rows);
  if (rows > 0) logger.error({ rows }, 'rows are in the default partitions');
}
