import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ancestorsOf, findCycles, type GraphNode } from './graph.ts';

const graph = (edges: Readonly<Record<string, readonly string[]>>): readonly GraphNode[] =>
  Object.entries(edges).map(([id, needs]) => ({ id, needs }));

describe('findCycles', () => {
  test.each<[string, Record<string, string[]>, string[][]]>([
    ['a line', { a: [], b: ['a'], c: ['b'] }, []],
    ['a diamond', { a: [], b: ['a'], c: ['a'], d: ['b', 'c'] }, []],
    ['a need that is not there', { a: ['ghost'] }, []],
    ['two steps', { a: ['b'], b: ['a'] }, [['a', 'b']]],
    ['a step that hangs on a cycle', { x: ['a'], a: ['b'], b: ['a'] }, [['a', 'b']]],
    ['a step that a cycle needs', { r: [], a: ['b', 'r'], b: ['a'] }, [['a', 'b']]],
    ['three in a row', { a: ['c'], b: ['a'], c: ['b'] }, [['a', 'c', 'b']]],
    [
      'two cycles',
      { a: ['b'], b: ['a'], c: ['d'], d: ['c'] },
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    ],
    ['repeated needs', { a: [], b: ['a', 'a'] }, []],
  ])('in %s', (_, edges, expected) => {
    expect(findCycles(graph(edges))).toEqual(expected);
  });

  test('finds a cycle exactly when there is no order to run the steps in, and names real edges', () => {
    const edges = fc.array(fc.tuple(fc.nat(9), fc.nat(9)), { maxLength: 25 });
    fc.assert(
      fc.property(edges, (pairs) => {
        const nodes = Array.from({ length: 10 }, (_, index) => ({
          id: `s${index}`,
          needs: pairs.filter(([from, to]) => from === index && to !== index).map(([, to]) => `s${to}`),
        }));
        const cycles = findCycles(nodes);
        expect(cycles.length > 0).toBe(!canBeOrdered(nodes));
        for (const cycle of cycles) {
          for (const [position, id] of cycle.entries()) {
            const next = cycle[(position + 1) % cycle.length];
            expect(nodes.find((node) => node.id === id)?.needs).toContain(next);
          }
        }
      }),
    );
  });

  test('takes a long chain without running out of stack', () => {
    const nodes = Array.from({ length: 20_000 }, (_, index) => ({
      id: `s${index}`,
      needs: [`s${(index + 1) % 20_000}`],
    }));
    expect(findCycles(nodes)).toHaveLength(1);
  });
});

function canBeOrdered(nodes: readonly GraphNode[]): boolean {
  const done = new Set<string>();
  let grew = true;
  while (grew) {
    const ready = nodes.filter(({ id, needs }) => !done.has(id) && needs.every((need) => done.has(need)));
    grew = ready.length > 0;
    for (const { id } of ready) done.add(id);
  }
  return done.size === nodes.length;
}

test('ancestors are all that has ended before', () => {
  const needs = new Map([
    ['a', []],
    ['b', ['a']],
    ['c', ['b']],
    ['d', ['x', 'y']],
    ['x', ['y']],
    ['y', ['x']],
  ]);
  expect([...ancestorsOf('c', needs)].sort()).toEqual(['a', 'b']);
  expect([...ancestorsOf('a', needs)]).toEqual([]);
  expect([...ancestorsOf('d', needs)].sort()).toEqual(['x', 'y']);
});
