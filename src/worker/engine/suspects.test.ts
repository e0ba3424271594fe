import { expect, test } from 'vitest';
import type { Claim } from '../../core/executions/claims.ts';
import { sortSuspects } from './suspects.ts';

const claim = (id: string, lostLeases: number): Claim => ({ id, lostLeases }) as Claim; // it looks at nothing else
const idsOf = (claims: readonly Claim[]): readonly string[] => claims.map(({ id }) => id);

const BATCH = [claim('new', 0), claim('lost', 1), claim('twice', 2), claim('often', 4)];

test('takes one execution that lost workers twice, and gives back the others', () => {
  const { clear, suspect, sentBack } = sortSuspects(BATCH, true);
  expect(idsOf(clear)).toEqual(['new', 'lost']);
  expect(suspect?.id).toBe('twice');
  expect(idsOf(sentBack)).toEqual(['often']);
});

test('gives back all of them while one runs', () => {
  const { clear, suspect, sentBack } = sortSuspects(BATCH, false);
  expect(idsOf(clear)).toEqual(['new', 'lost']);
  expect(suspect).toBeUndefined();
  expect(idsOf(sentBack)).toEqual(['twice', 'often']);
});
