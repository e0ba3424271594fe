import { expect, test } from 'vitest';
import type { Queryable } from './database.ts';
import { patientReads } from './patient-reads.ts';

/** A database that fails with each of `errors` in turn, and answers then. */
function setUp(errors: readonly Error[], patienceMs = 60_000) {
  const asked: unknown[][] = [];
  const retried: Error[] = [];
  const db = {
    query: async (...args: unknown[]) => {
      const error = errors[asked.push(args) - 1];
      if (error !== undefined) throw error;
      return { rows: [{ n: 1 }] };
    },
  } as unknown as Queryable; // all that is asked of it
  const reads = patientReads(db, { patienceMs, onRetry: (error) => retried.push(error) });
  return { asked, retried, read: () => reads.query('select $1::int as n', [1]) };
}

const away = new Error('Connection terminated unexpectedly');
const refused = Object.assign(new Error('permission denied for table credential'), { code: '42501' });

test('a read is repeated, with its values, until the database is back', async () => {
  const { asked, retried, read } = setUp([away, away]);
  expect(await read()).toEqual({ rows: [{ n: 1 }] });
  expect(asked).toEqual(Array.from({ length: 3 }, () => ['select $1::int as n', [1]]));
  expect(retried).toEqual([away, away]);
});

test('what PostgreSQL refuses is not asked again', async () => {
  const { asked, retried, read } = setUp([away, refused]);
  await expect(read()).rejects.toBe(refused);
  expect(asked).toHaveLength(2);
  expect(retried).toEqual([away]);
});

test('its caller hears of the last failure when the patience is over', async () => {
  const { asked, read } = setUp([away, away], 0);
  await expect(read()).rejects.toBe(away);
  expect(asked).toHaveLength(1);
});
