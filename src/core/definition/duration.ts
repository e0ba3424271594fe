/** Durations of the document: a whole number and one unit, such as `250ms`, `30s`, `5m`, `1h`, `7d`. */

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof UNIT_MS;
/** Largest first, as `formatDuration` tries them. */
const UNITS = ['d', 'h', 'm', 's', 'ms'] as const satisfies readonly Unit[];

export const DURATION_PATTERN = /^(\d{1,15})(ms|s|m|h|d)$/;

export const SECOND_MS = UNIT_MS.s;
export const MINUTE_MS = UNIT_MS.m;
export const HOUR_MS = UNIT_MS.h;
export const DAY_MS = UNIT_MS.d;

/** Milliseconds, or undefined when the text is no duration or too long to be counted exactly. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION_PATTERN.exec(text);
  if (match === null) return undefined;
  // The pattern has exactly these two groups, and the second holds only units.
  const ms = Number(match[1]) * UNIT_MS[match[2] as Unit];
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** The shortest text that `parseDuration` reads back as `ms`, a whole number ≥ 0. */
export function formatDuration(ms: number): string {
  const unit = UNITS.find((candidate) => ms % UNIT_MS[candidate] === 0 && ms >= UNIT_MS[candidate]) ?? 'ms';
  return `${ms / UNIT_MS[unit]}${unit}`;
}
