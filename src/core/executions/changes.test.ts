import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  changesSince,
  decodeSeen,
  encodeSeen,
  nothingSeen,
  type Seen,
  type SeenStep,
  type Standing,
} from './changes.ts';
import { EXECUTION_STATES, STEP_STATES, type ExecutionState } from './status.ts';

const STEPS = ['a', 'b', 'c'];

const standing = (state: ExecutionState, steps: Readonly<Record<string, SeenStep>> = {}): Standing => ({
  id: 'e',
  state,
  steps: new Map(Object.entries(steps)),
});

const anyStep = fc.record({ state: fc.constantFrom(...STEP_STATES), attempts: fc.nat(20) });
const anyStanding: fc.Arbitrary<Standing> = fc.record({
  id: fc.constant('e'),
  state: fc.constantFrom(...EXECUTION_STATES),
  steps: fc.array(fc.tuple(fc.constantFrom(...STEPS), anyStep)).map((entries) => new Map(entries)),
});

/** What a reader knows that has read all changes up to `id`. */
const afterReading = (id: string): Seen => decodeSeen(id, STEPS.length)!; // ids of ours

describe('changesSince', () => {
  test('tells a new reader the state and every step that has begun', () => {
    const now = standing('running', { a: { state: 'succeeded', attempts: 1 } });
    const { changes } = changesSince(nothingSeen(STEPS), now, STEPS);
    expect(changes).toEqual([
      { id: 'r.p0.p0.p0', change: { type: 'execution', state: 'running' } },
      { id: 'r.s1.p0.p0', change: { type: 'step', step: 'a', state: 'succeeded', attempts: 1 } },
    ]);
  });

  test('tells the end of an execution after its steps', () => {
    const now = standing('failed', {
      a: { state: 'failed', attempts: 3 },
      b: { state: 'skipped', attempts: 0 },
    });
    const { changes } = changesSince({ ...nothingSeen(STEPS), state: 'running' }, now, STEPS);
    expect(changes.map(({ change }) => change.type)).toEqual(['step', 'step', 'execution']);
  });

  test('tells another attempt of a step whose state is the same', () => {
    const before = { ...nothingSeen(['a']), state: 'running' as const };
    const now = standing('running', { a: { state: 'pending', attempts: 1 } });
    expect(changesSince(before, now, ['a']).changes).toEqual([
      { id: 'r.p1', change: { type: 'step', step: 'a', state: 'pending', attempts: 1 } },
    ]);
  });

  test('has nothing to tell twice', () => {
    fc.assert(
      fc.property(anyStanding, (now) => {
        const { seen } = changesSince(nothingSeen(STEPS), now, STEPS);
        expect(changesSince(seen, now, STEPS).changes).toEqual([]);
      }),
    );
  });

  test('resumes after any change with exactly the rest', () => {
    fc.assert(
      fc.property(anyStanding, anyStanding, (first, second) => {
        const { seen } = changesSince(nothingSeen(STEPS), first, STEPS);
        const { changes } = changesSince(seen, second, STEPS);
        for (const [index, { id }] of changes.entries()) {
          const rest = changesSince(afterReading(id), second, STEPS).changes;
          expect(rest).toEqual(changes.slice(index + 1));
        }
      }),
    );
  });
});

describe('decodeSeen', () => {
  test('reads what encodeSeen wrote', () => {
    fc.assert(
      fc.property(
        fc.option(fc.constantFrom(...EXECUTION_STATES), { nil: undefined }),
        fc.array(anyStep),
        (state, steps) => {
          expect(decodeSeen(encodeSeen({ state, steps }), steps.length)).toEqual({ state, steps });
        },
      ),
    );
  });

  test.each([
    '',
    'x',
    'r',
    'r.s1',
    'r.s1.p0.p0',
    'r.s1.x0',
    'r.s.p0',
    'r.s1.p-1',
    'r.s1e9.p0',
    '17',
    'constructor.p0.p0',
  ])('refuses %j for two steps', (text) => {
    expect(decodeSeen(text, 2)).toBeUndefined();
  });
});
