import { describe, expect, test } from 'vitest';
import { NO_ITEM, foldJournal, type StepRun } from './journal.ts';

const row = (overrides: Partial<StepRun>): StepRun => ({
  stepId: 'a',
  item: NO_ITEM,
  attempt: 1,
  state: 'succeeded',
  startedAtMs: 100,
  finishedAtMs: 200,
  ...overrides,
});

describe('foldJournal', () => {
  test('a succeeded attempt is the step’s end', () => {
    expect(foldJournal([row({ output: 7 })]).get('a')).toMatchObject({
      state: 'succeeded',
      attempts: 1,
      output: 7,
      startedAtMs: 100,
      finishedAtMs: 200,
    });
  });

  test('a failed attempt that is to be repeated leaves the step pending until then', () => {
    const error = { code: 'http_status', message: 'x' };
    expect(foldJournal([row({ state: 'failed', error, dueAtMs: 900 })]).get('a')).toMatchObject({
      state: 'pending',
      attempts: 1,
      dueAtMs: 900,
      error,
      finishedAtMs: undefined,
    });
  });

  test('the last attempt counts, in whatever order rows come; the start is the first one’s', () => {
    const rows = [
      row({ attempt: 2, startedAtMs: 300, finishedAtMs: 400, output: 'second' }),
      row({ state: 'failed', dueAtMs: 250 }),
    ];
    expect(foldJournal(rows).get('a')).toMatchObject({
      state: 'succeeded',
      attempts: 2,
      output: 'second',
      startedAtMs: 100,
      finishedAtMs: 400,
    });
  });

  test('an announced attempt has no outcome and does not count', () => {
    expect(foldJournal([row({ state: 'running', dueAtMs: 500 })]).get('a')).toMatchObject({
      state: 'running',
      attempts: 0,
      announced: true,
      dueAtMs: 500,
    });
  });

  test('the trace of the last attempt with an outcome is known, also while the next one is announced', () => {
    const failed = row({ state: 'failed', dueAtMs: 250, traceparent: 'first' });
    expect(foldJournal([failed]).get('a')?.traceparent).toBe('first');
    const announced = row({ attempt: 2, state: 'running' });
    expect(foldJournal([announced, failed]).get('a')?.traceparent).toBe('first');
    expect(foldJournal([row({ state: 'running' })]).get('a')?.traceparent).toBeUndefined();
  });

  test('items of a forEach without a row of the step itself mean that it runs', () => {
    const rows = [
      row({ item: 0, output: 1 }),
      row({ item: 2, state: 'failed', dueAtMs: 5, startedAtMs: 50 }),
    ];
    const step = foldJournal(rows).get('a')!;
    expect(step).toMatchObject({ state: 'running', attempts: 1, startedAtMs: 50 });
    expect(step.items.get(0)).toMatchObject({ state: 'succeeded', output: 1 });
    expect(step.items.get(2)).toMatchObject({ state: 'pending', dueAtMs: 5 });
    expect(step.items.has(1)).toBe(false);
  });

  test('the step’s own row ends a forEach', () => {
    const rows = [row({ item: 0 }), row({ item: NO_ITEM, attempt: 0, output: [1] })];
    expect(foldJournal(rows).get('a')).toMatchObject({ state: 'succeeded', output: [1], attempts: 1 });
  });
});
