import { expect, it } from 'vitest';
import { renderComparison, type Compared } from './report.ts';

const runs = (...accepts: readonly number[]): Compared['runs'] =>
  accepts.map((acceptsPerSecond) => ({
    acceptsPerSecond,
    executionsPerSecond: 960,
    acceptP50Ms: 10,
    acceptP99Ms: 40,
  }));

it('says how many times better the first is than each other, by medians', () => {
  const text = renderComparison(
    [
      { name: 'Millrace', runs: runs(2800, 3000, 3100) },
      { name: 'Other', runs: runs(100, 150, 200) },
    ],
    false,
  );
  expect(text.split('\n').slice(0, 3)).toEqual([
    'webhooks accepted/s, a worker running',
    '  Millrace   3000 (2800–3100)',
    '  Other       150 (100–200)  Millrace: 20.0 times better',
  ]);
  expect(text).not.toContain('n8n');
});

it('gives ratios to what was measured of n8n elsewhere where it cannot be installed', () => {
  const lines = renderComparison([{ name: 'Millrace', runs: runs(3000) }], true)
    .split('\n')
    .filter((line) => line.includes('n8n'));
  expect(lines.map((line) => line.replace(/\s+/g, ' ').trim())).toEqual([
    'n8n 2.8.4, on another machine 56–69 Millrace: 43.5 times better',
    'n8n 2.8.4, on another machine 96 Millrace: 10.0 times better',
    'n8n 2.8.4, on another machine 739 Millrace: 73.9 times better',
    'n8n 2.8.4, on another machine 960 Millrace: 24.0 times better',
  ]);
});
