import { setTimeout as sleep } from 'node:timers/promises';
import { createBatcher } from '../../core/batcher.ts';
import { knownCommit, type Database } from '../../core/db/database.ts';
import { isRefused, pausesMs } from '../../core/db/patient-reads.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import type { PassFailpoint } from '../../core/failpoints.ts';
import { writeJournal, type JournalWrite } from '../../core/executions/journal-store.ts';
import { shared, type Tracing } from '../../core/telemetry/tracing.ts';

export interface JournalWriter {
  /**
   * Records `entry` durably.
   *
   * While the database cannot be reached it is tried again until `signal` says that the lease is gone; repeating a write
   * whose outcome is unknown is safe.
   *
   * @returns false when the lease is lost: nothing was written, and the caller stops
   * @throws when the database refuses the entry itself
   */
  write(entry: JournalWrite, signal: AbortSignal): Promise<boolean>;
  idle(): Promise<void>;
}

export interface JournalWriterOptions {
  readonly db: Pick<Database, 'withConnection'>;
  readonly maxBatch?: number;
  readonly concurrency?: number;
  readonly onBatch?: (size: number) => void;
  readonly onRetry: (error: Error) => void;
  readonly passFailpoint?: PassFailpoint;
  readonly tracing?: Tracing | undefined;
}

/** Group-commits the journal across executions: entries that come while a commit is under way share the next one. */
export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  const batcher = createBatcher<JournalWrite, boolean>({
    flush: async (entries) => {
      const made = new Map<JournalWrite, boolean>();
      for (const wave of wavesOf(entries)) {
        const results = await shared(options.tracing, wave, () =>
          options.db.withConnection((client) => knownCommit(client, () => writeJournal(client, wave))),
        );
        if (wave.some(({ steps }) => steps.length > 0)) options.passFailpoint?.('journal.after-write');
        wave.forEach((entry, index) => made.set(entry, results[index] ?? false));
      }
      return entries.map((entry) => made.get(entry) ?? false);
    },
    maxItems: options.maxBatch ?? 100,
    maxWeight: 8 * 1024 * 1024,
    weigh: ({ steps, logs }) =>
      steps.reduce((sum, step) => sum + (step.outputJson?.length ?? 0), 0) +
      logs.reduce((sum, line) => sum + line.message.length, 0),
    concurrency: options.concurrency ?? 2,
    isItemError: isRefused,
    ...(options.onBatch === undefined ? {} : { onFlush: options.onBatch }),
  });
  return {
    async write(entry, signal) {
      for (const pauseMs of pausesMs()) {
        if (signal.aborted) break;
        try {
          return await batcher.add(entry);
        } catch (raw) {
          const error = coerceError(raw);
          if (isRefused(error)) throw error;
          options.onRetry(error);
          await sleep(pauseMs);
        }
      }
      return false;
    },
    idle: () => batcher.idle(),
  };
}

/**
 * Entries in groups that hold each execution once, in order. An execution may have two at a time (a step is announced
 * while another one's outcome is written), and one statement must not touch a row twice.
 */
function wavesOf(entries: readonly JournalWrite[]): readonly (readonly JournalWrite[])[] {
  const waves: JournalWrite[][] = [];
  const seen = new Map<string, number>();
  for (const entry of entries) {
    const wave = seen.get(entry.executionId) ?? 0;
    seen.set(entry.executionId, wave + 1);
    (waves[wave] ??= []).push(entry);
  }
  return waves;
}
