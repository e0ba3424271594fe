import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let testDatabase: TestDatabase;
let admin: pg.Pool;
let db: Database;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  admin = new pg.Pool({ connectionString: testDatabase.url, max: 1 });
  db = openDatabase({
    url: testDatabase.url,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 2,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 2000,
    onError: () => {},
  });
});

afterAll(async () => {
  await db.end();
  await admin.end();
  await testDatabase.drop();
});

test('a connection that is ended while somebody holds it fails its next query, not the process', async () => {
  const held = db.withConnection(async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
    await admin.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await ended;
    await client.query('select 1');
  });
  await expect(held).rejects.toThrow();
  const { rows } = await db.query('select 1 as one');
  expect(rows).toEqual([{ one: 1 }]);
});
