import { coerceError } from './errors/app-error.ts';

export interface BatcherOptions<T, R> {
  /** Handles the items at once and answers in their order. */
  readonly flush: (items: readonly T[]) => Promise<readonly R[]>;
  /** Most items of one flush. */
  readonly maxItems: number;
  /** Most weight of one flush, where items differ (bytes, rows); one item may exceed it alone. */
  readonly maxWeight?: number;
  readonly weigh?: (item: T) => number;
  /** Flushes under way at once. */
  readonly concurrency?: number;
  /**
   * Whether a failed flush of several items is worth trying again item by item, because one of them may have spoilt it
   * for the rest. Not for a lost connection, where the outcome of all is unknown.
   */
  readonly isItemError?: (error: Error) => boolean;
  readonly onFlush?: (size: number) => void;
  /** An item that no flush has taken after this long is given up: nothing of it was done, and `error` says so. */
  readonly patience?: { readonly ms: number; readonly error: () => Error };
}

export interface Batcher<T, R> {
  /** Resolves or rejects with this item's own outcome. */
  add(item: T): Promise<R>;
  /** Items that wait for a flush. */
  size(): number;
  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void>;
}

interface Entry<T, R> {
  readonly item: T;
  readonly addedAtMs: number;
  readonly resolve: (result: R) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Group commit: items that arrive while a flush is under way go into the next one together. A flush starts as soon as
 * the one before is done, so that an idle system adds no delay and a busy one shares its commits.
 */
export function createBatcher<T, R>(options: BatcherOptions<T, R>): Batcher<T, R> {
  const { flush, maxItems, maxWeight = Infinity, weigh = () => 0, concurrency = 1, patience } = options;
  let waiting: Entry<T, R>[] = [];
  let underWay = 0;
  let scheduled = false;
  let idleCallers: (() => void)[] = [];
  let patienceTimer: NodeJS.Timeout | undefined;

  const takeBatch = (): Entry<T, R>[] => {
    let weight = 0;
    let count = 0;
    while (count < waiting.length && count < maxItems) {
      weight += weigh(waiting[count]!.item); // within bounds
      if (count > 0 && weight > maxWeight) break;
      count++;
    }
    const batch = waiting.slice(0, count);
    waiting = waiting.slice(count);
    return batch;
  };

  const run = async (batch: readonly Entry<T, R>[]): Promise<void> => {
    options.onFlush?.(batch.length);
    try {
      const results = await flush(batch.map((entry) => entry.item));
      batch.forEach((entry, index) => entry.resolve(results[index]!)); // flush answers each item
    } catch (raw) {
      const error = coerceError(raw);
      if (batch.length > 1 && options.isItemError?.(error)) {
        for (const entry of batch) await run([entry]);
      } else {
        for (const entry of batch) entry.reject(error);
      }
    }
  };

  /** Only what waits behind flushes that hang gets here; `waiting` is in the order of its times. */
  const watchPatience = (): void => {
    const oldest = waiting[0];
    if (patience === undefined || oldest === undefined || patienceTimer !== undefined) return;
    patienceTimer = setTimeout(
      () => {
        patienceTimer = undefined;
        const lastMs = performance.now() - patience.ms;
        const first = waiting.findIndex(({ addedAtMs }) => addedAtMs > lastMs);
        const givenUp = waiting.splice(0, first === -1 ? waiting.length : first);
        for (const { reject } of givenUp) reject(patience.error());
        watchPatience();
      },
      Math.max(1, oldest.addedAtMs + patience.ms - performance.now()),
    );
    patienceTimer.unref();
  };

  const pump = (): void => {
    scheduled = false;
    while (waiting.length > 0 && underWay < concurrency) {
      underWay++;
      void run(takeBatch()).then(() => {
        underWay--;
        pump();
      });
    }
    watchPatience();
    if (waiting.length > 0 || underWay > 0) return;
    const callers = idleCallers;
    idleCallers = [];
    for (const call of callers) call();
  };

  return {
    add: (item) =>
      new Promise<R>((resolve, reject) => {
        waiting.push({ item, addedAtMs: performance.now(), resolve, reject });
        if (underWay >= concurrency) watchPatience();
        if (scheduled || underWay >= concurrency) return;
        // After the I/O callbacks of this turn, so that requests that were read together are flushed together.
        scheduled = true;
        setImmediate(pump);
      }),
    size: () => waiting.length,
    idle: () =>
      waiting.length === 0 && underWay === 0
        ? Promise.resolve()
        : new Promise((resolve) => idleCallers.push(resolve)),
  };
}
