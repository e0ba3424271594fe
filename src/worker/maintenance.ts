import type { DatabaseClock } from '../core/db/clock.ts';
import { one, type Queryable } from '../core/db/database.ts';
import { PARTITION_DAYS_AHEAD } from '../core/db/migrate.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { queueDepth } from '../core/executions/claims.ts';
import type { Logger } from '../core/logger.ts';
import type { Metrics } from '../core/telemetry/metrics.ts';

export interface MaintenanceDeps {
  readonly db: Queryable;
  readonly clock: DatabaseClock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly dedupeWindowMs: number;
}

export interface Maintenance {
  start(): void;
  stop(): Promise<void>;
}

const QUEUE_DEPTH_CAP = 100_000;
const EXPIRED_KEYS_BATCH = 5000;

/** The chores of a worker. Each is safe to do in several workers at once, and none is waited for by anybody. */
export function createMaintenance(deps: MaintenanceDeps): Maintenance {
  const { db, metrics } = deps;
  const chores: readonly {
    readonly everyMs: number;
    readonly name: string;
    readonly work: () => Promise<void>;
  }[] = [
    {
      name: 'measure the queue',
      everyMs: 5000,
      work: async () => {
        const { depth, oldestAgeS } = await queueDepth(db, QUEUE_DEPTH_CAP);
        metrics.queueDepth.set(depth);
        metrics.queueOldestAge.set(oldestAgeS);
      },
    },
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
        await db.query(`select millrace_ensure_partitions((now() at time zone 'utc')::date - 1, $1)`, [
          PARTITION_DAYS_AHEAD + 1,
        ]);
      },
    },
    { name: 'look into the default partitions', everyMs: 300_000, work: () => countStrayRows(deps) },
  ];
  const timers: NodeJS.Timeout[] = [];
  const underWay = new Set<Promise<void>>();

  const run = (name: string, work: () => Promise<void>): void => {
    const done = work()
      .catch((raw: unknown) => deps.logger.warn({ err: coerceError(raw), chore: name }, 'a chore failed'))
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
      for (const timer of timers.splice(0)) clearInterval(timer);
      await Promise.all(underWay);
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

/** Rows outside all dated partitions come from an id with a wrong time, or from partitions that were not made. */
async function countStrayRows({ db, metrics, logger }: MaintenanceDeps): Promise<void> {
  const { rows } = one(
    await db.query<{ rows: number }>(
      `select ((select count(*) from delivery_default) + (select count(*) from execution_default))::int as rows`,
    ),
  );
  metrics.defaultPartitionRows.set(rows);
  if (rows > 0) logger.error({ rows }, 'rows are in the default partitions');
}
