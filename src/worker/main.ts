import { fileURLToPath } from 'node:url';
import { loadConfig } from '../core/config/load.ts';
import { workerKeys } from '../core/config/worker-keys.ts';
import { checkProduction } from '../core/config/production.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { openRedisHints } from '../core/hints/open-redis-hints.ts';
import { EXIT_AGAIN, runUntilSignal } from '../core/lifecycle.ts';
import { createLogger, type Logger } from '../core/logger.ts';
import { dropPrivileges } from '../core/privileges.ts';
import { restartOnChangedSecrets } from '../core/restart-in-turn.ts';
import { describeStartFailure } from '../core/startup.ts';
import { createMetrics } from '../core/telemetry/metrics.ts';
import { openTracing } from '../core/telemetry/open-tracing.ts';
import type { WorkerConfig } from './config.ts';
import { startWorker, type WorkerRuntime } from './runtime.ts';

/** How much longer than its grace a stopping worker may take. */
const STOP_MARGIN_MS = 5000;

async function main(): Promise<void> {
  const config = loadConfig(workerKeys, process.env);
  checkProduction(config);
  const logger = createLogger({ level: config.LOG_LEVEL, name: 'worker' });
  const tracing = await openTracing({ config, service: 'millrace-worker', logger });
  const metrics = createMetrics();
  const redisHints = await openRedisHints(config, { metrics, tracing, logger });
  const publisher = redisHints?.publisher;
  const hints = redisHints?.createConsumer(config.WORKER_CONCURRENCY);
  await runUntilSignal(
    async (signal, end) => {
      let worker: WorkerRuntime | undefined;
      const restarts = restartOnChangedSecrets({
        process: 'worker',
        port: config.WORKER_PORT,
        role: 'millrace_engine',
        keys: workerKeys,
        env: process.env,
        config,
        logger,
        // Nobody is told whether a worker takes work.
        leave: () => worker && (() => undefined),
        end: () => end(EXIT_AGAIN),
      });
      worker = await startWorker({
        config,
        databaseUrl: restarts.databaseUrl,
        logger,
        metrics,
        hints,
        tracing,
        ...(publisher === undefined ? {} : { announce: publisher.publish }),
        waitForDatabase: signal,
      });
      void restarts.started();
      worker.sandboxes
        .then(() => leaveRoot(config, worker, logger))
        .catch((raw: unknown) => {
          logger.fatal({ err: coerceError(raw) }, 'the worker is in an unclear state and ends');
          process.exit(1);
        });
      return {
        async stop() {
          restarts.stop();
          await worker.stop();
          await publisher?.close();
          await tracing?.stop();
        },
      };
    },
    config.SHUTDOWN_GRACE_MS + STOP_MARGIN_MS,
    (error) => logger.error({ err: error }, 'stopping failed'),
  );
}

/** Only the launcher of sandboxes needs root, and it has been started by now. */
async function leaveRoot(config: WorkerConfig, worker: WorkerRuntime, logger: Logger): Promise<void> {
  if (config.WORKER_RUN_AS === undefined || process.getuid?.() !== 0) return;
  const { isDropped, description } = await dropPrivileges(config.WORKER_RUN_AS, {
    readable: [import.meta.filename, fileURLToPath(new URL('../../node_modules', import.meta.url))],
    writable: [worker.packagesDirectory, worker.imagesDirectory],
  });
  if (isDropped) logger.info(description);
  else
    logger.warn({ reason: description }, 'the worker goes on as root; docs/operations.md says what it needs');
}

main().catch((raw: unknown) => {
  const { text, exitCode } = describeStartFailure(coerceError(raw));
  process.stderr.write(`${text}\n`);
  process.exit(exitCode);
});
