import { setTimeout as delay } from 'node:timers/promises';
import type { Queryable } from '../db/database.ts';
import { dutyResult, leaveDuty, reportDuty, takeDuty } from '../db/duties.ts';
import { PARTITIONED_TABLES } from '../db/partitions.ts';
import { databaseBytes, tableSizes } from '../db/sizes.ts';
import { coerceError } from '../errors/app-error.ts';
import { queueDepth } from '../executions/claims.ts';
import { outboxAge } from '../executions/outbox.ts';
import { surveyWorkers, type WorkerSurvey } from '../executions/workers.ts';
import { z } from '../zod.ts';
import type { Metrics } from './metrics.ts';

export type MeasuredMetrics = Pick<
  Metrics,
  | 'queueDepth'
  | 'queueOldestAge'
  | 'outboxOldestAge'
  | 'workers'
  | 'javascriptClaims'
  | 'pythonClaims'
  | 'databaseBytes'
  | 'partitionBytes'
  | 'partitions'
>;

export interface MeasurementsOptions {
  /** Acts as millrace_engine or millrace_ingest. */
  readonly db: Queryable;
  readonly metrics: MeasuredMetrics;
  /** Of this process, unlike all others. */
  readonly holder: string;
  /** Leaves measuring to workers as long as there are any. */
  readonly onlyWithoutWorkers?: boolean;
  readonly everyMs?: number;
  readonly onError: (error: Error) => void;
}

export interface Measurements {
  start(): void;
  stop(): Promise<void>;
}

const DUTY = 'measure';
const EVERY_MS = 5000;
/** Rounds of measuring that the one who has the duty may miss before another takes it. */
const PATIENCE = 3;
const SIZES_EVERY_MS = 60_000;
const QUEUE_DEPTH_CAP = 100_000;
/** Where measuring takes long, it is done less often: PostgreSQL is to have time for other things. */
const PAUSES_PER_ROUND = 20;
const LONGEST_PAUSE_MS = 60_000;
/** What nobody has measured for this long is not true any more. */
const MAX_AGE_MS = 3 * LONGEST_PAUSE_MS;

const foundShape = z.object({
  queueDepth: z.number(),
  queueOldestAgeS: z.number(),
  outboxOldestAgeS: z.number(),
  workers: z.number(),
  // A process of the release before leaves none.
  claims: z.object({ javascript: z.number(), python: z.number() }).default({ javascript: 0, python: 0 }),
  databaseBytes: z.number(),
  tables: z.array(z.object({ table: z.enum(PARTITIONED_TABLES), partitions: z.number(), bytes: z.number() })),
});
type Found = z.infer<typeof foundShape>;

/**
 * Measures what concerns all processes, in one of them at a time, and leaves what it found for the others: each shows the
 * same, so that it does not matter which one is asked.
 */
export function createMeasurements(options: MeasurementsOptions): Measurements {
  const { db, metrics, holder, everyMs = EVERY_MS } = options;
  let stopping: AbortController | undefined;
  let running: Promise<void> | undefined;
  let isMine = false;
  let pauseMs = everyMs;
  let sizes: (Pick<Found, 'databaseBytes' | 'tables'> & { readonly atMs: number }) | undefined;

  const readSizes = async (): Promise<Pick<Found, 'databaseBytes' | 'tables'>> => {
    if (sizes === undefined || performance.now() - sizes.atMs > SIZES_EVERY_MS) {
      const tables = [...(await tableSizes(db))];
      sizes = { databaseBytes: await databaseBytes(db), tables, atMs: performance.now() };
    }
    const { databaseBytes: bytes, tables } = sizes;
    return { databaseBytes: bytes, tables };
  };

  const measure = async (survey: WorkerSurvey): Promise<Found> => {
    const { depth, oldestAgeS } = await queueDepth(db, QUEUE_DEPTH_CAP);
    return {
      queueDepth: depth,
      queueOldestAgeS: oldestAgeS,
      outboxOldestAgeS: await outboxAge(db),
      ...survey,
      ...(await readSizes()),
    };
  };

  const round = async (): Promise<void> => {
    const startedAtMs = performance.now();
    const survey = await surveyWorkers(db);
    const mayMeasure = !options.onlyWithoutWorkers || survey.workers === 0;
    if (isMine && !mayMeasure) await leaveDuty(db, DUTY, holder);
    isMine = mayMeasure && (await takeDuty(db, DUTY, holder, PATIENCE * pauseMs));
    if (!isMine) {
      const found = foundShape.safeParse(await dutyResult(db, DUTY, MAX_AGE_MS));
      if (found.success) publish(metrics, found.data);
      else withdraw(metrics);
      return;
    }
    const found = await measure(survey);
    publish(metrics, found);
    await reportDuty(db, DUTY, holder, found);
    const tookMs = performance.now() - startedAtMs;
    pauseMs = Math.min(Math.max(everyMs, tookMs * PAUSES_PER_ROUND), LONGEST_PAUSE_MS);
    if (tookMs + pauseMs > everyMs * PATIENCE) await takeDuty(db, DUTY, holder, PATIENCE * pauseMs);
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      try {
        await round();
      } catch (raw) {
        if (signal.aborted) break;
        // What was measured before is getting old, and nobody knows what is true.
        withdraw(metrics);
        options.onError(coerceError(raw));
      }
      await delay(isMine ? pauseMs : everyMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  };

  return {
    start() {
      if (stopping !== undefined) return;
      stopping = new AbortController();
      running = run(stopping.signal);
    },
    async stop() {
      stopping?.abort();
      await running;
      withdraw(metrics);
      if (!isMine) return;
      isMine = false;
      await leaveDuty(db, DUTY, holder).catch((raw: unknown) => options.onError(coerceError(raw)));
    },
  };
}

function publish(metrics: MeasuredMetrics, found: Found): void {
  metrics.queueDepth.set(found.queueDepth);
  metrics.queueOldestAge.set(found.queueOldestAgeS);
  metrics.outboxOldestAge.set(found.outboxOldestAgeS);
  metrics.workers.set(found.workers);
  metrics.javascriptClaims.set(found.claims.javascript);
  metrics.pythonClaims.set(found.claims.python);
  metrics.databaseBytes.set(found.databaseBytes);
  for (const { table, partitions, bytes } of found.tables) {
    metrics.partitionBytes.set({ table }, bytes);
    metrics.partitions.set({ table }, partitions);
  }
}

/** No sample is better than one that is not true. */
function withdraw(metrics: MeasuredMetrics): void {
  metrics.queueDepth.remove();
  metrics.queueOldestAge.remove();
  metrics.outboxOldestAge.remove();
  metrics.workers.remove();
  metrics.javascriptClaims.remove();
  metrics.pythonClaims.remove();
  metrics.databaseBytes.remove();
  metrics.partitionBytes.reset();
  metrics.partitions.reset();
}
