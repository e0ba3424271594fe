import { expect, it } from 'vitest';
import { createRounds } from './rounds.ts';

it('takes the most memory of a round as one value, whatever measurement it was seen in', () => {
  const rounds = createRounds();
  rounds.begin();
  rounds.add({ apiMemoryMb: 120 });
  rounds.add({ apiMemoryMb: 150, workerMemoryMb: 170 });
  rounds.add({ apiMemoryMb: 130, workerMemoryMb: 160 });
  rounds.begin();
  rounds.add({ apiMemoryMb: 110 });
  rounds.add({ apiMemoryMb: 100 });
  expect(rounds.measured.get('apiMemoryMb')).toEqual([150, 110]);
  expect(rounds.measured.get('workerMemoryMb')).toEqual([170]);
  expect(rounds.median('apiMemoryMb')).toBe(130);
});

it('takes every start of a round as a value of its own', () => {
  const rounds = createRounds();
  rounds.begin();
  rounds.add({ apiStartMs: 700 });
  rounds.add({ apiStartMs: 600 });
  expect(rounds.measured.get('apiStartMs')).toEqual([700, 600]);
});

it('knows the median of what this round has measured, and none of what nothing has', () => {
  const rounds = createRounds();
  rounds.begin();
  rounds.add({ acceptsPerSecond: 5000 });
  expect(rounds.median('acceptsPerSecond')).toBe(5000);
  expect(rounds.median('transformPerSecond')).toBeUndefined();
});
