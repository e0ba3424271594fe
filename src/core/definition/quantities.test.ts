import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatMemory, parseCpus, parseMemory } from './quantities.ts';

describe('parseCpus', () => {
  test.each([
    [1, 1],
    [0.5, 0.5],
    [0.1 + 0.2, 0.3],
    ['2', 2],
    ['0.25', 0.25],
    ['500m', 0.5],
    ['1500m', 1.5],
  ])('reads %j', (written, cores) => {
    expect(parseCpus(written)).toBe(cores);
  });

  test.each(['', 'm', '0.5m', '-1', '1e3', ' 1', '1 ', 'one', NaN, Infinity, -1])('refuses %j', (written) => {
    expect(parseCpus(written)).toBeUndefined();
  });
});

describe('parseMemory', () => {
  test.each([
    [268_435_456, 268_435_456],
    ['268435456', 268_435_456],
    ['256Mi', 268_435_456],
    ['1.5Gi', 1_610_612_736],
    ['64Ki', 65_536],
    ['1Ti', 1_099_511_627_776],
    ['1k', 1000],
    ['512M', 512_000_000],
    ['1G', 1_000_000_000],
    ['0.001Ki', 2],
  ])('reads %j', (written, bytes) => {
    expect(parseMemory(written)).toBe(bytes);
  });

  test.each(['', 'Mi', '512MB', '512mi', '1K', '1e9', '-1Mi', '1 Gi', '9999999999999Ti', 1.5, -1, 2 ** 53])(
    'refuses %j',
    (written) => {
      expect(parseMemory(written)).toBeUndefined();
    },
  );
});

test('formatMemory writes what parseMemory reads', () => {
  expect(['268435456', '1Gi'].map((text) => formatMemory(parseMemory(text) ?? 0))).toEqual(['256Mi', '1Gi']);
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom(1, 1024, 1024 ** 2), (amount, unit) => {
      expect(parseMemory(formatMemory(amount * unit))).toBe(amount * unit);
    }),
  );
});
