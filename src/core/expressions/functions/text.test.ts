import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createFrame } from '../frame.ts';
import { DEFAULT_LIMITS, ExpressionError } from '../types.ts';
import {
  charAt,
  indexOf,
  lastIndexOf,
  lowerAscii,
  replace,
  split,
  substring,
  textLength,
  upperAscii,
} from './text.ts';

const frame = (): ReturnType<typeof createFrame> => createFrame({}, DEFAULT_LIMITS);
const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀', '\ud800', '👩‍🚀') });

describe('strings count by code point', () => {
  test('length, parts and places', () => {
    fc.assert(
      fc.property(text, fc.nat(12), fc.nat(12), (value, first, second) => {
        const points = Array.from(value);
        const [start, end] = first < second ? [first, second] : [second, first];
        expect(textLength(frame(), value)).toBe(points.length);
        if (end > points.length) {
          expect(() => substring(frame(), value, start, end)).toThrow(ExpressionError);
          return;
        }
        expect(substring(frame(), value, start, end)).toBe(points.slice(start, end).join(''));
        expect(charAt(frame(), value, start)).toBe(points[start] ?? '');
      }),
    );
  });

  test('places of a part', () => {
    fc.assert(
      fc.property(text, fc.constantFrom('a', 'b', '😀', 'a😀', ''), fc.nat(12), (value, part, from) => {
        const points = Array.from(value);
        fc.pre(from <= points.length);
        const startsAt = (place: number): boolean => points.slice(place).join('').startsWith(part);
        const places = [...points.keys(), points.length].filter(startsAt);
        expect(indexOf(frame(), value, part)).toBe(places[0] ?? -1);
        expect(indexOf(frame(), value, part, from)).toBe(places.find((place) => place >= from) ?? -1);
        expect(lastIndexOf(frame(), value, part)).toBe(places.at(-1) ?? -1);
        expect(lastIndexOf(frame(), value, part, from)).toBe(places.findLast((place) => place <= from) ?? -1);
      }),
    );
  });
});

test.each<[text: string, old: string, by: string, limit: number, result: string]>([
  ['hello hello', 'he', 'we', -1, 'wello wello'],
  ['hello hello', 'he', 'we', 1, 'wello hello'],
  ['hello hello', 'he', 'we', 0, 'hello hello'],
  ['hello hello', '', '_', -1, '_h_e_l_l_o_ _h_e_l_l_o_'],
  ['hello', '', '_', 2, '_h_ello'],
  ['hello', 'x', 'y', -1, 'hello'],
  ['a$b', '$', '$&$1', -1, 'a$&$1b'],
  ['', 'a', 'b', -1, ''],
])('%j with %j replaced by %j, %d times, is %j', (value, old, by, limit, result) => {
  expect(replace(frame(), value, old, by, limit)).toBe(result);
});

test.each<[text: string, separator: string, limit: number, parts: readonly string[]]>([
  ['a,b,c', ',', -1, ['a', 'b', 'c']],
  ['a,b,c', ',', 0, []],
  ['a,b,c', ',', 1, ['a,b,c']],
  ['a,b,c', ',', 2, ['a', 'b,c']],
  ['a,b,c', ',', 9, ['a', 'b', 'c']],
  ['a😀', '', -1, ['a', '😀']],
  ['', ',', -1, ['']],
])('%j split at %j, %d parts at most, is %j', (value, separator, limit, parts) => {
  expect(split(frame(), value, separator, limit)).toEqual(parts);
});

test('only ASCII letters change their case', () => {
  expect(lowerAscii('TacoCÆt Xii ẞİ')).toBe('tacocÆt xii ẞİ');
  expect(upperAscii('tacoCæt xii ßı')).toBe('TACOCæT XII ßı');
});
