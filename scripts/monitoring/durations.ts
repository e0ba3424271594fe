/**
 * Writes a duration as PromQL does. Tests shorten all windows at once, so that what takes an hour in production takes a
 * minute there.
 */
export type Durations = (seconds: number) => string;

export const MINUTE = 60;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const UNITS = [
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', 1],
] as const;

/** @param shortenedBy 60 makes minutes of hours */
export const durations =
  (shortenedBy = 1): Durations =>
  (seconds) => {
    const real = seconds / shortenedBy;
    const [unit, size] = UNITS.find(([, length]) => Number.isInteger(real / length)) ?? ['ms', 0.001];
    return `${Math.max(1, Math.round(real / size))}${unit}`;
  };
