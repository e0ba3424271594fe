import { createFairQueue } from './pool/fair-queue.ts';

export interface MemoryRequest {
  readonly tenantId: string;
  readonly bytes: number;
  /** Aborted: no longer wanted. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** What is thrown when none came free in time. */
  readonly timeoutError: () => Error;
}

/** Gives the memory back. Idempotent. */
export type Release = () => void;

/** Lets as much run at once as memory is there for: first come first served, in turns between tenants. */
export interface MemoryGate {
  /** @throws what `timeoutError` gives; the signal's reason when it is aborted */
  enter(request: MemoryRequest): Promise<Release>;
}

interface Waiting {
  readonly bytes: number;
  readonly admit: () => void;
}

/** @param budgetBytes nothing that asks for more is ever let in */
export function createMemoryGate(budgetBytes: number): MemoryGate {
  const queue = createFairQueue<Waiting>();
  let left = budgetBytes;

  const admitAll = (): void => {
    // In order: whoever asks for much would wait for ever if smaller ones were let past.
    for (const waiting of queue.inOrder()) {
      if (waiting.bytes > left) return;
      waiting.admit();
    }
  };
  return {
    enter({ tenantId, bytes, signal, timeoutMs, timeoutError }) {
      const { promise, resolve, reject } = Promise.withResolvers<Release>();
      const leave = (wasServed: boolean): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        queue.remove(tenantId, waiting, wasServed);
      };
      const giveUp = (error: unknown): void => {
        leave(false);
        reject(error);
        admitAll();
      };
      const onAbort = (): void => giveUp(signal.reason);
      const timer = setTimeout(() => giveUp(timeoutError()), timeoutMs);
      const waiting: Waiting = {
        bytes,
        admit: () => {
          leave(true);
          left -= bytes;
          let isHeld = true;
          resolve(() => {
            if (!isHeld) return;
            isHeld = false;
            left += bytes;
            admitAll();
          });
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      queue.add(tenantId, waiting);
      if (signal.aborted) onAbort();
      else admitAll();
      return promise;
    },
  };
}
