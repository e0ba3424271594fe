import type { Runtime } from '../driver.ts';

const MINUTE_MS = 60_000;

/** How many sandboxes became a workflow's lately. */
export interface ClaimCounts {
  readonly add: (runtime: Runtime) => void;
  readonly lastMinute: () => Readonly<Record<Runtime, number>>;
}

/** @param now monotonic milliseconds */
export function countClaims(now: () => number = () => performance.now()): ClaimCounts {
  const times: Record<Runtime, number[]> = { javascript: [], python: [] };
  const recent = (runtime: Runtime): number[] => {
    const sinceMs = now() - MINUTE_MS;
    return (times[runtime] = times[runtime].filter((atMs) => atMs > sinceMs));
  };
  return {
    add: (runtime) => void times[runtime].push(now()),
    lastMinute: () => ({ javascript: recent('javascript').length, python: recent('python').length }),
  };
}
