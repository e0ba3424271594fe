import { describe, expect, test, vi } from 'vitest';
import { createFailpoints, parseFailpoints } from './failpoints.ts';

describe('parseFailpoints', () => {
  test.each([
    ['', []],
    ['hooks.before-hint', [['hooks.before-hint', 1]]],
    [
      ' journal.after-write@30, hooks.before-hint@2,',
      [
        ['journal.after-write', 30],
        ['hooks.before-hint', 2],
      ],
    ],
  ])('reads %j', (text, plan) => {
    expect([...parseFailpoints(text)]).toEqual(plan);
  });

  test.each(['journal', 'journal.after-write@0', 'journal.after-write@x', 'toString', '__proto__'])(
    'refuses %j and says what is allowed',
    (text) => {
      expect(() => parseFailpoints(text)).toThrow(/allowed are ingest\.before-commit, .*each with @n/);
    },
  );
});

describe('createFailpoints', () => {
  test('kills at the planned passage of the named place, and nowhere else', () => {
    const kill = vi.fn<() => void>();
    const pass = createFailpoints(new Map([['journal.after-write', 2]]), kill);
    pass('hooks.before-hint');
    pass('journal.after-write');
    expect(kill).not.toHaveBeenCalled();
    pass('journal.after-write');
    expect(kill).toHaveBeenCalledOnce();
    pass('journal.after-write');
    expect(kill).toHaveBeenCalledOnce();
  });

  test('without a plan does nothing', () => {
    const kill = vi.fn<() => void>();
    createFailpoints(new Map(), kill)('hooks.before-hint');
    expect(kill).not.toHaveBeenCalled();
  });
});
