import { expect, it } from 'vitest';
import { createNewsFilter } from './news.ts';

it('lets the same be said once in a while, and what is new at once', () => {
  let nowMs = 0;
  const isNews = createNewsFilter(1000, () => nowMs);
  expect([isNews('refused'), isNews('refused'), isNews('timed out'), isNews('refused')]).toEqual([
    true,
    false,
    true,
    false,
  ]);
  nowMs = 999;
  expect(isNews('refused')).toBe(false);
  nowMs = 1000;
  expect([isNews('refused'), isNews('refused')]).toEqual([true, false]);
});

it('remembers no more than a hundred messages', () => {
  const isNews = createNewsFilter(1000, () => 0);
  for (let n = 0; n <= 100; n++) expect(isNews(`port ${n}`)).toBe(true);
  expect([isNews('port 100'), isNews('port 1'), isNews('port 0')]).toEqual([false, false, true]);
});
