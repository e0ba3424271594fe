import { hidden } from './globals.ts';
import type { RunTimers } from './host.ts';

/** What util.promisify looks for. */
const CUSTOM = Symbol.for('nodejs.util.promisify.custom');

interface WaitOptions {
  readonly signal?: AbortSignal;
}

export interface Timers {
  /** As globals, and `node:timers`. */
  readonly callbacks: Readonly<Record<string, unknown>>;
  /** `node:timers/promises`. */
  readonly promises: Readonly<Record<string, unknown>>;
}

type Callback = (...values: readonly unknown[]) => void;

/** What Node's timers are to their users; a number where one is wanted. */
class Timeout {
  readonly #begin: () => number;
  readonly #stop: (id: number) => void;
  #id: number;

  constructor(begin: () => number, stop: (id: number) => void) {
    this.#begin = begin;
    this.#stop = stop;
    this.#id = begin();
  }

  /** Runs end when their function does, whatever timers wait. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return false;
  }

  refresh(): this {
    this.#stop(this.#id);
    this.#id = this.#begin();
    return this;
  }

  close(): this {
    this.#stop(this.#id);
    return this;
  }

  [Symbol.toPrimitive](): number {
    return this.#id;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Node's timers; those that are left when the run ends go with it. */
export function createTimers(timers: () => RunTimers): Timers {
  const stop = (id: number): void => timers().clear(id);
  const setTimeout = (callback: Callback, ms?: number, ...values: readonly unknown[]): Timeout => {
    check(callback);
    return new Timeout(() => timers().setTimeout(() => callback(...values), Number(ms) || 0), stop);
  };
  const setInterval = (callback: Callback, ms?: number, ...values: readonly unknown[]): Timeout => {
    check(callback);
    return new Timeout(() => timers().setInterval(() => callback(...values), Number(ms) || 0), stop);
  };
  const setImmediate = (callback: Callback, ...values: readonly unknown[]): Timeout => {
    check(callback);
    return new Timeout(() => timers().setImmediate(() => callback(...values)), stop);
  };
  const clear = (timer: unknown): void => {
    if (timer instanceof Timeout) timer.close();
    else if (typeof timer === 'number' || typeof timer === 'string') stop(Number(timer));
  };

  const wait = (begin: (done: () => void) => unknown, { signal }: WaitOptions = {}): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) throw abortError(signal);
      const onAbort = (): void => {
        clear(timer);
        reject(abortError(signal!)); // it is what calls this
      };
      const timer = begin(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  const promises = {
    setTimeout: async (ms?: number, value?: unknown, options?: WaitOptions) => {
      await wait((done) => setTimeout(done, ms), options);
      return value;
    },
    setImmediate: async (value?: unknown, options?: WaitOptions) => {
      await wait((done) => setImmediate(done), options);
      return value;
    },
    async *setInterval(ms?: number, value?: unknown, options?: WaitOptions) {
      for (;;) {
        await wait((done) => setTimeout(done, ms), options);
        yield value;
      }
    },
    scheduler: {
      wait: (ms: number, options?: WaitOptions) => wait((done) => setTimeout(done, ms), options),
      yield: () => wait((done) => setImmediate(done)),
    },
  };
  Object.defineProperty(setTimeout, CUSTOM, hidden(promises.setTimeout));
  Object.defineProperty(setImmediate, CUSTOM, hidden(promises.setImmediate));
  return {
    callbacks: {
      setTimeout,
      setInterval,
      setImmediate,
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear,
    },
    promises,
  };
}

function check(callback: unknown): void {
  if (typeof callback === 'function') return;
  throw new TypeError(`the callback of a timer must be a function, not ${typeof callback}`);
}

function abortError(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason });
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' });
}
