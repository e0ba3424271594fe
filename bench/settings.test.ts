import { expect, it } from 'vitest';
import { isDocumented, parseSettings, UsageError } from './settings.ts';

it.each([
  { args: [], replaces: true },
  { args: ['--runs', '7'], replaces: true },
  { args: ['--gate'], replaces: true },
  { args: ['--runs', '4'], replaces: false },
  { args: ['--runs', '1', '--seconds', '2'], replaces: false },
  { args: ['--seconds', '2'], replaces: false },
  { args: ['--seconds', '60'], replaces: false },
  { args: ['--only', 'accept,latency'], replaces: false },
  { args: ['--profile', 'profiles'], replaces: false },
  { args: ['--env', 'LOG_LEVEL=info'], replaces: false },
])('with $args replaces docs/performance.md: $replaces', ({ args, replaces }) => {
  expect(isDocumented(parseSettings(args))).toBe(replaces);
});

it('takes a name for all measurements that begin so', () => {
  const { measures } = parseSettings(['--only', 'telemetry']);
  expect(measures.map(({ name }) => name)).toEqual([
    'telemetry-accept',
    'telemetry-execute',
    'telemetry-http',
  ]);
});

it.each([['--only', 'nothing'], ['--runs', '0'], ['--env', 'lower=1'], ['--unknown']])(
  'refuses %s %s',
  (...args) => {
    expect(() => parseSettings(args)).toThrow(UsageError);
  },
);
