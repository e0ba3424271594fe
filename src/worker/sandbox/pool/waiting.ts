import type { SandboxSlot } from '../types.ts';
import type { Wish } from './state.ts';

/** A claim that found no place yet. */
export interface Waiting {
  readonly wish: Wish;
  readonly sinceMs: number;
  isSettled(): boolean;
  resolve(slot: SandboxSlot): void;
  reject(error: unknown): void;
}

/** @param onDone called once when it is settled, however that came */
export function createWaiting(
  wish: Wish,
  options: {
    readonly sinceMs: number;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
    readonly timeoutError: () => Error;
    readonly onDone: (waiting: Waiting, wasServed: boolean) => void;
  },
): { readonly waiting: Waiting; readonly slot: Promise<SandboxSlot> } {
  const { promise, resolve, reject } = Promise.withResolvers<SandboxSlot>();
  let isSettled = false;
  const done = (wasServed: boolean): boolean => {
    if (isSettled) return false;
    isSettled = true;
    clearTimeout(timer);
    options.signal.removeEventListener('abort', aborted);
    options.onDone(waiting, wasServed);
    return true;
  };
  const aborted = (): void => waiting.reject(options.signal.reason);
  const timer = setTimeout(() => waiting.reject(options.timeoutError()), options.timeoutMs);
  options.signal.addEventListener('abort', aborted, { once: true });
  const waiting: Waiting = {
    wish,
    sinceMs: options.sinceMs,
    isSettled: () => isSettled,
    resolve(slot) {
      if (done(true)) resolve(slot);
      else slot.release();
    },
    reject(error) {
      if (done(false)) reject(error);
    },
  };
  return { waiting, slot: promise };
}
