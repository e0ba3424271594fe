import { apiKeys } from '../core/config/api-keys.ts';
import { loadConfig } from '../core/config/load.ts';
import { checkProduction } from '../core/config/production.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { openRedisHints } from '../core/hints/open-redis-hints.ts';
import { EXIT_AGAIN, runUntilSignal } from '../core/lifecycle.ts';
import { createLogger } from '../core/logger.ts';
import { restartOnChangedSecrets } from '../core/restart-in-turn.ts';
import { describeStartFailure } from '../core/startup.ts';
import { createMetrics } from '../core/telemetry/metrics.ts';
import { openTracing } from '../core/telemetry/open-tracing.ts';
import { startApi, type ApiRuntime } from './runtime.ts';

/** How much longer than its grace a stopping API may take. */
const STOP_MARGIN_MS = 5000;

async function main(): Promise<void> {
  const config = loadConfig(apiKeys, process.env);
  checkProduction(config);
  const logger = createLogger({ level: config.LOG_LEVEL, name: 'api' });
  const tracing = await openTracing({ config, service: 'millrace-api', logger });
  const metrics = createMetrics();
  const hints = (await openRedisHints(config, { metrics, tracing, logger }))?.publisher;
  await runUntilSignal(
    async (signal, end) => {
      let api: ApiRuntime | undefined;
      const restarts = restartOnChangedSecrets({
        process: 'api',
        port: config.API_PORT,
        role: 'millrace_ingest',
        keys: apiKeys,
        env: process.env,
        config,
        logger,
        leave: () => api?.leave,
        end: () => end(EXIT_AGAIN),
      });
      const { databaseUrl } = restarts;
      api = await startApi({ config, databaseUrl, logger, metrics, hints, tracing, waitForDatabase: signal });
      void restarts.started();
      return {
        async stop() {
          restarts.stop();
          await api.stop();
          await hints?.close();
          await tracing?.stop();
        },
      };
    },
    config.SHUTDOWN_GRACE_MS + STOP_MARGIN_MS,
    (error) => logger.error({ err: error }, 'stopping failed'),
  );
}

main().catch((raw: unknown) => {
  const { text, exitCode } = describeStartFailure(coerceError(raw));
  process.stderr.write(`${text}\n`);
  process.exit(exitCode);
});
