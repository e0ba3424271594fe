import { expect, test } from 'vitest';
import { createCursors } from './cursor.ts';

const cursors = createCursors('s'.repeat(32));
const binding = { list: 'executions', tenantId: 't1', filters: { state: 'failed', workflow: undefined } };
const invalid = expect.objectContaining({ code: 'invalid_cursor' });

test('gives back the position it was made with', () => {
  expect(cursors.decode(cursors.encode(['a', 'b'], binding), binding)).toEqual(['a', 'b']);
});

test('does not depend on the order of the filters', () => {
  const other = { ...binding, filters: { workflow: undefined, state: 'failed' } };
  expect(cursors.decode(cursors.encode(['a'], binding), other)).toEqual(['a']);
});

test.each([
  ['another tenant', { ...binding, tenantId: 't2' }],
  ['another list', { ...binding, list: 'deliveries' }],
  ['another filter', { ...binding, filters: { state: 'succeeded' } }],
])('is refused for %s', (_what, other) => {
  expect(() => cursors.decode(cursors.encode(['a'], binding), other)).toThrow(invalid);
});

test('is refused under another secret', () => {
  const cursor = createCursors('x'.repeat(32)).encode(['a'], binding);
  expect(() => cursors.decode(cursor, binding)).toThrow(invalid);
});

test.each(['', '.', 'a', 'a.b', `WyJhIl0.${'A'.repeat(43)}`, '../../etc', '\u0000'])(
  'refuses %j',
  (cursor) => {
    expect(() => cursors.decode(cursor, binding)).toThrow(invalid);
  },
);

test('is refused when any character of it is changed', () => {
  const cursor = cursors.encode(['a'], binding);
  for (let at = 0; at < cursor.length - 1; at++) {
    const forged = cursor.slice(0, at) + (cursor[at] === 'A' ? 'B' : 'A') + cursor.slice(at + 1);
    expect(() => cursors.decode(forged, binding)).toThrow(invalid);
  }
});
