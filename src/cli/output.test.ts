import { describe, expect, it } from 'vitest';
import { formatSpan, formatTable } from './output.ts';

describe('formatTable', () => {
  const columns = [
    { title: 'name', value: (row: { readonly name: unknown }) => row.name },
    { title: 'length', value: (row: { readonly name: unknown }) => String(row.name).length },
  ];

  it('aligns columns under their titles and shows what is missing as -', () => {
    expect(formatTable([{ name: 'a' }, { name: 'longer' }, { name: null }], columns)).toBe(
      ['NAME    LENGTH', 'a       1', 'longer  6', '-       4'].join('\n'),
    );
  });

  it('keeps a value in its cell', () => {
    expect(formatTable([{ name: 'two\nlines\u001b[2J' }], columns).split('\n')).toHaveLength(2);
  });

  it('is only titles without rows', () => {
    expect(formatTable([], columns)).toBe('NAME  LENGTH');
  });
});

it.each([
  ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.020Z', '20 ms'],
  ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.500Z', '1.5 s'],
  ['2026-01-01T00:00:00.000Z', '2026-01-01T00:03:00.000Z', '3 min'],
  ['2026-01-01T00:00:00.000Z', null, undefined],
])('formatSpan from %s to %s is %s', (from, to, shown) => {
  expect(formatSpan(from, to)).toBe(shown);
});
