import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonSize, toJsonValue } from './json-value.ts';
import { ExpressionError } from './types.ts';
import { CelType, Duration, Optional } from './values.ts';

class Host {
  a = 1;
  toJSON(): string {
    return 'called';
  }
}

describe('values JSON has no type for', () => {
  test.each<[label: string, value: unknown, json: unknown]>([
    ['an int', 42n, 42],
    ['the largest int', 9_007_199_254_740_991n, 9_007_199_254_740_991],
    ['a timestamp', new Date('2026-01-31T12:00:00.5Z'), '2026-01-31T12:00:00.500Z'],
    ['a duration', new Duration(90_000_000_000n), '90s'],
    ['a negative duration with a fraction', new Duration(-1_500_000_000n), '-1.5s'],
    ['a nanosecond', new Duration(1n), '0.000000001s'],
    ['bytes', new Uint8Array([251, 255]), '+/8='],
    ['a type', new CelType('int'), 'int'],
    ['an optional', Optional.of(1n), 1],
    ['an absent optional', Optional.none, null],
    ['an optional of an optional', Optional.of(Optional.none), null],
    [
      'a map',
      new Map<unknown, unknown>([
        ['a', 1n],
        [2n, [3n]],
        [true, null],
      ]),
      { a: 1, 2: [3], true: null },
    ],
    ['a set', new Set([1n, 'a']), [1, 'a']],
    ['undefined', undefined, null],
    ['undefined in a list', [undefined], [null]],
    ['undefined in an object', { a: undefined, b: 1, c: undefined }, { b: 1 }],
    ['negative zero', [-0], [0]],
    ['a list within', { a: [{ b: 1n }, { c: 2 }] }, { a: [{ b: 1 }, { c: 2 }] }],
  ])('%s', (_label, value, json) => {
    expect(toJsonValue(value)).toStrictEqual(json);
  });
});

describe('refuses', () => {
  const cycle: unknown[] = [];
  cycle.push({ cycle });

  test.each<[label: string, value: unknown, message: RegExp]>([
    ['NaN', Number.NaN, /NaN/],
    ['Infinity', [Number.POSITIVE_INFINITY], /Infinity/],
    ['an int beyond what JSON readers keep', { a: 9_007_199_254_740_992n }, /2\^53/],
    ['a function', () => 1, /function/],
    ['a symbol', Symbol('a'), /symbol/],
    ['an object of the host', new Host(), /host/],
    ['a regular expression', /a/, /host/],
    ['an error', new Error('a'), /host/],
    ['a promise', Promise.resolve(1), /host/],
    ['an invalid time', new Date(Number.NaN), /invalid time/],
    ['a key that is no text', new Map([[null, 1]]), /key/],
    ['a cycle', cycle, /100 levels/],
  ])('%s', (_label, value, message) => {
    expect(() => toJsonValue(value)).toThrow(ExpressionError);
    expect(() => toJsonValue(value)).toThrow(message);
  });

  test('more than 100 levels, but not 100', () => {
    const nest = (depth: number): unknown =>
      Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 1);
    expect(toJsonValue(nest(100))).toEqual(nest(100));
    expect(() => toJsonValue(nest(101))).toThrow(/100 levels/);
    expect(() => toJsonValue(nest(100_000))).toThrow(/100 levels/);
  });

  test('values that grow by sharing their parts', () => {
    const bomb = Array.from({ length: 60 }).reduce<unknown>((inner) => [inner, inner], 'x');
    const start = performance.now();
    expect(() => toJsonValue(bomb, 1_000_000)).toThrow(/larger than 1000000 bytes/);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe('JSON', () => {
  const json = fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' });

  test('is returned as it is', () => {
    fc.assert(
      fc.property(json, (value) => {
        fc.pre(
          !JSON.stringify(value, (_key, member: unknown) =>
            Object.is(member, -0) ? 'minus zero' : member,
          ).includes('minus zero'),
        );
        expect(toJsonValue(value)).toBe(value);
      }),
    );
  });

  test('is measured as it is written', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(jsonSize(toJsonValue(value))).toBe(Buffer.byteLength(JSON.stringify(value)));
      }),
    );
    expect(jsonSize('\ud800"\\\n\u0001é€😀')).toBe(
      Buffer.byteLength(JSON.stringify('\ud800"\\\n\u0001é€😀')),
    );
  });
});
