import { expect, test } from 'vitest';
import { parseQuantity } from './quantity.ts';

test.each([
  ['1', 1],
  ['500m', 0.5],
  ['0.1', 0.1],
  ['256Mi', 268_435_456],
  ['1Gi', 1_073_741_824],
  ['64M', 64_000_000],
  ['128974848', 128_974_848],
])('%s is %d', (text, number) => {
  expect(parseQuantity(text)).toBe(number);
});

test.each([undefined, '', 'x', '1e3', '-1', '1MiB', 'Mi'])('%s is no quantity', (text) => {
  expect(parseQuantity(text)).toBeUndefined();
});
