import { describe, expect, test } from 'vitest';
import { listOf, nearest } from './suggest.ts';

describe('nearest', () => {
  test.each([
    ['metod', ['method', 'url'], 'method'],
    ['htpp', ['http', 'wait'], 'http'],
    ['POST', ['post', 'put'], 'post'],
    ['stpes', ['steps', 'stops'], 'steps'],
    ['xyz', ['http', 'wait'], undefined],
    ['', ['a'], 'a'],
    ['a'.repeat(100_000), ['a'], undefined],
    ['constructor', ['constructors'], 'constructors'],
  ])('of %.20s among %j is %s', (written, candidates, expected) => {
    expect(nearest(written, candidates)).toBe(expected);
  });
});

test('listOf names the choices', () => {
  expect(listOf([])).toBe('nothing');
  expect(listOf(['a'])).toBe('`a`');
  expect(listOf(['a', 'b', 'c'])).toBe('`a`, `b` or `c`');
  expect(listOf(['a', 'b'], 'and')).toBe('`a` and `b`');
  expect(listOf(Array.from({ length: 30 }, () => 'x')).length).toBeLessThan(120);
});
