import { expect, it } from 'vitest';
import { missedTargets } from './report.ts';
import type { Measured } from './rounds.ts';

it('names the figures whose median misses the target, and by how much', () => {
  const measured: Measured = new Map([
    ['acceptsPerSecond', [2000, 1000, 9000]],
    ['openP99Ms', [90, 20, 66]],
  ]);
  expect(missedTargets(measured)).toEqual([
    'accepts/s, API alone, 50 connections, HMAC verified: 2,000/s, 20 % below the target of 2,500/s',
    'accept latency, API alone, open loop, p99: 66 ms, 10 % above the target of 60 ms',
  ]);
});

it('passes a median at its target, whatever the worst run was, and figures without one', () => {
  const measured: Measured = new Map([
    ['acceptsPerSecond', [2500, 10, 2600]],
    ['apiMemoryMb', [150, 100, 900]],
    ['acceptP99Ms', [10_000]],
  ]);
  expect(missedTargets(measured)).toEqual([]);
});
