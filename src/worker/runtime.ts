import { randomUUID } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { createCipher } from '../core/credentials/cipher.ts';
import { createCredentialReader } from '../core/credentials/reader.ts';
import { createDatabaseClock } from '../core/db/clock.ts';
import { openDatabase, type Database, type DatabaseOptions } from '../core/db/database.ts';
import { patientReads } from '../core/db/patient-reads.ts';
import { createEgressClient } from '../core/egress/client.ts';
import { createFailpoints } from '../core/failpoints.ts';
import { createDatabaseCheck } from '../core/health/readiness.ts';
import type { HintConsumer, HintPublisher } from '../core/hints/types.ts';
import { composeOrClose, type Closers } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import { createStorageWait } from '../core/startup.ts';
import { createAdminHandler } from '../core/telemetry/admin-handler.ts';
import { startAdminServer } from '../core/telemetry/admin-server.ts';
import { noteCertificate } from '../core/telemetry/certificates.ts';
import { createMeasurements } from '../core/telemetry/measurements.ts';
import type { Metrics } from '../core/telemetry/metrics.ts';
import { watchPool } from '../core/telemetry/pools.ts';
import type { Tracing } from '../core/telemetry/tracing.ts';
import { createTenantNames } from '../core/tenants/names.ts';
import { createSandboxRules } from '../core/tenants/sandbox-rules.ts';
import { createWorkflowLoader } from '../core/workflows/loader.ts';
import { createBroker } from './broker/broker.ts';
import type { WorkerConfig } from './config.ts';
import { createDispatcher, type Dispatcher } from './dispatcher.ts';
import { createEngine, type Engine } from './engine/engine.ts';
import { createJournalWriter } from './engine/journal-writer.ts';
import { createLeaseKeeper } from './engine/leases.ts';
import { createExecutors } from './executors/executors.ts';
import { createMaintenance } from './maintenance.ts';
import { createPrograms } from './programs.ts';
import { openSandboxes } from './sandbox/open-sandboxes.ts';
import { createSlots } from './slots.ts';

export interface WorkerOptions {
  readonly config: WorkerConfig;
  /** What new connections are opened with; undefined: always with that of `config`. */
  readonly databaseUrl?: () => string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Undefined: nothing carries hints, PostgreSQL is polled. */
  readonly hints: HintConsumer | undefined;
  /** Tells other workers of what this one gives up; undefined: they find it by themselves. */
  readonly announce?: HintPublisher['publish'];
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
  /** Whether runsc may be got from the internet when this machine has none. */
  readonly mayInstallGvisor?: boolean;
  /**
   * Waits for a database that is not there or not migrated yet, alive but not ready, until this is aborted. Without it such
   * a database is an error.
   */
  readonly waitForDatabase?: AbortSignal;
}

export interface WorkerRuntime {
  /** Of health and metrics. */
  readonly port: number;
  /** What isolates the code of steps, in one line. */
  readonly sandboxes: Promise<string>;
  /** Where the worker writes after its start. */
  readonly packagesDirectory: string;
  readonly imagesDirectory: string;
  /** Stops taking work, finishes or releases what runs, closes everything. Idempotent. */
  stop(): Promise<void>;
}

/** Connections: claims, journal and loads share most; leases have one that nothing else can keep busy. */
const CLAIM_CONNECTIONS = 2;
const LEASE_CONNECTIONS = 1;
/** Longer than a lease that cannot be extended lasts by default, so that it is the lease that ends an attempt. */
const READ_PATIENCE_MS = 60_000;
const STARTING = new Error('the worker still starts');

/**
 * Starts a worker: takes hints, looks for due executions, runs them.
 *
 * @throws AppError when the database is unfit or the port is taken; nothing is left open then
 */
export function startWorker(options: WorkerOptions): Promise<WorkerRuntime> {
  return composeOrClose(
    (closers) => compose(options, closers),
    (error) => options.logger.error({ err: error }, 'stopping failed'),
  );
}

async function compose(options: WorkerOptions, closers: Closers): Promise<WorkerRuntime> {
  const { config, logger, metrics, hints, tracing } = options;
  const sandboxes = openSandboxes({ ...options, mayInstall: options.mayInstallGvisor ?? false }, closers);
  const packagesDirectory = join(sandboxes.cacheDirectory, 'packages');
  const open = (name: string, maxConnections: number, extra: Partial<DatabaseOptions> = {}): Database => {
    const db = openDatabase({
      url: options.databaseUrl ?? config.DATABASE_URL,
      role: 'millrace_engine',
      name: `millrace worker ${name}`,
      maxConnections,
      queryTimeoutMs: config.DB_QUERY_TIMEOUT_MS,
      acquireTimeoutMs: 2000,
      lookUpsOnly: true,
      onSocket: (socket) => noteCertificate(metrics, 'postgres', socket),
      onError: (error) => logger.warn({ err: error }, 'a database connection failed'),
      ...extra,
    });
    closers.add(() => db.end());
    closers.add(watchPool(metrics, name, db));
    return db;
  };
  const db = open('journal', config.DB_MAX_OPEN_CONNS - CLAIM_CONNECTIONS - LEASE_CONNECTIONS);
  const claimDb = open('claims', CLAIM_CONNECTIONS, { synchronousCommit: 'off' });
  const leaseDb = open('leases', LEASE_CONNECTIONS, {
    synchronousCommit: 'off',
    queryTimeoutMs: Math.min(config.DB_QUERY_TIMEOUT_MS, config.LEASE_MS / 4),
  });
  const storage = createStorageWait({ db, logger, signal: options.waitForDatabase });
  let state: 'starting' | 'running' | 'draining' = 'starting';
  const checkDatabase = createDatabaseCheck(claimDb);
  const admin = createAdminHandler({
    checks: {
      database: async () => {
        const waitingFor = storage.reason() ?? (state === 'starting' ? STARTING : undefined);
        if (waitingFor !== undefined) throw waitingFor;
        return checkDatabase();
      },
      sandbox: sandboxes.check,
    },
    isDraining: () => state === 'draining',
    metrics: metrics.registry,
    onCheckFailed: (check, error) => {
      // What is waited for is said by itself, and less often.
      if (error !== STARTING && error !== storage.reason())
        logger.warn({ err: error, check }, 'a readiness check failed');
    },
  });
  const port = await startAdminServer(
    { admin, port: config.WORKER_PORT, host: config.LISTEN_HOST, key: 'WORKER_PORT', logger },
    closers,
  );
  await storage.wait();
  const passFailpoint = createFailpoints(config.MILLRACE_FAILPOINTS);
  const clock = createDatabaseClock(db);
  await clock.sync();

  const onError = (message: string) => (error: Error) => logger.warn({ err: error }, message);
  const egress = createEgressClient({
    allowPrivate: config.EGRESS_ALLOW_PRIVATE,
    ownNetworks: ownAddresses(),
  });
  closers.add(() => egress.close());
  // What an attempt needs before it begins: it can wait for the database, as its outcome can.
  const needs = patientReads(db, {
    patienceMs: READ_PATIENCE_MS,
    onRetry: onError('what a step needs could not be read, which is repeated'),
  });
  const credentials = createCredentialReader({
    db: needs,
    cipher: createCipher(config.ENCRYPTION_KEY),
  });
  const broker = createBroker({ egress, onRefusal: (reason) => metrics.egressRefusals.inc({ reason }) });
  const leases = createLeaseKeeper({
    db: leaseDb,
    leaseMs: config.LEASE_MS,
    heartbeatMs: Math.min(config.HEARTBEAT_MS, Math.floor(config.LEASE_MS / 3)),
    onError: onError('a heartbeat failed'),
    onLost: () => metrics.leaseLosses.inc({ side: 'lost' }),
  });
  closers.add(metrics.registry.onPage(() => metrics.leaseOldestAge.set(leases.oldestAgeMs() / 1000)));
  const slots = createSlots(config.WORKER_CONCURRENCY);
  metrics.workerSlots.set(slots.capacity);
  const dispatcher: Dispatcher = createDispatcher({
    db: claimDb,
    engine: () => engine,
    slots,
    now: clock.now,
    hintsHealthy: () => hints?.healthy() ?? false,
    pollMs: config.POLL_MS,
    pollWithoutHintsMs: config.POLL_WITHOUT_HINTS_MS,
    tracing,
    logger,
  });
  const engine: Engine = createEngine({
    executors: createExecutors({
      broker,
      readCredential: credentials.read,
      readSandboxRules: createSandboxRules(needs),
      pool: sandboxes.pool,
      containers: sandboxes.containers,
      limits: sandboxes.limits,
      loadProgram: createPrograms({ db: needs, packagesDirectory }),
    }),
    journal: createJournalWriter({
      db,
      onBatch: (size) => metrics.journalBatchSize.observe(size),
      onRetry: onError('a journal write failed and is repeated'),
      passFailpoint,
      tracing,
    }),
    db,
    claimDb,
    leases,
    leaseMs: config.LEASE_MS,
    slots,
    now: clock.now,
    random: Math.random,
    metrics,
    tracing,
    logger,
    tenantName: createTenantNames(db),
    loadWorkflow: createWorkflowLoader(db, {
      defaultTimeoutMs: config.MAX_WORKFLOW_EXECUTION_TIME * 1000,
      defaultStepTimeoutMs: config.WORKFLOW_TIMEOUT * 1000,
    }),
    onWaiting: (dueAtMs) => dispatcher.wakeAt(dueAtMs),
    onFree: () => dispatcher.slotFreed(),
    onPassedOver: () => dispatcher.passedOver(),
    onReleased: ({ id, dispatchNumber }) => options.announce?.([{ executionId: id, dispatchNumber }]),
    passFailpoint,
  });
  const workerId = randomUUID();
  const maintenance = createMaintenance({
    db,
    clock,
    metrics,
    logger,
    workerId,
    sandboxClaims: sandboxes.claims,
    dedupeWindowMs: config.DEDUPE_WINDOW,
    retentionMs: config.RETENTION,
  });
  const measurements = createMeasurements({
    db,
    metrics,
    holder: workerId,
    onError: onError('the queue could not be measured'),
  });

  leases.start();
  maintenance.start();
  measurements.start();
  dispatcher.start();
  await hints?.start(engine.offer);
  state = 'running';
  logger.info({ port, concurrency: slots.capacity }, 'worker started');

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    state = 'draining';
    logger.info({ active: slots.active() }, 'worker stops taking work');
    await hints?.stop();
    await dispatcher.stop();
    await engine.drain(config.SHUTDOWN_GRACE_MS);
    leases.stop();
    await measurements.stop();
    await maintenance.stop();
    await closers.closeAll();
    logger.info('worker stopped');
  };
  return {
    port,
    sandboxes: sandboxes.described,
    packagesDirectory,
    imagesDirectory: sandboxes.imagesDirectory,
    stop: () => (stopped ??= stop()),
  };
}

/** This machine's own addresses: a public one is no way to what listens here, either. */
const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
