import { failure, ok, warning, type Finding } from './finding.ts';

/** Beyond this skew timestamps of signatures would be judged wrongly (FAULTS R30). */
export const MAX_CLOCK_SKEW_MS = 30_000;
const NOTABLE_SKEW_MS = 5_000;
const REMEDY = 'set both machines by NTP, e.g. `timedatectl set-ntp true`';

/** @param skewMs how far this process's clock is ahead of the database's */
export function clockFinding(skewMs: number): Finding {
  const apart = Math.abs(skewMs);
  const seconds = `${(apart / 1000).toFixed(1)} s`;
  const said = `this clock is ${seconds} ${skewMs < 0 ? 'behind' : 'ahead of'} the database's`;
  if (apart > MAX_CLOCK_SKEW_MS) return failure('clock', `${said}; an API is not ready beyond 30 s`, REMEDY);
  if (apart > NOTABLE_SKEW_MS) return warning('clock', said, REMEDY);
  return ok('clock', said);
}
