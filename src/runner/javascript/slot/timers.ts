import timers from 'node:timers';
import type { RunTimers } from '../realm/host.ts';

export interface TrackedTimers extends RunTimers {
  clearAll(): void;
}

/** Node's own functions, kept before anybody can replace them. */
const { setTimeout, setInterval, setImmediate, clearTimeout, clearImmediate } = timers;

/**
 * Timers of one run. They are numbers outside: the objects behind them are links of the list of all timers.
 *
 * @param onError told of what a callback throws
 */
export function createTrackedTimers(onError: (thrown: unknown) => void): TrackedTimers {
  const active = new Map<number, () => void>();
  let lastId = 0;
  let isOver = false;

  const begin = (callback: () => void, repeats: boolean, start: (fire: () => void) => () => void): number => {
    const id = ++lastId;
    if (isOver) return id;
    const fire = (): void => {
      if (!repeats) active.delete(id);
      try {
        callback();
      } catch (thrown) {
        onError(thrown);
      }
    };
    active.set(id, start(fire));
    return id;
  };
  return {
    setTimeout: (callback, ms) =>
      begin(callback, false, (fire) => {
        const timer = setTimeout(fire, ms);
        return () => clearTimeout(timer);
      }),
    setInterval: (callback, ms) =>
      begin(callback, true, (fire) => {
        const timer = setInterval(fire, ms);
        return () => clearTimeout(timer);
      }),
    setImmediate: (callback) =>
      begin(callback, false, (fire) => {
        const immediate = setImmediate(fire);
        return () => clearImmediate(immediate);
      }),
    clear(id) {
      active.get(id)?.();
      active.delete(id);
    },
    clearAll() {
      isOver = true;
      for (const stop of active.values()) stop();
      active.clear();
    },
  };
}
