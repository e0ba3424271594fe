import { join } from 'node:path';
import { coerceError } from '../../core/errors/app-error.ts';
import type { Logger } from '../../core/logger.ts';
import type { NoDriver, Runtime, SandboxDriver } from './driver.ts';
import { openGvisorDriver } from './gvisor/driver.ts';
import { findRunsc, type FoundRunsc } from './gvisor/find-runsc.ts';
import { installGvisor } from './gvisor/install.ts';
import { LauncherClient, LauncherRefusedError } from './gvisor/launcher-client.ts';
import { imagesDirectoryOf } from './images/place.ts';
import { openKubernetesDriver, type KubernetesOptions } from './kubernetes/driver.ts';
import { openProcessDriver } from './process/driver.ts';
import { makeFolder } from './rootfs/files.ts';
import { keepRootfs, provideRootfs, readRootfs, type Rootfs } from './rootfs/build.ts';

export const SANDBOX_DRIVERS = ['auto', 'gvisor', 'kubernetes', 'process', 'none'] as const;

export interface DriverOptions {
  /** `auto` is kubernetes where there is a namespace for it, gvisor where it can be, else none: `process` isolates too little to be chosen by itself. */
  readonly driver: (typeof SANDBOX_DRIVERS)[number];
  readonly environment: 'development' | 'production';
  /** What is known of the cluster and the pod of this worker, as far as it is in one. */
  readonly kubernetes?: Partial<Omit<KubernetesOptions, 'logger' | 'pod'>> & {
    readonly pod: Partial<KubernetesOptions['pod']>;
  };
  /** MILLRACE_RUNSC: tried before all others. */
  readonly runscPath?: string;
  /** `$XDG_CACHE_HOME/millrace`: runsc and root file systems, shared by all data directories. */
  readonly cacheDirectory: string;
  /** A root file system that was built before, as `scripts/build-runner-rootfs` leaves it. */
  readonly rootfs?: string;
  /** Where launchers keep what runs; by default in the cache, so that workers sweep what others left. */
  readonly stateDirectory?: string;
  /** Folders whose subfolders may be shared with sandboxes, besides those of the cache. */
  readonly shareFrom?: readonly string[];
  /** The variable PATH. */
  readonly path: string;
  /** Whether runsc may be got when there is none: takes up to minutes. */
  readonly install?: boolean;
  readonly logger: Logger;
  /** Instead of the runners of this release. */
  readonly bundleJavaScriptRunner?: () => Promise<string>;
  readonly pythonRunner?: string;
}

/** Why there is none, and what to do about it. */
class NoDriverError extends Error {
  override readonly name = 'NoDriverError';
  readonly remedy: string;

  constructor(reason: string, remedy: string) {
    super(reason);
    this.remedy = remedy;
  }
}

/** Gives what starts sandboxes on this machine. Never rejects: what cannot be is said, with what to do about it. */
export async function openSandboxDriver(options: DriverOptions): Promise<SandboxDriver | NoDriver> {
  try {
    switch (options.driver) {
      case 'none':
        throw new NoDriverError('SANDBOX_DRIVER is none', 'set SANDBOX_DRIVER to auto');
      case 'process':
        return await openProcess(options);
      case 'kubernetes':
        return await openKubernetes(options);
      case 'auto':
        return await (options.kubernetes?.runnerNamespace === undefined
          ? openGvisor(options)
          : openKubernetes(options));
      case 'gvisor':
        return await openGvisor(options);
      default:
        throw new Error(`no such driver: ${String(options.driver satisfies never)}`);
    }
  } catch (raw) {
    const error = coerceError(raw);
    const remedy =
      error instanceof NoDriverError || error instanceof LauncherRefusedError
        ? error.remedy
        : 'see the reason, and docs/operations.md on sandboxes';
    return { description: undefined, reason: error.message, remedy };
  }
}

async function openProcess(options: DriverOptions): Promise<SandboxDriver> {
  if (options.environment === 'production') {
    throw new NoDriverError(
      'SANDBOX_DRIVER=process does not isolate enough for ENVIRONMENT=production',
      'use SANDBOX_DRIVER=gvisor on Linux as root, or kubernetes',
    );
  }
  return openProcessDriver(options);
}

async function openKubernetes({ kubernetes, logger }: DriverOptions): Promise<SandboxDriver> {
  const { apiHost, apiPort, runnerNamespace, gatewayName, port, pod, ...more } = kubernetes ?? {};
  const { name, namespace, address } = pod ?? {};
  if (apiHost === undefined || apiPort === undefined || port === undefined) {
    throw new NoDriverError(
      'SANDBOX_DRIVER is kubernetes, and this worker is not in a cluster (KUBERNETES_SERVICE_HOST is unset)',
      'set SANDBOX_DRIVER to auto, or run the worker as deployments/kubernetes does',
    );
  }
  if (
    runnerNamespace === undefined ||
    gatewayName === undefined ||
    name === undefined ||
    namespace === undefined ||
    address === undefined
  ) {
    const settings = {
      RUNNER_NAMESPACE: runnerNamespace,
      GATEWAY_NAME: gatewayName,
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      POD_IP: address,
    };
    const missing = Object.entries(settings).flatMap(([key, value]) => (value === undefined ? [key] : []));
    throw new NoDriverError(
      `runner pods cannot be used without ${missing.join(', ')}`,
      'set them as deployments/kubernetes/base/worker does',
    );
  }
  const known = { apiHost, apiPort, runnerNamespace, gatewayName, port, pod: { name, namespace, address } };
  return openKubernetesDriver({ ...more, ...known, logger });
}

const GVISOR_REMEDY =
  'run `scripts/install-gvisor` as root, or set MILLRACE_RUNSC to a runsc of 2025 or later';

async function openGvisor(options: DriverOptions): Promise<SandboxDriver> {
  if (process.platform !== 'linux') {
    throw new NoDriverError(
      `gVisor runs on Linux, and this is ${process.platform}`,
      'for development, SANDBOX_DRIVER=process runs code with less isolation',
    );
  }
  if (process.getuid?.() !== 0) {
    throw new NoDriverError(
      'the worker is not root, and without root gVisor cannot limit memory, processes and time',
      'start the worker as root: it keeps a small launcher for containers and can drop its own privileges (docs/operations.md); for development, SANDBOX_DRIVER=process runs code with less isolation',
    );
  }
  // Started first, because Node takes as long as looking for runsc and the root file system.
  const launcher = new LauncherClient(options.path, options.logger);
  try {
    const rootfs = await openRootfs(options);
    const stateDirectory = options.stateDirectory ?? join(options.cacheDirectory, 'state');
    const imagesDirectory = imagesDirectoryOf(options.cacheDirectory);
    await makeFolder(imagesDirectory);
    const runsc = await findOrInstall(options, [rootfs.root, stateDirectory, imagesDirectory]);
    const { manifest } = rootfs;
    if (manifest.pythonMissing !== undefined) {
      options.logger.warn(
        { reason: manifest.pythonMissing },
        'there is no Python; sandboxes run JavaScript only',
      );
    }
    return await openGvisorDriver(
      {
        settings: {
          candidates: runsc.candidates,
          known: runsc.known,
          root: rootfs.root,
          manifest,
          stateDirectory,
          imagesDirectory,
          shareFrom: [options.cacheDirectory, ...(options.shareFrom ?? [])],
          path: options.path,
        },
        runtimes: new Set<Runtime>(manifest.python ? ['javascript', 'python'] : ['javascript']),
        logger: options.logger,
        onChosen: runsc.remember,
      },
      launcher,
    );
  } catch (error) {
    await launcher.close();
    throw error;
  }
}

async function openRootfs(options: DriverOptions): Promise<Rootfs> {
  if (options.rootfs !== undefined) {
    return readRootfs(options.rootfs).catch((raw: unknown) => {
      throw new NoDriverError(
        `${options.rootfs} holds no root file system (${coerceError(raw).message})`,
        `build it: scripts/build-runner-rootfs ${options.rootfs}`,
      );
    });
  }
  try {
    const rootfs = await provideRootfs({
      ...options,
      onBuild: (key) => options.logger.info({ key }, 'building the root file system of sandboxes'),
    });
    keepRootfs(rootfs);
    return rootfs;
  } catch (raw) {
    throw new NoDriverError(
      `the root file system of sandboxes could not be built: ${coerceError(raw).message}`,
      'mend what the reason names, or build it elsewhere with scripts/build-runner-rootfs',
    );
  }
}

async function findOrInstall(options: DriverOptions, circumstances: readonly string[]): Promise<FoundRunsc> {
  const found = await findRunsc({ ...options, circumstances });
  if (found.candidates.length > 0) return found;
  if (options.install) {
    options.logger.info('there is no runsc on this machine; getting it, which may take some minutes');
    const failure = await installGvisor(options);
    const again = await findRunsc({ ...options, circumstances });
    if (again.candidates.length > 0) return again;
    throw new NoDriverError(
      `runsc (gVisor) could not be installed: ${failure ?? again.refused.join('; ')}`,
      GVISOR_REMEDY,
    );
  }
  throw new NoDriverError(
    ['there is no runsc (gVisor) on this machine', ...found.refused].join('; '),
    GVISOR_REMEDY,
  );
}
