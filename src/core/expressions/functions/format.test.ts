import { expect, test } from 'vitest';
import { createFrame } from '../frame.ts';
import { DEFAULT_LIMITS, ExpressionError } from '../types.ts';
import { format } from './format.ts';

const frame = (): ReturnType<typeof createFrame> => createFrame({}, DEFAULT_LIMITS);

test.each<[pattern: string, items: readonly unknown[], text: string]>([
  ['no clauses', [], 'no clauses'],
  ['%% and %s', ['%s'], '% and %s'],
  ['%s %s %s %s', ['a', 1n, 2.5, true], 'a 1 2.5 true'],
  ['%s %s %s', [null, [1n, 'a'], { k: 1 }], 'null [1,"a"] {"k":1}'],
  ['%s', [new Date(0)], '1970-01-01T00:00:00.000Z'],
  ['%d %d', [42n, -7], '42 -7'],
  ['%f %.2f %.0f', [1.5, 2.345, 2.5], '1.500000 2.35 3'],
  ['%.1f', [3n], '3.0'],
  ['%.3e %e', [1234.5678, 0], '1.235e+03 0.000000e+00'],
  ['%b %b %b', [5n, true, -4], '101 1 -100'],
  ['%o %x %X', [8n, 255n, 255], '10 ff FF'],
  ['%x %X', ['hi', new Uint8Array([171])], '6869 AB'],
])('%j', (pattern, items, text) => {
  // 2.345 is 2.3450000000000001954 as a double.
  expect(format(frame(), pattern, items)).toBe(text);
});

test.each<[pattern: string, items: readonly unknown[], message: RegExp]>([
  ['%s', [], /more clauses than the 0 items/],
  ['a', [1n], /1 items for 0 clauses/],
  ['%d', ['1'], /needs a whole number for %d, got a string/],
  ['%d', [1.5], /needs a whole number/],
  ['%f', ['1'], /needs a number for %f/],
  ['%.101f', [1], /precision of up to 100/],
  ['%q', [1], /not "%q"/],
  ['%', [1], /not "%"/],
])('%j is refused', (pattern, items, message) => {
  expect(() => format(frame(), pattern, items)).toThrow(ExpressionError);
  expect(() => format(frame(), pattern, items)).toThrow(message);
});
