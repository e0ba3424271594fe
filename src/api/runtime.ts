import { randomUUID } from 'node:crypto';
import type { apiKeys } from '../core/config/api-keys.ts';
import type { ConfigOf } from '../core/config/key.ts';
import { createBundler } from '../core/bundle/bundler.ts';
import { createCipher } from '../core/credentials/cipher.ts';
import { createCredentialReader } from '../core/credentials/reader.ts';
import { createDatabaseClock } from '../core/db/clock.ts';
import { openDatabase, type Database, type DatabaseRole } from '../core/db/database.ts';
import { createEndpointDirectory } from '../core/deliveries/endpoints.ts';
import { createIngest } from '../core/deliveries/ingest.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { createExecutionWatcher } from '../core/executions/watch.ts';
import { createFailpoints } from '../core/failpoints.ts';
import { createClockCheck, createDatabaseCheck } from '../core/health/readiness.ts';
import type { HintPublisher } from '../core/hints/types.ts';
import { composeOrClose, type Closers } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import { createStorageWait } from '../core/startup.ts';
import { createAdminHandler } from '../core/telemetry/admin-handler.ts';
import { noteCertificate, watchCertificates } from '../core/telemetry/certificates.ts';
import { createMeasurements } from '../core/telemetry/measurements.ts';
import type { Metrics } from '../core/telemetry/metrics.ts';
import { watchPool } from '../core/telemetry/pools.ts';
import type { Tracing } from '../core/telemetry/tracing.ts';
import { ensureBootstrapKey } from '../core/tenants/bootstrap.ts';
import { createWorkflowLoader } from '../core/workflows/loader.ts';
import { createApp } from './app.ts';
import { DEFAULT_API_LIMITS } from './deps.ts';
import { createBacklogGuard } from './hooks/backlog.ts';
import { createHooksHandler } from './hooks/handler.ts';
import { createDoors } from './http/doors.ts';
import { statusLabel } from './http/exchange.ts';

export type ApiConfig = ConfigOf<typeof apiKeys>;

export interface ApiOptions {
  readonly config: ApiConfig;
  /** What new connections are opened with; undefined: always with that of `config`. */
  readonly databaseUrl?: () => string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Undefined: nothing carries hints, workers poll. */
  readonly hints: HintPublisher | undefined;
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
  /**
   * Waits for a database that is not there or not migrated yet, alive but not ready, until this is aborted. Without it such
   * a database is an error.
   */
  readonly waitForDatabase?: AbortSignal;
}

export interface ApiRuntime {
  readonly port: number;
  /** Of health and metrics; the same as `port` unless API_ADMIN_PORT says otherwise. */
  readonly adminPort: number;
  /** Where callers reach it, by configuration or by its port. */
  readonly publicUrl: string;
  /** Is unready from now on, and goes on serving until those who send have noticed and it is stopped. */
  readonly leave: () => void;
  /** Stops accepting, finishes requests under way, closes everything. Idempotent. */
  stop(): Promise<void>;
}

/** Connections: ingest needs one for each batch under way, and one to look endpoints up. */
const INGEST_CONNECTIONS = 4;
const ACQUIRE_TIMEOUT_MS = 2000;
const CLOCK_SYNC_MS = 10_000;
const STARTING = new Error('the API still starts');
const NO_HINTS: HintPublisher = { publish: () => {}, healthy: () => false, close: async () => {} };

/**
 * Starts the API: ingest and REST, and health and metrics on the same port or one of their own.
 *
 * @throws AppError when the database is unfit or the port is taken; nothing is left open then
 */
export function startApi(options: ApiOptions): Promise<ApiRuntime> {
  return composeOrClose(
    (closers) => compose(options, closers),
    (error) => options.logger.error({ err: error }, 'stopping failed'),
  );
}

async function compose(options: ApiOptions, closers: Closers): Promise<ApiRuntime> {
  const { config, logger, metrics, hints = NO_HINTS, tracing } = options;
  const warn = (message: string) => (raw: unknown) => logger.warn({ err: coerceError(raw) }, message);
  const open = (role: DatabaseRole, name: string, maxConnections: number): Database => {
    const db = openDatabase({
      url: options.databaseUrl ?? config.DATABASE_URL,
      role,
      name: `millrace api ${name}`,
      maxConnections,
      queryTimeoutMs: config.DB_QUERY_TIMEOUT_MS,
      acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
      lookUpsOnly: role === 'millrace_ingest',
      onSocket: (socket) => noteCertificate(metrics, 'postgres', socket),
      onError: warn('a database connection failed'),
    });
    closers.add(() => db.end());
    closers.add(watchPool(metrics, name, db));
    return db;
  };
  const db = open('millrace_api', 'rest', config.DB_MAX_OPEN_CONNS - INGEST_CONNECTIONS);
  const ingestDb = open('millrace_ingest', 'ingest', INGEST_CONNECTIONS);
  const clock = createDatabaseClock(ingestDb);
  const stopping = new AbortController();
  const storage = createStorageWait({ db, logger, signal: options.waitForDatabase });
  let isServing = false;
  let isLeaving = false;
  const checkDatabase = createDatabaseCheck(ingestDb);
  const admin = createAdminHandler({
    checks: {
      database: async () => {
        const waitingFor = storage.reason() ?? (isServing ? undefined : STARTING);
        if (waitingFor !== undefined) throw waitingFor;
        return checkDatabase();
      },
      clock: createClockCheck(clock),
    },
    isDraining: () => isLeaving || stopping.signal.aborted,
    metrics: metrics.registry,
    onCheckFailed: (check, error) => {
      // What is waited for is said by itself, and less often.
      if (error !== STARTING && error !== storage.reason())
        logger.warn({ err: error, check }, 'a readiness check failed');
    },
  });
  const doors = await createDoors(
    {
      port: config.API_PORT,
      adminPort: config.API_ADMIN_PORT,
      host: config.LISTEN_HOST,
      admin,
      shutdownGraceMs: config.SHUTDOWN_GRACE_MS,
      logger,
    },
    closers,
  );
  await storage.wait();
  if (config.MILLRACE_BOOTSTRAP_API_KEY !== undefined)
    await bootstrap(options, config.MILLRACE_BOOTSTRAP_API_KEY);
  await clock.sync();
  const syncTimer = setInterval(() => {
    clock
      .sync()
      .then(
        () => metrics.clockSkew.set(clock.skewMs() / 1000),
        warn('the database’s clock could not be read'),
      );
  }, CLOCK_SYNC_MS);
  closers.add(() => clearInterval(syncTimer));

  const cipher = createCipher(config.ENCRYPTION_KEY);
  const credentials = createCredentialReader({ db: ingestDb, cipher });
  const endpoints = createEndpointDirectory({
    db: ingestDb,
    credentials,
    loadWorkflow: createWorkflowLoader(ingestDb, {}),
  });
  const passFailpoint = createFailpoints(config.MILLRACE_FAILPOINTS);
  const ingest = createIngest({
    db: ingestDb,
    onBatch: (size) => metrics.ingestBatchSize.observe(size),
    passFailpoint,
    tracing,
  });
  closers.add(() => ingest.idle());
  const watcher = createExecutionWatcher(ingestDb, clock.now, warn('executions could not be watched'));
  const backlog = createBacklogGuard(ingestDb, config.MAX_BACKLOG, warn('the backlog could not be measured'));
  const bundler = createBundler();
  closers.add(() => bundler.close());
  // PUBLIC_URL by default names the port, which may be of free choice (0).
  const publicUrl = config.PUBLIC_URL ?? `http://localhost:${doors.port}`;
  const publicHooksUrl = config.PUBLIC_HOOKS_URL ?? publicUrl;

  const hooks = createHooksHandler({
    endpoints,
    ingest,
    hints,
    backlog,
    watchExecution: watcher.watch,
    now: clock.now,
    publicHooksUrl,
    maxBodyBytes: config.WEBHOOK_MAX_BODY_BYTES,
    rateLimitPerEndpoint: config.RATE_LIMIT_PER_ENDPOINT,
    rateLimitPerTenant: config.RATE_LIMIT_PER_TENANT,
    stopping: stopping.signal,
    passFailpoint,
    metrics,
    tracing,
    logger,
  });
  const app = createApp({
    db,
    clock,
    logger,
    settings: {
      publicUrl,
      publicHooksUrl,
      corsAllowedOrigins: config.CORS_ALLOWED_ORIGINS,
      replayEnabled: config.FEATURE_WEBHOOK_REPLAY,
      jwtSecret: config.JWT_SECRET,
      limits: {
        ...DEFAULT_API_LIMITS,
        maxExecutionTimeS: config.MAX_WORKFLOW_EXECUTION_TIME,
        maxResources: { cpus: config.SANDBOX_MAX_CPUS, memoryBytes: config.SANDBOX_MAX_MEMORY_BYTES },
      },
    },
    cipher,
    bundler,
    hints,
    watchExecution: watcher.watch,
    invalidateWorkflow: () => endpoints.forgetAll(),
    invalidateCredential: (tenantId, name) => {
      credentials.forget(tenantId, name);
      endpoints.forgetAll();
    },
    stopping: stopping.signal,
    hooks,
    admin: doors.adminPort === doors.port ? admin : undefined,
    onRequest: ({ route, status, durationMs, traceId }) =>
      metrics.httpRequestDuration.observe({ route, status: statusLabel(status) }, durationMs / 1000, traceId),
    tracing,
  });
  doors.open((req, res) => (req.url?.startsWith('/hooks/') ? hooks(req, res) : void app(req, res)));
  isServing = true;
  backlog.start();
  const measurements = createMeasurements({
    db: ingestDb,
    metrics,
    holder: randomUUID(),
    onlyWithoutWorkers: true,
    onError: warn('the queue could not be measured'),
  });
  measurements.start();
  closers.add(() => measurements.stop());
  closers.add(
    watchCertificates({
      publicUrl,
      publicHooksUrl,
      metrics,
      onError: (error, url) =>
        logger.debug({ err: error, url }, 'the certificate of a public address could not be looked at'),
    }),
  );
  const { port, adminPort } = doors;
  logger.info({ port, adminPort, publicUrl }, 'api started');

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    stopping.abort();
    await doors.sayFarewell();
    backlog.stop();
    watcher.stop();
    // Requests under way need all that is closed after them.
    await doors.close();
    await closers.closeAll();
    logger.info('api stopped');
  };
  const leave = (): void => void (isLeaving = true);
  return { port, adminPort, publicUrl, leave, stop: () => (stopped ??= stop()) };
}

/** The only thing the API does beyond its own roles, and only while there is no key at all. */
async function bootstrap({ config, logger }: ApiOptions, key: string): Promise<void> {
  const engine = openDatabase({
    url: config.DATABASE_URL,
    role: 'millrace_engine',
    name: 'millrace api bootstrap',
    maxConnections: 1,
    queryTimeoutMs: config.DB_QUERY_TIMEOUT_MS,
    acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
    onError: () => {},
  });
  try {
    if (await ensureBootstrapKey(engine, key)) logger.info('the first API key was created');
  } finally {
    await engine.end();
  }
}
