import { describe, expect, test } from 'vitest';
import { addDuration, parseDuration, parseTimestamp, type TimeField, timeField } from './time.ts';
import { ExpressionError } from './types.ts';

describe('timestamps', () => {
  test.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31t12:00:00z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31 12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00.123456789+01:30', '2026-01-31T10:30:00.123Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('%s is read', (text, time) => {
    expect(parseTimestamp(text).toISOString()).toBe(time);
  });

  test.each([
    '',
    'now',
    '2026-01-31',
    '2026-01-31T12:00:00',
    '2026-01-31T12:00Z',
    '2026-02-29T00:00:00Z',
    '2026-02-31T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-31T24:00:01Z',
    '2026-01-31T12:60:00Z',
    '0000-12-31T23:59:59Z',
    '9999-12-31T23:59:59-01:00',
    '+012026-01-31T12:00:00Z',
    ' 2026-01-31T12:00:00Z',
    'Sat, 31 Jan 2026 12:00:00 GMT',
  ])('%j is refused', (text) => {
    expect(() => parseTimestamp(text)).toThrow(ExpressionError);
  });

  test('stay in the years 1 to 9999', () => {
    expect(() => addDuration(parseTimestamp('9999-12-31T00:00:00Z'), parseDuration('2d').nanos)).toThrow(
      /0001 to 9999/,
    );
  });
});

describe('durations', () => {
  test.each([
    ['90s', '90s'],
    ['1h30m', '5400s'],
    ['1.5h', '5400s'],
    ['.5s', '0.5s'],
    ['1d', '86400s'],
    ['-1m', '-60s'],
    ['+1m', '60s'],
    ['250ms', '0.25s'],
    ['1us', '0.000001s'],
    ['1µs2ns', '0.000001002s'],
    ['0s', '0s'],
  ])('%s is %s', (text, seconds) => {
    expect(parseDuration(text).toString()).toBe(seconds);
  });

  test.each([
    '',
    '-',
    '1',
    's',
    '1 s',
    '1x',
    '1h-30m',
    '1e3s',
    '1..5s',
    `${'9'.repeat(90)}h`,
    '9'.repeat(1000),
  ])('%j is refused', (text) => {
    expect(() => parseDuration(text)).toThrow(ExpressionError);
  });
});

describe('fields', () => {
  const time = parseTimestamp('2026-03-29T00:30:15.250Z');

  test.each<[field: TimeField, zone: string | undefined, value: number]>([
    ['year', undefined, 2026],
    ['month', undefined, 2],
    ['date', undefined, 29],
    ['dayOfWeek', undefined, 0],
    ['dayOfYear', undefined, 87],
    ['hours', 'UTC', 0],
    ['minutes', undefined, 30],
    ['seconds', undefined, 15],
    ['milliseconds', undefined, 250],
    ['hours', 'Europe/Berlin', 1],
    ['date', 'America/New_York', 28],
    ['dayOfWeek', 'America/New_York', 6],
    ['dayOfYear', 'America/New_York', 86],
    ['milliseconds', 'Asia/Kathmandu', 250],
    ['minutes', 'Asia/Kathmandu', 15],
    ['hours', '+02:00', 2],
    ['hours', '02:00', 2],
    ['hours', '-01:00', 23],
    ['minutes', '-00:45', 45],
  ])('%s in %s is %d', (field, zone, value) => {
    expect(timeField(time, field, zone)).toBe(value);
  });

  test('an hour after the change to summer time is another', () => {
    expect(timeField(parseTimestamp('2026-03-29T01:30:00Z'), 'hours', 'Europe/Berlin')).toBe(3);
  });

  test.each(['Nowhere/Land', '', '+2', 'Europe/Berlin; drop'])('the zone %j is refused', (zone) => {
    expect(() => timeField(time, 'hours', zone)).toThrow(/is no time zone/);
  });
});
