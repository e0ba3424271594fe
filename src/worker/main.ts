import { loadConfig } from '../core/config/load.ts';
import { workerKeys } from '../core/config/worker-keys.ts';
import { checkProduction } from '../core/config/production.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { createBullConsumer } from '../core/hints/bullmq.ts';
import { checkRedis } from '../core/hints/redis.ts';
import type { HintConsumer } from '../core/hints/types.ts';
import { stopOnSignals } from '../core/lifecycle.ts';
import { createLogger } from '../core/logger.ts';
import { describeStartFailure } from '../core/startup.ts';
import { createMetrics } from '../core/telemetry/metrics.ts';
import { startWorker } from './runtime.ts';

/** How much longer than its grace a stopping worker may take. */
const STOP_MARGIN_MS = 5000;

async function main(): Promise<void> {
  const config = loadConfig(workerKeys, process.env);
  checkProduction(config);
  const logger = createLogger({ level: config.LOG_LEVEL, name: 'worker' });
  const metrics = createMetrics();
  let hints: HintConsumer | undefined;
  if (config.REDIS_URL !== undefined) {
    if ((await checkRedis(config.REDIS_URL)) === 'unreachable') {
      logger.warn('Redis cannot be reached; work is found by polling PostgreSQL until it can');
    }
    hints = createBullConsumer({
      url: config.REDIS_URL,
      prefix: config.HINT_PREFIX,
      highWater: config.HINT_HIGH_WATER,
      concurrency: config.WORKER_CONCURRENCY,
      metrics,
      onError: (error) => logger.warn({ err: error }, 'Redis failed'),
    });
  }
  const worker = await startWorker({ config, logger, metrics, hints });
  stopOnSignals(worker, config.SHUTDOWN_GRACE_MS + STOP_MARGIN_MS, (error) =>
    logger.error({ err: error }, 'stopping failed'),
  );
}

main().catch((raw: unknown) => {
  const { text, exitCode } = describeStartFailure(coerceError(raw));
  process.stderr.write(`${text}\n`);
  process.exit(exitCode);
});
