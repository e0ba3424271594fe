import { setTimeout as delay } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { coerceError } from '../errors/app-error.ts';
import { noteCertificate } from '../telemetry/certificates.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { shared, type Span, type Tracing } from '../telemetry/tracing.ts';
import { openRedis } from './redis.ts';
import type { Hint, HintConsumer, HintPublisher } from './types.ts';

const QUEUE = 'hints';
const MAX_BULK = 500;
const DEPTH_CHECK_MS = 1000;
/** A consumer that stops waits this long for hints in hand, which in turn wait for a slot at most half a second. */
const STOP_PATIENCE_MS = 2000;

export interface BullHintsOptions {
  readonly url: string;
  /** Of the keys in Redis. */
  readonly prefix: string;
  /** Hints kept in Redis at most. */
  readonly highWater: number;
  readonly metrics: Pick<Metrics, 'hints' | 'redisUp' | 'certificateExpiry' | 'registry'>;
  readonly tracing?: Tracing | undefined;
  readonly onError: (error: Error) => void;
}

/** Carries hints over BullMQ, in bulk: one command for all that arrived while the last one was under way. */
export function createBullPublisher(options: BullHintsOptions): HintPublisher {
  const { metrics } = options;
  const link = openRedis(options.url, options.prefix, options.onError, (socket) =>
    noteCertificate(metrics, 'redis', socket),
  );
  const unwatch = metrics.registry.onPage(() => metrics.redisUp.set(link.healthy() ? 1 : 0));
  const queue = new Queue(QUEUE, {
    connection: link.connection,
    prefix: options.prefix,
    skipWaitingForReady: true,
    skipVersionCheck: true,
    streams: { events: { maxLen: 100 } },
    defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: true },
  });
  queue.on('error', options.onError);
  let waiting: Hint[] = [];
  let flushing: Promise<void> | undefined;
  let depth = 0;

  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, MAX_BULK);
      waiting = waiting.slice(MAX_BULK);
      const spans = openSpans(batch);
      try {
        await shared(options.tracing, spans, () =>
          queue.addBulk(
            batch.map((hint) => ({
              name: 'hint',
              data: null,
              // An id that still exists is silently ignored, so each dispatch has its own (FAULTS).
              opts: { jobId: `${hint.executionId}-${hint.dispatchNumber}` },
            })),
          ),
        );
        depth += batch.length;
        metrics.hints.inc({ outcome: 'published' }, batch.length);
      } catch (raw) {
        metrics.hints.inc({ outcome: 'failed' }, batch.length);
        for (const { span } of spans) span.fail('redis_failed');
        options.onError(coerceError(raw));
      } finally {
        for (const { span } of spans) span.end();
      }
    }
    flushing = undefined;
  };

  const timer = setInterval(() => {
    if (!link.healthy()) return;
    queue.getWaitingCount().then(
      (count) => (depth = count),
      (raw: unknown) => options.onError(coerceError(raw)),
    );
  }, DEPTH_CHECK_MS);
  timer.unref();

  return {
    publish(hints) {
      if (!link.healthy() || depth + waiting.length + hints.length > options.highWater) {
        metrics.hints.inc({ outcome: 'dropped' }, hints.length);
        return;
      }
      waiting.push(...hints);
      flushing ??= flush();
    },
    healthy: () => link.healthy() && depth < options.highWater,
    async close() {
      clearInterval(timer);
      unwatch();
      await flushing; // each of its commands has a time-out
      link.close();
      await queue.close().catch(() => {}); // the connection is ours and closed already
    },
  };
}

/** A span for each of the hints whose trace is recorded. */
const openSpans = (hints: readonly Hint[]): readonly { readonly span: Span }[] =>
  hints.flatMap(({ span }) =>
    span === undefined ? [] : { span: span.child('hint.publish', { kind: 'producer' }) },
  );

/** Takes hints from BullMQ, `concurrency` at a time. */
export function createBullConsumer(
  options: BullHintsOptions & { readonly concurrency: number },
): HintConsumer {
  // BullMQ wants a connection that waits for its commands; our health comes from one that does not.
  const health = openRedis(options.url, options.prefix, () => {});
  let connection: Redis | undefined;
  let worker: Worker | undefined;
  return {
    async start(onHint) {
      connection = new Redis(options.url, { maxRetriesPerRequest: null, connectTimeout: 2000 });
      connection.on('error', (error: unknown) => options.onError(coerceError(error)));
      worker = new Worker(
        QUEUE,
        async (job) => {
          const id = job.id ?? '';
          await onHint(id.slice(0, id.lastIndexOf('-')));
          options.metrics.hints.inc({ outcome: 'received' });
        },
        {
          connection,
          prefix: options.prefix,
          concurrency: options.concurrency,
          skipVersionCheck: true,
          removeOnComplete: { count: 0 },
          removeOnFail: { count: 0 },
        },
      );
      worker.on('error', options.onError);
    },
    healthy: () => health.healthy(),
    async stop() {
      // Hints that were taken are offered, lest what they stand for waits for a dispatcher's next look. Without Redis there
      // is no end of waiting for it.
      const closed = worker?.close(!health.healthy()).catch(options.onError);
      await Promise.race([closed, delay(STOP_PATIENCE_MS, undefined, { ref: false })]);
      health.close();
      connection?.disconnect();
    },
  };
}
