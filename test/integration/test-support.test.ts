import { Redis } from 'ioredis';
import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { testRedis } from '../support/redis.ts';

async function query(database: TestDatabase, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client(database.url);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

it('gives each caller a migrated database of its own', async () => {
  const [first, second] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  onTestFinished(() => Promise.all([first.drop(), second.drop()]).then(() => undefined));

  await query(first, `insert into tenant (name) values ('only-here')`);

  expect(await query(first, 'select name from tenant order by name')).toEqual([
    { name: 'default' },
    { name: 'only-here' },
  ]);
  expect(await query(second, 'select name from tenant')).toEqual([{ name: 'default' }]);
});

it('gives an empty database to tests of the migrations', async () => {
  const database = await createEmptyDatabase();
  onTestFinished(() => database.drop());

  expect(await query(database, `select from pg_tables where schemaname = 'public'`)).toEqual([]);
});

it('runs on a PostgreSQL that keeps what it commits', async () => {
  const database = await createTestDatabase();
  onTestFinished(() => database.drop());

  expect(await query(database, 'show fsync')).toEqual([{ fsync: 'on' }]);
  expect(await query(database, 'show synchronous_commit')).toEqual([{ synchronous_commit: 'on' }]);
});

it('gives each test its own prefix in the shared Redis', async () => {
  const { url, prefix } = testRedis();
  const client = new Redis(url);
  onTestFinished(() => client.disconnect());

  expect(prefix).toMatch(/^t[0-9a-f]{16}$/);
  expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
});

it('starts a Redis that a test may kill and bring back at the same port', async () => {
  const first = await startRedisServer();
  await first.kill();
  const second = await startRedisServer({ port: first.port });
  onTestFinished(() => second.stop());

  expect(second.url).toBe(first.url);
});
