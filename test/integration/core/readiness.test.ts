import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Queryable } from '../../../src/core/db/database.ts';
import { createClockCheck, createDatabaseCheck } from '../../../src/core/health/readiness.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
let client: pg.Client;
let statements: number;
/** Counts what it is asked. */
let counted: Queryable;
beforeAll(async () => {
  database = await createTestDatabase();
  await connect();
});
async function connect(): Promise<void> {
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query('set role millrace_ingest');
  statements = 0;
  counted = new Proxy(client, {
    get(target, name) {
      if (name === 'query') statements++;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
afterAll(async () => {
  await client.end();
  await database.drop();
});

const asOwner = async (...statements: readonly string[]): Promise<void> => {
  const owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
  for (const sql of statements) await owner.query(sql);
  await owner.end();
};
const named = (sql: string): string => sql.replace('$db', new URL(database.url).pathname.slice(1));

describe('the database', () => {
  it('is fit, and is asked once a second however many ask', async () => {
    let now = 0;
    const check = createDatabaseCheck(counted, () => now);
    statements = 0;
    await Promise.all(Array.from({ length: 50 }, () => check()));
    const first = statements;
    now = 900;
    await check();
    expect([first, statements]).toEqual([2, 2]);
    now = 1001;
    await check();
    expect(statements, 'the schema is asked for more seldom').toBe(3);
    now = 40_000;
    await check();
    expect(statements).toBe(5);
  });

  it.each([
    [
      'would lose what it confirms',
      'alter database $db set synchronous_commit = off',
      /synchronous_commit is off.*set it to on/,
    ],
    [
      'takes no writes',
      'alter database $db set default_transaction_read_only = on',
      /takes no writes.*primary/,
    ],
  ])('is unfit when it %s, and fit again afterwards', async (_, change, message) => {
    await asOwner(named(change));
    try {
      await client.end();
      await connect();
      await expect(createDatabaseCheck(client)()).rejects.toThrow(message);
    } finally {
      await asOwner('set default_transaction_read_only = off', named('alter database $db reset all'));
    }
    await client.end();
    await connect();
    await expect(createDatabaseCheck(client)()).resolves.toBeUndefined();
  });

  it('is unfit when its schema is ahead with a breaking migration', async () => {
    await asOwner(`insert into schema_migration (version, name, breaking) values (999999, 'later', true)`);
    try {
      await expect(createDatabaseCheck(client)()).rejects.toThrow(/999999 \(later\)/);
    } finally {
      await asOwner(`delete from schema_migration where version = 999999`);
    }
  });
});

it('a clock is fit within 30 s of the database’s', async () => {
  await expect(createClockCheck({ skewMs: () => -29_000 })()).resolves.toBeUndefined();
  await expect(createClockCheck({ skewMs: () => 31_000 })()).rejects.toThrow(/31\.0 s ahead/);
});
