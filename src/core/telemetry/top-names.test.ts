import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTopNames } from './top-names.ts';

function createShown(limit: number) {
  const shown = new Set<string>();
  const ended: string[] = [];
  const names = createTopNames({
    limit,
    onShown: (name) => void shown.add(name),
    onHidden: (name) => {
      shown.delete(name);
      ended.push(name);
    },
  });
  const note = (name: string, times = 1): void => {
    for (let n = 0; n < times; n++) names.note(name);
  };
  return { names, shown, ended, note };
}

describe('the most active names', () => {
  test('are all of them while there is room', () => {
    const { shown, note } = createShown(3);
    for (const name of ['a', 'b', 'c', 'd']) note(name);
    expect([...shown]).toEqual(['a', 'b', 'c']);
  });

  test('change only when they are settled, and only for one that is clearly more active', () => {
    const { names, shown, ended, note } = createShown(2);
    note('a', 10);
    note('b', 4);
    note('c', 8);
    names.settle(1);
    expect([...shown]).toEqual(['a', 'b']);
    note('c');
    expect([...shown]).toEqual(['a', 'b']);
    names.settle(1);
    expect([...shown]).toEqual(['a', 'c']);
    expect(ended).toEqual(['b']);
  });

  test('are those of late, as activity fades', () => {
    const { names, shown, note } = createShown(1);
    note('old', 1000);
    for (let minute = 0; minute < 10; minute++) {
      note('new', 20);
      names.settle(0.5);
    }
    expect([...shown]).toEqual(['new']);
  });

  test('are found among many more names than are remembered', () => {
    const { names, shown, note } = createShown(10);
    for (let n = 0; n < 10; n++) note(`first-${n}`);
    for (let round = 0; round < 200; round++) {
      note('busy', 10);
      for (let n = 0; n < 50; n++) note(`rare-${(round * 50 + n) % 500}`);
    }
    for (let n = 1; n < 10; n++) note(`first-${n}`, 10);
    names.settle(1);
    expect([...shown].sort()).toEqual(['busy', ...Array.from({ length: 9 }, (_, n) => `first-${n + 1}`)]);
  });

  test('tell whoever keeps a standing when it is shown no more', () => {
    const { names, note } = createShown(1);
    const standing = names.note('a');
    expect(standing.isShown).toBe(true);
    note('b', 3);
    names.settle(1);
    expect(standing.isShown).toBe(false);
    names.hideAll();
    expect(names.note('b').isShown).toBe(false);
  });

  test('are never more than the limit, and each that was shown is ended before it is shown again', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.oneof(fc.integer({ min: 0, max: 12 }).map(String), fc.constant('settle')), {
          maxLength: 300,
        }),
        (limit, events) => {
          const shown = new Set<string>();
          const names = createTopNames({
            limit,
            onShown: (name) => {
              expect(shown.has(name)).toBe(false);
              shown.add(name);
            },
            onHidden: (name) => expect(shown.delete(name)).toBe(true),
          });
          for (const event of events) {
            if (event === 'settle') names.settle(0.7);
            else expect(names.note(event).isShown).toBe(shown.has(event));
            expect(shown.size).toBeLessThanOrEqual(limit);
          }
        },
      ),
    );
  });
});
