import { coerceError } from '../../core/errors/app-error.ts';
import type { Logger } from '../../core/logger.ts';
import { retryableError, type StepError } from '../../core/step-error.ts';
import type { ImagePlace, ImageRequest, NoDriver, SandboxDriver } from './driver.ts';
import { createImageStore } from './images/store.ts';
import { createMemoryGate, type Release } from './memory-gate.ts';

export interface ContainersOptions {
  /** May still be opening. */
  readonly driver: Promise<SandboxDriver | NoDriver>;
  /** SANDBOX_IMAGES_DIR. */
  readonly imagesFolder: string | undefined;
  /** Where images are unpacked. */
  readonly imagesDirectory: string;
  /** For all containers at once; the sandboxes of code steps have as much again. */
  readonly budgetBytes: number;
  readonly claimTimeoutMs: number;
  readonly logger: Logger;
}

/** Containers of images, one for each attempt of a `container` step. */
export interface Containers {
  /**
   * Waits until the image is unpacked and there is memory; in a cluster, until there is a pod with it.
   *
   * @throws StepError `no_sandbox`, `image_not_found`, `invalid_image`; the signal's reason when it is aborted
   */
  claim(request: ImageRequest): Promise<ImagePlace>;
}

export function createContainers(options: ContainersOptions): Containers {
  const { budgetBytes, claimTimeoutMs, logger } = options;
  const gate = createMemoryGate(budgetBytes);
  const users = new Map<string, number>();
  const count = (image: string, change: 1 | -1): void => {
    const left = (users.get(image) ?? 0) + change;
    if (left === 0) users.delete(image);
    else users.set(image, left);
  };
  const images = createImageStore({
    folder: options.imagesFolder,
    directory: options.imagesDirectory,
    inUse: () => new Set(users.keys()),
  });

  const enter = (request: ImageRequest): Promise<Release> => {
    const bytes = request.limits.memoryBytes;
    if (bytes > budgetBytes) throw tooLarge(bytes, budgetBytes);
    return gate.enter({
      tenantId: request.tenantId,
      bytes,
      signal: request.signal,
      timeoutMs: claimTimeoutMs,
      timeoutError: () => timedOut(bytes, budgetBytes, claimTimeoutMs),
    });
  };
  const placeInCluster = async (request: ImageRequest, claimImage: ClaimImage): Promise<ImagePlace> => {
    const leave = await enter(request);
    try {
      const place = await claimImage(request, claimTimeoutMs);
      return {
        ...place,
        release() {
          place.release();
          leave();
        },
      };
    } catch (error) {
      leave();
      throw error;
    }
  };
  return {
    async claim(request) {
      const { signal, limits } = request;
      const driver = await unlessAborted(withDeadline(options.driver, claimTimeoutMs), signal);
      if (driver.description !== undefined && driver.claimImage !== undefined) {
        return await placeInCluster(request, driver.claimImage);
      }
      const runImage = runnerOf(driver);
      const image = await unlessAborted(images.provide(request.image), signal);
      const leave = await enter(request);
      count(image.id, 1);
      let isHeld = true;
      return {
        image,
        async start(process, input) {
          try {
            return await runImage({ image: image.id, process, input, limits });
          } catch (raw) {
            logger.error({ err: coerceError(raw) }, 'a container could not be started');
            throw notStarted(raw);
          }
        },
        release() {
          if (!isHeld) return;
          isHeld = false;
          count(image.id, -1);
          leave();
        },
      };
    },
  };
}

type ClaimImage = NonNullable<SandboxDriver['claimImage']>;
type RunImage = NonNullable<SandboxDriver['runImage']>;

/** @throws StepError `no_sandbox` */
function runnerOf(driver: SandboxDriver | NoDriver): RunImage {
  if (driver.description === undefined) {
    throw retryableError(
      'no_sandbox',
      `This worker has no sandbox for container steps: ${driver.reason}; ${driver.remedy}`,
    );
  }
  if (driver.runImage === undefined) {
    throw retryableError(
      'no_sandbox',
      `The ${driver.description.driver} sandboxes of this worker run no images. Start a worker with gVisor ` +
        '(SANDBOX_DRIVER=gvisor, on Linux as root).',
    );
  }
  return driver.runImage.bind(driver);
}

async function withDeadline<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () =>
      reject(
        retryableError('no_sandbox', `The sandboxes of this worker were not ready within ${timeoutMs} ms.`),
      ),
    timeoutMs,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Others may wait for the same thing, so it goes on. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(coerceError(signal.reason));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1_048_576)} MiB`;

const tooLarge = (bytes: number, budgetBytes: number): StepError =>
  retryableError(
    'no_sandbox',
    `The step's container may use ${mebibytes(bytes)}, and all containers of this worker together have ` +
      `${mebibytes(budgetBytes)}. Ask for less in \`resources\`, or raise SANDBOX_MEMORY_BUDGET_BYTES.`,
  );

const timedOut = (bytes: number, budgetBytes: number, timeoutMs: number): StepError =>
  retryableError(
    'no_sandbox',
    `No memory for a container became free within ${timeoutMs} ms: ${mebibytes(bytes)} are needed, and all containers of ` +
      `this worker together have ${mebibytes(budgetBytes)}. Raise SANDBOX_MEMORY_BUDGET_BYTES, or run more workers.`,
  );

const notStarted = (cause: unknown): StepError =>
  retryableError('no_sandbox', "No container can be started on this worker; the worker's log says why.", {
    cause,
  });
