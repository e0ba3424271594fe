import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CompiledStep } from '../definition/types.ts';
import { failureOf, plan, type StepStanding } from './plan.ts';
import { isStepTerminal } from './status.ts';

interface Sketch {
  readonly needs?: readonly (number | { readonly always: number })[];
  readonly continueOnError?: boolean;
}

/** Steps with only what the planner reads. */
const workflow = (...sketches: readonly Sketch[]) => ({
  steps: sketches.map(
    (sketch, index) =>
      ({
        index,
        id: `s${index}`,
        continueOnError: sketch.continueOnError ?? false,
        needs: (sketch.needs ?? []).map((need) =>
          typeof need === 'number'
            ? { index: need, when: 'success' }
            : { index: need.always, when: 'always' },
        ),
      }) as unknown as CompiledStep, // the planner reads nothing else
  ),
});

const at = (...states: readonly StepStanding['state'][]): readonly StepStanding[] =>
  states.map((state) => ({ state }));

describe('plan', () => {
  test('starts what needs nothing, all at once', () => {
    expect(plan(workflow({}, {}, { needs: [0] }), at('pending', 'pending', 'pending'), 0)).toEqual({
      ready: [0, 1],
      skip: [],
      nextDueMs: undefined,
      done: false,
    });
  });

  test('starts a step when all it needs have succeeded', () => {
    const two = workflow({}, {}, { needs: [0, 1] });
    expect(plan(two, at('succeeded', 'running', 'pending'), 0).ready).toEqual([1]);
    expect(plan(two, at('succeeded', 'succeeded', 'pending'), 0).ready).toEqual([2]);
  });

  test.each(['failed', 'skipped', 'cancelled'] as const)('skips what needs a %s step', (state) => {
    expect(plan(workflow({}, { needs: [0] }), at(state, 'pending'), 0)).toMatchObject({
      ready: [],
      skip: [1],
    });
  });

  test.each(['failed', 'skipped', 'succeeded'] as const)('runs what needs a %s step always', (state) => {
    expect(plan(workflow({}, { needs: [{ always: 0 }] }), at(state, 'pending'), 0).ready).toEqual([1]);
  });

  test('goes on after a failed step under continueOnError', () => {
    expect(
      plan(workflow({ continueOnError: true }, { needs: [0] }), at('failed', 'pending'), 0).ready,
    ).toEqual([1]);
  });

  test('waits for every need before it judges any, so that the way does not depend on time', () => {
    expect(plan(workflow({}, {}, { needs: [0, 1] }), at('failed', 'running', 'pending'), 0).skip).toEqual([]);
  });

  test('holds a step back until it is due, and says when', () => {
    const standings = [
      { state: 'pending', dueAtMs: 50 },
      { state: 'pending', dueAtMs: 70 },
    ] as const;
    expect(plan(workflow({}, {}), standings, 49)).toMatchObject({ ready: [], nextDueMs: 50 });
    expect(plan(workflow({}, {}), standings, 50)).toMatchObject({ ready: [0], nextDueMs: 70 });
  });

  test('leaves alone what is under way', () => {
    expect(plan(workflow({}), [{ state: 'running', active: true }], 0)).toMatchObject({
      ready: [],
      done: false,
    });
  });

  test('is done when every step has ended', () => {
    expect(plan(workflow({}, {}), at('succeeded', 'skipped'), 0)).toMatchObject({
      done: true,
      ready: [],
      skip: [],
    });
  });
});

describe('failureOf', () => {
  test('names the first failed step in document order', () => {
    const standings = [
      { state: 'succeeded' },
      { state: 'failed', error: { code: 'http_status', message: 'first' } },
      { state: 'failed', error: { code: 'timeout', message: 'second' } },
    ] as const;
    expect(failureOf(workflow({}, {}, {}), standings)).toEqual({
      code: 'http_status',
      message: 'first',
      step: 's1',
    });
  });

  test('passes over steps under continueOnError', () => {
    expect(failureOf(workflow({ continueOnError: true }), at('failed'))).toBeUndefined();
  });
});

test('any graph comes to an end, and what is started has its needs met', () => {
  const graph = fc.array(
    fc.record({
      needs: fc.array(fc.tuple(fc.nat(20), fc.boolean()), { maxLength: 3 }),
      continueOnError: fc.boolean(),
    }),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(
      graph,
      fc.infiniteStream(fc.constantFrom('succeeded', 'failed', 'skipped')),
      (sketches, outcomes) => {
        // A step may need only earlier ones, so there is no cycle.
        const subject = workflow(
          ...sketches.map(({ needs, continueOnError }, index) => ({
            continueOnError,
            needs:
              index === 0 ? [] : needs.map(([n, always]) => (always ? { always: n % index } : n % index)),
          })),
        );
        const standings: StepStanding[] = sketches.map(() => ({ state: 'pending' }));
        for (let round = 0; round <= sketches.length; round++) {
          const next = plan(subject, standings, 0);
          if (next.done) return;
          expect(next.ready.length + next.skip.length).toBeGreaterThan(0);
          for (const index of next.skip) standings[index] = { state: 'skipped' };
          for (const index of next.ready) {
            for (const need of subject.steps[index]!.needs)
              expect(isStepTerminal(standings[need.index]!.state)).toBe(true);
            standings[index] = { state: outcomes.next().value as 'succeeded' };
          }
        }
        expect.unreachable('the plan did not come to an end');
      },
    ),
  );
});
