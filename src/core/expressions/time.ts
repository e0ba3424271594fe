import { fail, shorten } from './failure.ts';
import { Duration } from './values.ts';

const NANOS_PER_MS = 1_000_000n;

/** 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z, the range of `google.protobuf.Timestamp`. */
const MIN_TIME = -62_135_596_800_000;
const MAX_TIME = 253_402_300_799_999;

/** RFC 3339, section 5.6; a space instead of `T` is allowed there too. */
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/;

const DURATION_PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)/y;

const UNIT_NANOS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
  d: 86_400_000_000_000n,
};

/** Ten thousand years, as `google.protobuf.Duration`: 315,576,000,000 s. */
const MAX_DURATION_NANOS = 315_576_000_000_000_000_000n;

/** @throws ExpressionError when the time is outside the years 1 to 9999. */
export function makeTimestamp(milliseconds: number): Date {
  if (!(milliseconds >= MIN_TIME && milliseconds <= MAX_TIME)) {
    fail('A timestamp must be in the years 0001 to 9999.');
  }
  return new Date(Math.trunc(milliseconds));
}

export function parseTimestamp(text: string): Date {
  const match = RFC3339.exec(text);
  // The local time zone of the machine never decides: the pattern wants an offset.
  const time = match === null ? Number.NaN : Date.parse(text.toUpperCase().replace(' ', 'T'));
  // V8 takes 31 February for 3 March.
  const dayExists = Number(match?.[3]) <= daysInMonth(Number(match?.[1]), Number(match?.[2]));
  if (Number.isNaN(time) || !dayExists) {
    fail(`timestamp() needs a time as in RFC 3339, e.g. "2026-01-31T12:00:00Z", got "${shorten(text, 40)}".`);
  }
  return makeTimestamp(time);
}

function daysInMonth(year: number, month: number): number {
  const lastDay = new Date(0);
  lastDay.setUTCFullYear(year, month, 0);
  return lastDay.getUTCDate();
}

export const addDuration = (time: Date, nanos: bigint): Date =>
  makeTimestamp(time.getTime() + Number(nanos / NANOS_PER_MS));

export const millisecondsBetween = (later: Date, earlier: Date): bigint =>
  BigInt(later.getTime() - earlier.getTime());

/** A duration as Go writes it, e.g. `1h30m`, `-1.5s`; `d` is 24 hours. */
export function parseDuration(text: string): Duration {
  const refuse = (): never =>
    fail(`duration() needs a text like "1h30m", "90s" or "250ms", got "${shorten(text, 40)}".`);
  const negative = text.startsWith('-');
  let position = negative || text.startsWith('+') ? 1 : 0;
  if (text.length > 100 || position === text.length) refuse();
  let nanos = 0n;
  while (position < text.length) {
    DURATION_PART.lastIndex = position;
    const match = DURATION_PART.exec(text);
    if (match === null) return refuse();
    // Both groups and the unit exist when the pattern matches.
    nanos += scale(match[1]!, UNIT_NANOS[match[2]!]!);
    position = DURATION_PART.lastIndex;
  }
  return makeDuration(negative ? -nanos : nanos);
}

/** @throws ExpressionError when the duration is longer than 10,000 years. */
export function makeDuration(nanos: bigint): Duration {
  if (nanos > MAX_DURATION_NANOS || nanos < -MAX_DURATION_NANOS) {
    fail('A duration must be shorter than 10,000 years.');
  }
  return new Duration(nanos);
}

function scale(decimal: string, unit: bigint): bigint {
  const [whole = '', fraction = ''] = decimal.split('.');
  const digits = fraction.slice(0, 15).padEnd(15, '0');
  return BigInt(whole === '' ? '0' : whole) * unit + (BigInt(digits) * unit) / 10n ** 15n;
}

export type TimeField =
  'year' | 'month' | 'date' | 'dayOfWeek' | 'dayOfYear' | 'hours' | 'minutes' | 'seconds' | 'milliseconds';

/** `time` moved so that its UTC fields read as the local ones of `zone`. */
function inZone(time: Date, zone: string): Date {
  const offset = /^([+-]?)(\d{2}):(\d{2})$/.exec(zone);
  if (offset !== null) {
    const minutes = Number(offset[2]) * 60 + Number(offset[3]);
    return new Date(time.getTime() + (offset[1] === '-' ? -minutes : minutes) * 60_000);
  }
  const parts = zoneFormat(zone).formatToParts(time);
  const part = (type: Intl.DateTimeFormatPartTypes): number =>
    Number(parts.find((candidate) => candidate.type === type)?.value);
  const local = new Date(0);
  local.setUTCFullYear(part('year'), part('month') - 1, part('day'));
  local.setUTCHours(part('hour'), part('minute'), part('second'), time.getUTCMilliseconds());
  return local;
}

/** Making a format takes some 100 µs and tens of kB: the first zones used are kept, the others made each time. */
const MAX_FORMATS = 50;
const formats = new Map<string, Intl.DateTimeFormat>();

function zoneFormat(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known !== undefined) return known;
  try {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    if (formats.size < MAX_FORMATS) formats.set(zone, format);
    return format;
  } catch {
    return fail(
      `"${shorten(zone, 40)}" is no time zone: write a name such as "Europe/Berlin", or an offset such as "+02:00".`,
    );
  }
}

const FIELDS: Readonly<Record<TimeField, (local: Date) => number>> = {
  year: (local) => local.getUTCFullYear(),
  month: (local) => local.getUTCMonth(),
  date: (local) => local.getUTCDate(),
  dayOfWeek: (local) => local.getUTCDay(),
  dayOfYear: (local) => Math.floor((local.getTime() - startOfYear(local)) / 86_400_000),
  hours: (local) => local.getUTCHours(),
  minutes: (local) => local.getUTCMinutes(),
  seconds: (local) => local.getUTCSeconds(),
  milliseconds: (local) => local.getUTCMilliseconds(),
};

/** One field of `time` in UTC, or in `zone`. Months, days of the week and of the year count from 0, as CEL says. */
export const timeField = (time: Date, field: TimeField, zone: string | undefined): number =>
  FIELDS[field](zone === undefined || zone === 'UTC' ? time : inZone(time, zone));

function startOfYear(time: Date): number {
  const start = new Date(0);
  start.setUTCFullYear(time.getUTCFullYear(), 0, 1);
  return start.getTime();
}
