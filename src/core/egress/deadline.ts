import { coerceError } from '../errors/app-error.ts';
import { retryableError, terminalError, type StepError } from '../step-error.ts';

const MAX_TIMER_MS = 2_147_483_647;

/** The one bound of a request with all its redirects: its time, and the caller's signal. */
export interface Deadline {
  /** Why the request must end, once it must. */
  readonly failure: StepError | undefined;
  /** Calls back when it must end, at once if it already must; the returned function takes that back. */
  onFailure(callback: (failure: StepError) => void): () => void;
  /** The promise, or the failure if that comes first. What the promise was doing goes on unheeded. */
  race<T>(promise: Promise<T>): Promise<T>;
  /** To be called when the request is over, however it ended. */
  dispose(): void;
}

export function startDeadline(timeoutMs: number, signal: AbortSignal | undefined): Deadline {
  let failure: StepError | undefined;
  const callbacks = new Set<(failure: StepError) => void>();
  const fail = (error: StepError): void => {
    if (failure !== undefined) return;
    failure = error;
    for (const callback of callbacks) callback(error);
  };
  const timer = setTimeout(
    () => fail(retryableError('timeout', `The request did not finish within ${timeoutMs} ms`)),
    Math.min(timeoutMs, MAX_TIMER_MS),
  );
  const abort = (): void => fail(terminalError('cancelled', 'The request was cancelled', signal?.reason));
  if (signal?.aborted === true) abort();
  else signal?.addEventListener('abort', abort, { once: true });

  const onFailure = (callback: (failure: StepError) => void): (() => void) => {
    if (failure !== undefined) callback(failure);
    else callbacks.add(callback);
    return () => callbacks.delete(callback);
  };
  return {
    get failure() {
      return failure;
    },
    onFailure,
    race: (promise) =>
      new Promise((resolve, reject) => {
        const forget = onFailure(reject);
        promise.then(
          (value) => {
            forget();
            resolve(value);
          },
          (error: unknown) => {
            forget();
            reject(coerceError(error));
          },
        );
      }),
    dispose: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      callbacks.clear();
    },
  };
}
