import { setTimeout as delay } from 'node:timers/promises';
import { startApi, type ApiRuntime } from '../api/runtime.ts';
import { apiKeys } from '../core/config/api-keys.ts';
import type { ConfigOf } from '../core/config/key.ts';
import { loadConfig, type Environment } from '../core/config/load.ts';
import { workerKeys } from '../core/config/worker-keys.ts';
import { migrate } from '../core/db/migrate.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { createInProcessHints } from '../core/hints/in-process.ts';
import { openRedisHints } from '../core/hints/open-redis-hints.ts';
import type { HintConsumer, HintPublisher } from '../core/hints/types.ts';
import { createClosers, stopOnSignals, type Closers } from '../core/lifecycle.ts';
import { createLogger, type Logger } from '../core/logger.ts';
import { createMetrics, type Metrics } from '../core/telemetry/metrics.ts';
import { openTracing } from '../core/telemetry/open-tracing.ts';
import type { Tracing } from '../core/telemetry/tracing.ts';
import { startWorker, type WorkerRuntime } from '../worker/runtime.ts';
import { EXIT, type ExitCode } from './cli-error.ts';
import { dataDirectoryKeys } from './config-keys.ts';
import { deployHello, formatBanner } from './dev-hello.ts';
import { openDataDirectory, removeRuntime, writeRuntime } from './embedded/data-directory.ts';
import { acquireLock } from './embedded/lock.ts';
import { hasCluster, startEmbeddedPostgres, type EmbeddedPostgres } from './embedded/postgres.ts';
import { ensureSecrets, secretsFile, type Secrets } from './embedded/secrets.ts';
import type { Io } from './session.ts';

const DATABASE = 'millrace';
/** How much longer than its grace a stopping platform may take: requests, then PostgreSQL. */
const STOP_MARGIN_MS = 4500;
/** What isolates code steps is found this soon, except at the very first start. */
const SANDBOX_PATIENCE_MS = 1500;
const STILL_PREPARING = 'sandboxes are being prepared; code steps wait for them';

const devKeys = { ...apiKeys, ...workerKeys } as const;
type DevConfig = ConfigOf<typeof devKeys>;

/** Valid, to check the rest of a configuration with, and never used. */
const STAND_INS: Secrets = {
  ENCRYPTION_KEY: '0'.repeat(64),
  JWT_SECRET: '0'.repeat(32),
  MILLRACE_BOOTSTRAP_API_KEY: '0'.repeat(32),
  DATABASE_PASSWORD: '',
};

/**
 * `millrace dev`: API and worker in this process, on PostgreSQL from npm unless DATABASE_URL names another. Resolves
 * when everything runs; the process ends on a signal.
 *
 * @throws CliError, AppError when it cannot start; everything that was started is stopped then
 */
export async function runDev(io: Io): Promise<ExitCode> {
  const closers = createClosers();
  try {
    await start(io, closers);
    return EXIT.ok;
  } catch (error) {
    await closers.closeAll();
    throw error;
  }
}

async function start(io: Io, closers: Closers): Promise<void> {
  const { MILLRACE_DATA_DIR } = loadConfig(dataDirectoryKeys, io.env);
  const hasOwnDatabase = !isSet(io.env, 'DATABASE_URL');
  // Before anything is made: a configuration that is refused leaves no trace.
  loadConfig(devKeys, environmentOf(io.env, STAND_INS, hasOwnDatabase));
  const directory = await openDataDirectory(MILLRACE_DATA_DIR);
  const lock = await acquireLock(directory);
  closers.add(() => lock.release());
  const secrets = await prepareSecrets(io, directory);
  const settings = loadConfig(devKeys, environmentOf(io.env, secrets, hasOwnDatabase));
  const logger = createLogger({ level: settings.LOG_LEVEL, name: 'millrace', destination: 2 });

  let postgres: EmbeddedPostgres | undefined;
  if (hasOwnDatabase) {
    postgres = await startDatabase(io, directory, secrets);
    closers.add(() => postgres?.stop());
  }
  const config: DevConfig = { ...settings, ...(postgres && { DATABASE_URL: postgres.url(DATABASE) }) };
  const { api, worker } = await startProcesses(config, logger, closers);

  const url = `http://${hostOf(config.LISTEN_HOST)}:${api.port}`;
  const apiKey = config.MILLRACE_BOOTSTRAP_API_KEY ?? secrets.MILLRACE_BOOTSTRAP_API_KEY;
  const hello = await deployHello({ url, apiKey, description: url });
  await writeRuntime(directory, { pid: process.pid, url, apiPort: api.port, workerPort: worker.port });
  closers.add(() => removeRuntime(directory));
  io.say(
    formatBanner({
      url,
      apiKey,
      hello,
      directory,
      secretsFile: secretsFile(directory),
      database:
        postgres === undefined ? 'the one of DATABASE_URL' : `PostgreSQL on 127.0.0.1:${postgres.port}`,
      hints: config.REDIS_URL === undefined ? 'within the process' : 'BullMQ on REDIS_URL',
      sandboxes: await Promise.race([worker.sandboxes, delay(SANDBOX_PATIENCE_MS, STILL_PREPARING)]),
    }),
  );

  const stop = once(() => closers.closeAll());
  stopOnSignals({ stop }, config.SHUTDOWN_GRACE_MS + STOP_MARGIN_MS, (error) =>
    logger.error({ err: error }, 'stopping failed'),
  );
  let stopping = false;
  closers.add(() => void (stopping = true));
  void postgres?.ended.then(async () => {
    if (stopping) return;
    io.say(`PostgreSQL has ended by itself; see ${directory}/postgres.log. Millrace stops.`);
    await stop().catch((raw: unknown) => logger.error({ err: coerceError(raw) }, 'stopping failed'));
    process.exit(EXIT.failure);
  });
}

async function prepareSecrets(io: Io, directory: string): Promise<Secrets> {
  const apiKey = isSet(io.env, 'MILLRACE_BOOTSTRAP_API_KEY')
    ? loadConfig({ MILLRACE_BOOTSTRAP_API_KEY: apiKeys.MILLRACE_BOOTSTRAP_API_KEY }, io.env)
        .MILLRACE_BOOTSTRAP_API_KEY
    : undefined;
  const { secrets, made, tightened } = await ensureSecrets(directory, {
    apiKey,
    hasDatabase: await hasCluster(directory),
  });
  if (made) io.say(`made ${secretsFile(directory)}: keep it, without it stored credentials cannot be read`);
  if (tightened) io.say(`${secretsFile(directory)} could be read by others; its mode is 0600 now`);
  return secrets;
}

/** What the environment says, then what only this machine's own platform knows or prefers. */
function environmentOf(env: Environment, secrets: Secrets, hasOwnDatabase: boolean): Environment {
  const own: Environment = {
    LISTEN_HOST: '127.0.0.1',
    ENCRYPTION_KEY: secrets.ENCRYPTION_KEY,
    JWT_SECRET: secrets.JWT_SECRET,
    MILLRACE_BOOTSTRAP_API_KEY: secrets.MILLRACE_BOOTSTRAP_API_KEY,
    ...publicUrlOf(env),
    // Its port is known only when it runs; until then this stands for it.
    ...(hasOwnDatabase && { DATABASE_URL: 'postgres://127.0.0.1/' }),
  };
  const missing = Object.entries(own).filter(([name]) => !isSet(env, name));
  return { ...env, ...Object.fromEntries(missing) };
}

/** `localhost` may lead to ::1 first, where another program may listen. */
function publicUrlOf(env: Environment): Environment {
  const port = isSet(env, 'API_PORT') ? env['API_PORT'] : apiKeys.API_PORT.defaultText;
  return isSet(env, 'LISTEN_HOST') || port === '0' ? {} : { PUBLIC_URL: `http://127.0.0.1:${port}` };
}

const isSet = (env: Environment, name: string): boolean =>
  [env[name], env[`${name}_FILE`]].some((value) => value !== undefined && value !== '');

async function startDatabase(io: Io, directory: string, secrets: Secrets): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({
    directory,
    password: secrets.DATABASE_PASSWORD,
    report: io.say,
  });
  try {
    await postgres.ensureDatabase(DATABASE);
    await migrate(postgres.url(DATABASE));
    return postgres;
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

async function startProcesses(
  config: DevConfig,
  logger: Logger,
  closers: Closers,
): Promise<{ readonly api: ApiRuntime; readonly worker: WorkerRuntime }> {
  const tracing = await openTracing({ config, service: 'millrace', logger });
  closers.add(() => tracing?.stop());
  const metrics = createMetrics();
  const hints = await openHints(config, metrics, tracing, logger);
  closers.add(() => hints.publisher.close());
  const [worker, api] = await startBoth(
    () =>
      startWorker({
        config,
        logger: logger.child({ process: 'worker' }),
        metrics,
        hints: hints.consumer,
        tracing,
        mayInstallGvisor: true,
      }),
    () =>
      startApi({
        config,
        logger: logger.child({ process: 'api' }),
        metrics,
        hints: hints.publisher,
        tracing,
      }),
  );
  // Both turn unready at once; requests under way may still wait for what the worker finishes.
  closers.add(async () => {
    const results = await Promise.allSettled([api.stop(), worker.stop()]);
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [coerceError(result.reason)] : [],
    );
    if (errors.length > 0) throw new AggregateError(errors, 'stopping failed in places');
  });
  return { api, worker };
}

/** The first, then the second; the first is stopped when the second cannot start. */
async function startBoth<A extends { stop(): Promise<void> }, B>(
  first: () => Promise<A>,
  second: () => Promise<B>,
): Promise<readonly [A, B]> {
  const one = await first();
  try {
    return [one, await second()];
  } catch (error) {
    await one.stop();
    throw error;
  }
}

async function openHints(
  config: DevConfig,
  metrics: Metrics,
  tracing: Tracing | undefined,
  logger: Logger,
): Promise<{ readonly publisher: HintPublisher; readonly consumer: HintConsumer }> {
  const redisHints = await openRedisHints(config, { metrics, tracing, logger });
  if (redisHints !== undefined) {
    const { publisher, createConsumer } = redisHints;
    return { publisher, consumer: createConsumer(config.WORKER_CONCURRENCY) };
  }
  const both = createInProcessHints(metrics, {
    capacity: config.HINT_HIGH_WATER,
    concurrency: config.WORKER_CONCURRENCY,
  });
  return { publisher: both, consumer: both };
}

/** Where a client on this machine reaches what listens on `listenHost`. */
function hostOf(listenHost: string): string {
  if (listenHost === '0.0.0.0') return '127.0.0.1';
  if (listenHost === '::') return '[::1]';
  return listenHost.includes(':') ? `[${listenHost}]` : listenHost;
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= work());
}
