import { expect, test } from 'vitest';
import { countClaims } from './claim-counts.ts';

test('claims count for a minute, each runtime’s by themselves', () => {
  let nowMs = 0;
  const counts = countClaims(() => nowMs);
  counts.add('javascript');
  nowMs = 30_000;
  counts.add('javascript');
  counts.add('python');
  nowMs = 59_999;
  expect(counts.lastMinute()).toEqual({ javascript: 2, python: 1 });
  nowMs = 60_000;
  expect(counts.lastMinute()).toEqual({ javascript: 1, python: 1 });
  nowMs = 90_000;
  expect(counts.lastMinute()).toEqual({ javascript: 0, python: 0 });
});
