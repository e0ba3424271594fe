import type { SecureContextOptions } from 'node:tls';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import type { Gateway } from './gateway.ts';
import type { FoundPod, RunnerPods } from './runner-pods.ts';
import type { SharedObjects, Workers } from './shared-objects.ts';

const WORKERS_EVERY_MS = 5000;
const CERTIFICATES_EVERY_MS = 60_000;
const SWEEP_EVERY_MS = 20_000;
const POOLS_EVERY_MS = 20_000;
/** What was started because the pool was empty, and then not needed. */
const UNWANTED_AFTER_MS = 120_000;

export interface UpkeepTimes {
  readonly workersMs?: number;
  readonly certificatesMs?: number;
  readonly sweepMs?: number;
  readonly poolsMs?: number;
}

/** What a worker does for runners without being asked. All workers do it: none has to be the only one. */
export function startUpkeep(deps: {
  readonly shared: SharedObjects;
  readonly pods: Pick<RunnerPods, 'list' | 'remove'>;
  readonly gateway: Pick<Gateway, 'holds' | 'setCertificate' | 'setGateways'>;
  /** Says what keeps runners from waiting. */
  readonly lookAtPools: () => Promise<void>;
  /** The pod of this worker, and its gateway. */
  readonly worker: string;
  readonly self: string;
  readonly certificate: SecureContextOptions;
  /** Told until when the one in use is valid. */
  readonly onCertificate?: ((validToMs: number) => void) | undefined;
  readonly logger: Logger;
  readonly now: () => number;
  readonly times?: UpkeepTimes | undefined;
}): { stop(): void } {
  const { shared, pods, gateway, lookAtPools, worker, self, logger, times = {} } = deps;
  let inUse = deps.certificate.cert;
  let workers: Workers | undefined;
  let suspects: ReadonlySet<string> = new Set();

  const lookForWorkers = async (): Promise<void> => {
    const found = await shared.workers();
    const before = workers?.gateways;
    workers = found;
    if (before?.join() !== found.gateways.join()) {
      gateway.setGateways([...new Set([self, ...found.gateways])]);
    }
  };
  const renew = async (): Promise<void> => {
    const certificates = await shared.certificates();
    await shared.publish(certificates);
    const { certificate, key, validToMs } = certificates.current;
    deps.onCertificate?.(validToMs);
    if (certificate === inUse) return;
    inUse = certificate;
    gateway.setCertificate({ cert: certificate, key });
    logger.info('the gateway of runners uses its next certificate');
  };
  const sweep = async (): Promise<void> => {
    const found = await pods.list();
    const held = (pod: FoundPod): boolean => gateway.holds(pod.uid);
    const orphans = orphansOf(found, { worker, workers: workers?.pods, held, nowMs: deps.now() });
    // Twice in a row: a worker that has just started may not be known yet.
    for (const pod of orphans.filter(({ uid }) => suspects.has(uid))) {
      logger.info({ pod: pod.name, claimedBy: pod.claimedBy }, 'a runner pod that nobody uses is deleted');
      await pods.remove(pod);
    }
    suspects = new Set(orphans.map(({ uid }) => uid));
  };
  const timers = [
    repeat(lookForWorkers, times.workersMs ?? WORKERS_EVERY_MS),
    repeat(renew, times.certificatesMs ?? CERTIFICATES_EVERY_MS),
    repeat(sweep, times.sweepMs ?? SWEEP_EVERY_MS),
    repeat(lookAtPools, times.poolsMs ?? POOLS_EVERY_MS),
  ];
  return {
    stop() {
      for (const timer of timers) clearInterval(timer);
    },
  };

  /** Now and then, and not again before it has ended. */
  function repeat(work: () => Promise<void>, everyMs: number): NodeJS.Timeout {
    let isUnderWay = false;
    const once = (): void => {
      if (isUnderWay) return;
      isUnderWay = true;
      work()
        .catch((raw: unknown) => {
          logger.warn(
            { reason: coerceError(raw).message, work: work.name },
            'the upkeep of runner pods failed, and is tried again',
          );
        })
        .finally(() => (isUnderWay = false));
    };
    once();
    return setInterval(once, everyMs).unref();
  }
}

/** Pods whose worker is gone, or has forgotten them, and cold ones that nobody took. */
export function orphansOf(
  found: readonly FoundPod[],
  facts: {
    readonly worker: string;
    /** Pods of all workers; undefined while they are not known. */
    readonly workers: ReadonlySet<string> | undefined;
    readonly held: (pod: FoundPod) => boolean;
    readonly nowMs: number;
  },
): readonly FoundPod[] {
  const { worker, workers, held, nowMs } = facts;
  return found.filter((pod) => {
    if (held(pod)) return false;
    const { claimedBy, createdAtMs } = pod;
    if (claimedBy === undefined) return nowMs - createdAtMs >= UNWANTED_AFTER_MS;
    if (claimedBy === worker) return true;
    // Where this worker itself is not known, the others need not be gone either.
    return workers?.has(worker) === true && !workers.has(claimedBy);
  });
}
