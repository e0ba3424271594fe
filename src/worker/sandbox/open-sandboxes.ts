import { homedir } from 'node:os';
import { join } from 'node:path';
import { appError } from '../../core/errors/app-error.ts';
import type { Closers } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/logger.ts';
import type { ReadinessCheck } from '../../core/telemetry/admin-handler.ts';
import type { Metrics } from '../../core/telemetry/metrics.ts';
import type { WorkerConfig } from '../config.ts';
import { createContainers, type Containers } from './containers.ts';
import type { NoDriver, Runtime, SandboxDriver, SandboxLimits } from './driver.ts';
import { imagesDirectoryOf } from './images/place.ts';
import { openSandboxDriver } from './open-driver.ts';
import { createSandboxPool } from './pool.ts';
import { countClaims } from './pool/claim-counts.ts';
import type { PoolMetrics } from './pool/metrics.ts';
import type { SandboxPool } from './types.ts';

/** What a worker runs code in. */
export interface Sandboxes {
  readonly pool: SandboxPool;
  readonly containers: Containers;
  /** Of the last minute. */
  readonly claims: () => Readonly<Record<Runtime, number>>;
  /** Of a sandbox whose step asks for nothing else. */
  readonly limits: SandboxLimits;
  /** Holds what can be made again. */
  readonly cacheDirectory: string;
  /** Where images are unpacked. */
  readonly imagesDirectory: string;
  /** Ready once it is known what isolates, or that nothing does; at the latest after a minute. */
  readonly check: ReadinessCheck;
  /** In one line, for people who start it. */
  readonly described: Promise<string>;
}

export interface SandboxesOptions {
  readonly config: WorkerConfig;
  readonly metrics: PoolMetrics & Pick<Metrics, 'sandboxDriver' | 'certificateExpiry'>;
  readonly logger: Logger;
  /** Whether runsc may be got from the internet, which takes minutes. */
  readonly mayInstall: boolean;
}

const MAX_PIDS = 256;
/** A start is mostly waiting for Kubernetes; one that takes seconds is not to hold up those that take milliseconds. */
const MAX_STARTING_PODS = 32;
/** Spares that may be there beyond those kept ready, while many are being taken. */
const EXTRA_SPARES = 2;
/** Everything but code steps works before: what is not known by then is not waited for any longer. */
const READY_WITHIN_MS = 60_000;

/** Opens the driver beside the rest of the start; what it cannot do is said by each code step, and in the log. */
export function openSandboxes(options: SandboxesOptions, closers: Closers): Sandboxes {
  const { config, logger, metrics } = options;
  const cacheDirectory = join(config.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'millrace');
  const limits = { memoryBytes: config.SANDBOX_MEMORY_BYTES, cpus: config.SANDBOX_CPUS, pids: MAX_PIDS };
  let opened: SandboxDriver | NoDriver | undefined;
  const driver = open(options, cacheDirectory).then((found) => {
    opened = found;
    metrics.sandboxDriver.set({ driver: found.description?.driver ?? 'none' }, 1);
    announce(found, logger);
    return found;
  });
  const claims = countClaims();
  const pool = createSandboxPool({
    driver,
    onClaimed: claims.add,
    metrics,
    logger,
    defaultLimits: limits,
    ...(usesRunnerPods(config) ? poolOfPods(config) : poolOfMachine(config)),
    budgetBytes: config.SANDBOX_MEMORY_BUDGET_BYTES,
    claimTimeoutMs: config.SANDBOX_CLAIM_TIMEOUT_MS,
    session: {
      onError: (error) => logger.error({ err: error }, 'a request of a code step failed inside the platform'),
    },
  });
  const imagesDirectory = imagesDirectoryOf(cacheDirectory);
  const containers = createContainers({
    driver,
    imagesFolder: config.SANDBOX_IMAGES_DIR,
    imagesDirectory,
    budgetBytes: config.SANDBOX_MEMORY_BUDGET_BYTES,
    claimTimeoutMs: config.SANDBOX_CLAIM_TIMEOUT_MS,
    logger,
  });
  closers.add(() => pool.close());
  const lateAt = performance.now() + READY_WITHIN_MS;
  return {
    pool,
    containers,
    claims: claims.lastMinute,
    limits,
    cacheDirectory,
    imagesDirectory,
    described: driver.then(describe),
    check: () => {
      if (opened !== undefined) return Promise.resolve(describe(opened));
      if (performance.now() < lateAt) return Promise.reject(appError('sandbox_not_ready'));
      return Promise.resolve('sandboxes are still being prepared');
    },
  };
}

const usesRunnerPods = ({ SANDBOX_DRIVER, RUNNER_NAMESPACE }: WorkerConfig): boolean =>
  SANDBOX_DRIVER === 'kubernetes' || (SANDBOX_DRIVER === 'auto' && RUNNER_NAMESPACE !== undefined);

const poolOfMachine = (config: WorkerConfig) => ({
  spares: {
    javascript: sparesOf(config.SANDBOX_SPARES_JAVASCRIPT),
    python: { min: config.SANDBOX_SPARES_PYTHON, max: config.SANDBOX_SPARES_PYTHON },
  },
});

/** Spares wait in their Deployments, for all workers; and neither processors nor memory of this pod are theirs. */
const poolOfPods = (config: WorkerConfig) => ({
  spares: { javascript: { min: 0, max: 0 }, python: { min: 0, max: 0 } },
  maxPerOwner: Math.ceil(config.WORKER_CONCURRENCY / 2),
  maxStarting: MAX_STARTING_PODS,
  availableMemory: () => Number.MAX_SAFE_INTEGER,
});

const sparesOf = (min: number) => ({ min, max: min === 0 ? 0 : min + EXTRA_SPARES });

function open(
  { config, logger, metrics, mayInstall }: SandboxesOptions,
  cacheDirectory: string,
): Promise<SandboxDriver | NoDriver> {
  return openSandboxDriver({
    driver: config.SANDBOX_DRIVER,
    environment: config.ENVIRONMENT,
    cacheDirectory,
    path: config.PATH,
    install: mayInstall,
    logger,
    ...(config.MILLRACE_RUNSC === undefined ? {} : { runscPath: config.MILLRACE_RUNSC }),
    ...(config.MILLRACE_RUNNER_ROOTFS === undefined ? {} : { rootfs: config.MILLRACE_RUNNER_ROOTFS }),
    ...(config.SANDBOX_STATE_DIR === undefined ? {} : { stateDirectory: config.SANDBOX_STATE_DIR }),
    kubernetes: {
      apiHost: config.KUBERNETES_SERVICE_HOST,
      apiPort: config.KUBERNETES_SERVICE_PORT,
      runnerNamespace: config.RUNNER_NAMESPACE,
      gatewayName: config.GATEWAY_NAME,
      port: config.GATEWAY_PORT,
      pod: { name: config.POD_NAME, namespace: config.POD_NAMESPACE, address: config.POD_IP },
      allowedImages: config.SANDBOX_IMAGES_ALLOW,
      onCertificate: (validToMs) => metrics.certificateExpiry.set({ name: 'gateway' }, validToMs / 1000),
    },
  });
}

const describe = (driver: SandboxDriver | NoDriver): string =>
  driver.description === undefined
    ? `none: ${driver.reason}; ${driver.remedy}`
    : `${driver.description.driver}: ${driver.description.isolation}`;

function announce(driver: SandboxDriver | NoDriver, logger: Logger): void {
  if (driver.description === undefined) {
    logger.warn({ reason: driver.reason, remedy: driver.remedy }, 'code steps cannot run on this worker');
  } else if (driver.description.driver === 'process') {
    logger.warn(driver.description, 'code steps run with little isolation: for development alone');
  } else {
    logger.info(driver.description, 'code steps run in sandboxes');
  }
}
