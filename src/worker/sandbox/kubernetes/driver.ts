import { setTimeout as delay } from 'node:timers/promises';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import type { AllowedImage } from '../../../core/sandbox/allowed-images.ts';
import type { SandboxDriver } from '../driver.ts';
import { openKubernetesApi, SERVICE_ACCOUNT_FOLDER } from './api.ts';
import { openGateway } from './gateway.ts';
import { createImagePods } from './image-pods.ts';
import { createPoolWatch } from './pool-watch.ts';
import { createRunnerPods } from './runner-pods.ts';
import { createSharedObjects, hostPort } from './shared-objects.ts';
import { startUpkeep, type UpkeepTimes } from './upkeep.ts';
import { createWarmPools } from './warm-pools.ts';

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15_000;

export interface KubernetesOptions {
  /** The API server, as the kubelet tells every pod. */
  readonly apiHost: string;
  readonly apiPort: number;
  /** Has the token of this pod and the authority of the API server. */
  readonly serviceAccountFolder?: string;
  readonly runnerNamespace: string;
  /** Of the Service and the Secret of the gateway, in the worker's namespace. */
  readonly gatewayName: string;
  /** The port to listen on, the same in every worker. */
  readonly port: number;
  /** This worker's own. */
  readonly pod: { readonly name: string; readonly namespace: string; readonly address: string };
  /** Images of container steps that may run; none, if it says nothing. */
  readonly allowedImages?: readonly AllowedImage[];
  /** Told until when the gateway's certificate is valid. */
  readonly onCertificate?: (validToMs: number) => void;
  readonly logger: Logger;
  readonly times?: UpkeepTimes & {
    readonly startMs?: number;
    readonly retryMs?: number;
    readonly lookMs?: number;
  };
}

/**
 * Sandboxes that are pods of a namespace of their own, each of which dials in (docs/decisions/0010-runner-pods.md).
 * Resolves when the cluster has given all that it takes, and tries again until then.
 */
export async function openKubernetesDriver(options: KubernetesOptions): Promise<SandboxDriver> {
  const { logger, times } = options;
  for (let waitMs = times?.retryMs ?? FIRST_RETRY_MS; ; waitMs = Math.min(2 * waitMs, LAST_RETRY_MS)) {
    try {
      return await open(options);
    } catch (raw) {
      logger.warn(
        { reason: coerceError(raw).message, remedy: 'apply the manifests of both namespaces' },
        'runner pods cannot be used yet',
      );
    }
    await delay(waitMs, undefined, { ref: false });
  }
}

async function open(options: KubernetesOptions): Promise<SandboxDriver> {
  const { logger, pod, runnerNamespace, gatewayName } = options;
  const now = (): number => Date.now();
  const api = await openKubernetesApi({
    host: options.apiHost,
    port: options.apiPort,
    folder: options.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER,
  });
  try {
    const pools = createWarmPools({ api, namespace: runnerNamespace });
    const pods = createRunnerPods({ api, pools, namespace: runnerNamespace, worker: pod.name });
    const shared = createSharedObjects({ api, namespace: pod.namespace, gatewayName, runnerNamespace, now });
    const [{ current }] = await Promise.all([shared.certificates(), pods.list(), shared.workers()]);
    const certificate = { cert: current.certificate, key: current.key };
    const self = hostPort(pod.address, options.port);
    const gateway = await openGateway({
      tls: certificate,
      port: options.port,
      pods,
      self,
      logger,
      startTimeoutMs: options.times?.startMs,
    });
    const upkeep = startUpkeep({
      shared,
      pods,
      gateway,
      lookAtPools: createPoolWatch({ pools, namespace: runnerNamespace, logger, now }),
      worker: pod.name,
      self,
      certificate,
      logger,
      now,
      onCertificate: options.onCertificate,
      times: options.times,
    });
    return {
      ...gateway.driver,
      claimImage: createImagePods({
        pods,
        gateway,
        allowed: options.allowedImages ?? [],
        logger,
        times: options.times,
      }),
      async close() {
        upkeep.stop();
        await gateway.driver.close();
        await api.close();
      },
    };
  } catch (error) {
    await api.close();
    throw error;
  }
}
