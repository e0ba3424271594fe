import { setTimeout as delay } from 'node:timers/promises';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import { isAllowedImage, type AllowedImage } from '../../../core/sandbox/allowed-images.ts';
import { retryableError, StepError, terminalError } from '../../../core/step-error.ts';
import type { ImagePlace, ImageRequest, Sandbox, SandboxDriver } from '../driver.ts';
import { SANDBOX_UID } from '../rootfs/layout.ts';
import { KubernetesError } from './api.ts';
import type { Gateway } from './gateway.ts';
import { openImageSession, type ImageSession } from './image-session.ts';
import type { PodProgress } from './pod-progress.ts';
import type { RunnerPod, RunnerPods } from './runner-pods.ts';

const LOOK_MS = 1000;
/** A gVisor that is killed says no goodbye, and TCP alone takes 40 s to miss it. */
const GUARD_MS = 2000;
/** An image of gigabytes is pulled once; it stays on its node. */
const PULL_MS = 300_000;
/** What the kubelet needs to tell how a container has ended. */
const INQUEST_MS = 3000;
/** Beyond what its worker allows it, should that worker be gone. */
const DEADLINE_MARGIN_MS = 60_000;

export interface ImagePodsDeps {
  readonly pods: Pick<RunnerPods, 'createForImage' | 'look' | 'remove'>;
  readonly gateway: Pick<Gateway, 'takePod'>;
  /** SANDBOX_IMAGES_ALLOW. */
  readonly allowed: readonly AllowedImage[];
  readonly logger: Logger;
  readonly times?:
    { readonly lookMs?: number; readonly guardMs?: number; readonly inquestMs?: number } | undefined;
}

type Pod = Pick<RunnerPod, 'uid' | 'name'>;

/** Makes a pod for each program of an image, which the kubelet pulls (docs/decisions/0012-step-pods.md). */
export function createImagePods(deps: ImagePodsDeps): NonNullable<SandboxDriver['claimImage']> {
  const { pods, gateway, logger, times } = deps;
  const lookMs = times?.lookMs ?? LOOK_MS;

  const create = async (request: ImageRequest, claimTimeoutMs: number): Promise<Pod> => {
    const deadlineMs = Math.max(PULL_MS, claimTimeoutMs) + request.timeoutMs + DEADLINE_MARGIN_MS;
    const spec = {
      step: request.step,
      image: request.image,
      limits: request.limits,
      deadlineSeconds: Math.ceil(deadlineMs / 1000),
    };
    const until = performance.now() + claimTimeoutMs;
    for (;;) {
      try {
        return await pods.createForImage(spec);
      } catch (raw) {
        logger.warn({ err: coerceError(raw) }, 'a pod for a container step could not be made');
        if (!(raw instanceof KubernetesError) || raw.status >= 500) throw notStarted(raw);
        // Others give back what they have of the quota when they end.
        if (!raw.message.includes('exceeded quota') || performance.now() > until) throw refused(raw);
      }
      await delay(lookMs, undefined, { signal: request.signal });
    }
  };
  /** @throws StepError once it is known that the pod will not be ready; the signal's reason when it is aborted */
  const watch = async (
    pod: Pod,
    image: string,
    claimTimeoutMs: number,
    signal: AbortSignal,
  ): Promise<never> => {
    const startedAt = performance.now();
    let whyNoImage: string | undefined;
    for (;;) {
      await delay(lookMs, undefined, { signal, ref: false });
      const elapsedMs = performance.now() - startedAt;
      // While nobody answers, time alone tells.
      const progress = await pods.look(pod).catch((): PodProgress => ({ type: 'starting' }));
      switch (progress?.type) {
        case undefined:
          throw unready('it was deleted');
        case 'failed':
          throw unready(progress.reason);
        case 'no_image':
          if (progress.isFinal) throw notFound(image, progress.reason);
          // The first time, its reason is said in full.
          whyNoImage ??= progress.reason;
          if (elapsedMs > claimTimeoutMs) throw unready(`${image} cannot be pulled: ${whyNoImage}`);
          break;
        case 'pending':
          if (elapsedMs > claimTimeoutMs) throw unready(progress.reason);
          break;
        case 'starting':
          if (elapsedMs > Math.max(PULL_MS, claimTimeoutMs)) throw unready('it takes too long to start');
          break;
        default:
          progress satisfies never;
      }
    }
  };
  const inquest = async (pod: Pod) => {
    const until = performance.now() + (times?.inquestMs ?? INQUEST_MS);
    let detail: string | undefined;
    for (;;) {
      const progress = await pods.look(pod).catch(() => undefined);
      if (progress?.type === 'failed') {
        detail = progress.reason;
        if (progress.isOutOfMemory) return { reason: 'out_of_memory', detail } as const;
      }
      if (progress === undefined || performance.now() > until) break;
      await delay(lookMs / 4, undefined, { ref: false });
    }
    return detail === undefined ? undefined : ({ reason: 'exited', detail } as const);
  };
  /** Hangs up when Kubernetes knows that the pod has ended. */
  const guard = (pod: Pod, sandbox: Sandbox): void => {
    const timer = setInterval(() => {
      pods.look(pod).then(
        (progress) => {
          if (progress === undefined || progress.type === 'failed') sandbox.channel.destroy();
        },
        () => undefined, // it is asked again
      );
    }, times?.guardMs ?? GUARD_MS).unref();
    void sandbox.exited.then(() => clearInterval(timer));
  };
  /** @throws what has kept it from being ready; then there is no pod any more */
  const open = async (pod: Pod, request: ImageRequest, claimTimeoutMs: number): Promise<ImagePlace> => {
    const over = new AbortController();
    const signal = AbortSignal.any([request.signal, over.signal]);
    watch(pod, request.image, claimTimeoutMs, signal).catch((raw: unknown) => over.abort(raw));
    try {
      const sandbox = await gateway.takePod(pod.uid, { signal, inquest: () => inquest(pod) });
      const kill = (): void => sandbox.kill();
      signal.addEventListener('abort', kill, { once: true });
      const session = await openImageSession(sandbox);
      signal.removeEventListener('abort', kill);
      guard(pod, sandbox);
      return placeOf(session, sandbox.id, kill);
    } catch (raw) {
      await pods.remove(pod).catch((error: unknown) => {
        logger.warn({ err: coerceError(error), pod: pod.name }, 'a pod could not be deleted');
      });
      request.signal.throwIfAborted();
      throw over.signal.aborted ? over.signal.reason : raw;
    } finally {
      over.abort();
    }
  };
  return async (request, claimTimeoutMs) => {
    check(request, deps.allowed);
    const pod = await create(request, claimTimeoutMs);
    try {
      return await open(pod, request, claimTimeoutMs);
    } catch (raw) {
      request.signal.throwIfAborted();
      if (raw instanceof StepError) throw raw;
      logger.warn({ err: coerceError(raw), pod: pod.name }, 'the pod of a container step is of no use');
      throw notStarted(raw);
    }
  };
}

function placeOf(session: ImageSession, id: string, kill: () => void): ImagePlace {
  return {
    // What the image would run by itself, nobody can tell here.
    image: { id, entrypoint: [], command: [], ...session.facts, userId: SANDBOX_UID, groupId: SANDBOX_UID },
    start: async ({ command, environment, folder }, input) =>
      session.start({ command, environment, folder }, input),
    release: kill,
  };
}

/** @throws StepError for what will never run here */
function check({ image, namesCommand }: ImageRequest, allowed: readonly AllowedImage[]): void {
  if (!isAllowedImage(allowed, image)) {
    const others = allowed.length === 0 ? 'none' : allowed.join(', ');
    throw terminalError(
      'image_not_found',
      `${image} is not among the images that may run here (SANDBOX_IMAGES_ALLOW: ${others}). A platform administrator can add it.`,
    );
  }
  if (!namesCommand) {
    throw terminalError(
      'invalid_input',
      'In a cluster, a container step has to say what is run: the image’s own program is not known. Write `command: [...]`.',
    );
  }
}

const unready = (reason: string) =>
  retryableError('no_sandbox', `The pod of the container did not become ready: ${reason}`);

const notFound = (image: string, reason: string) =>
  terminalError('image_not_found', `The image ${image} cannot be pulled: ${reason}`);

const refused = (cause: KubernetesError) =>
  retryableError('no_sandbox', `Kubernetes refuses a pod for the container: ${cause.message}`, { cause });

const notStarted = (cause: unknown) =>
  retryableError('no_sandbox', 'No pod can be started for the container; the worker’s log says why.', {
    cause,
  });
