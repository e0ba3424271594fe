import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';

describe('parseDuration', () => {
  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each([
    '',
    '30',
    's',
    '1.5h',
    '-1s',
    '1h30m',
    ' 1s',
    '1s\n',
    '1 s',
    '1S',
    '1w',
    '1e3s',
    '999999999999999d',
  ])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

test('what formatDuration writes is read back as the same', () => {
  fc.assert(
    fc.property(fc.nat({ max: 1e12 }), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms);
    }),
  );
  expect(formatDuration(90_000)).toBe('90s');
  expect(formatDuration(0)).toBe('0ms');
});
