import { describe, expect, test } from 'vitest';
import { StepError } from '../../step-error.ts';
import { valueCompiler } from '../values.ts';
import { dueAt, MAX_WAIT_MS, parseInstant, wait } from './wait.ts';

const NOW = Date.parse('2026-01-31T08:00:00Z');
const compile = (body: Parameters<typeof wait.compile>[0]['wait']) =>
  wait.compile({ wait: body }, valueCompiler(['trigger']));

describe('parseInstant', () => {
  test.each([
    ['2026-01-31T08:00:00Z', NOW],
    ['2026-01-31T09:00:00.250+01:00', NOW + 250],
  ])('reads %s', (text, ms) => {
    expect(parseInstant(text)).toBe(ms);
  });

  test.each([
    '',
    '2026-01-31',
    '2026-01-31T08:00:00',
    '2026-01-31 08:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-31T24:00:00Z',
    '2026-02-30T00:00:00Z',
    '1769846400',
  ])('refuses %j', (text) => {
    expect(parseInstant(text)).toBeUndefined();
  });
});

describe('dueAt', () => {
  test.each([
    ['5m', NOW + 300_000],
    [{ for: '0s' }, NOW],
    [{ for: '${{ trigger.n }}s' }, NOW + 30_000],
    [{ until: '2026-01-31T08:01:00Z' }, NOW + 60_000],
    [{ until: '2020-01-01T00:00:00Z' }, Date.parse('2020-01-01T00:00:00Z')],
    [{ until: '${{ trigger.at }}' }, NOW + 1000],
  ])('of %j', (body, due) => {
    const scope = { trigger: { n: 30, at: '2026-01-31T08:00:01Z' } };
    expect(dueAt(compile(body), scope, NOW)).toBe(due);
  });

  test.each([
    [{ for: '${{ trigger.bad }}' }, 'soon'],
    [{ for: '${{ trigger.bad }}' }, 30],
    [{ for: '${{ trigger.bad }}' }, '366d'],
    [{ for: '${{ trigger.bad }}' }, null],
    [{ until: '${{ trigger.bad }}' }, '2026-01-31'],
    [{ until: '${{ trigger.bad }}' }, 1769846400],
    [{ until: '${{ trigger.bad }}' }, new Date(NOW + MAX_WAIT_MS + 1).toISOString()],
  ])('of %j refuses %j, for good', (body, bad) => {
    const attempt = () => dueAt(compile(body), { trigger: { bad } }, NOW);
    expect(attempt).toThrow(StepError);
    expect(attempt).toThrow(expect.objectContaining({ code: 'invalid_input', retryable: false }));
  });
});
