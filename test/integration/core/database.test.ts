import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type Database, type Queryable } from '../../../src/core/db/database.ts';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import { watchPool } from '../../../src/core/telemetry/pools.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { sumOf } from '../../support/metrics-page.ts';
import { waitFor } from '../../support/wait-for.ts';

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

test('no plan is compiled, whatever it seems to cost', async () => {
  // The server of the tests compiles nothing by itself.
  const url = new URL(testDatabase.url);
  url.searchParams.set('options', '-c jit=on');
  const eager = openDatabase({
    url: url.href,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 1,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 2000,
    lookUpsOnly: true,
    onError: () => {},
  });
  try {
    expect((await eager.query('show jit')).rows).toEqual([{ jit: 'off' }]);
  } finally {
    await eager.end();
  }
});

test('a COMMIT that comes with a WARNING is not believed, and its connection is not used again', async () => {
  const pidOf = (queryable: Queryable): Promise<unknown> =>
    queryable.query<{ pid: number }>('select pg_backend_pid() as pid').then(({ rows }) => rows[0]?.pid);
  let doubted: unknown;
  const committed = db.transaction(async (client) => {
    doubted = await pidOf(client);
    await client.query(`
      create temp table late (n integer);
      create function pg_temp.warn() returns trigger language plpgsql as
        $$ begin raise warning 'not replicated'; return null; end $$;
      create constraint trigger warn after insert on late deferrable initially deferred
        for each row execute function pg_temp.warn();
      insert into late values (1)`);
  });
  await expect(committed).rejects.toMatchObject({
    code: '40003',
    message: expect.stringContaining('warned: not replicated') as string,
  });
  for (let n = 0; n < 3; n++) expect(await pidOf(db)).not.toBe(doubted);
});

test('a pool tells how many callers wait for a connection', async () => {
  const metrics = createMetrics();
  const stop = watchPool(metrics, 'test', db);
  const states = async () => {
    const { body } = await metrics.registry.page(undefined);
    return Object.fromEntries(
      ['busy', 'waiting'].map((state) => [
        state,
        sumOf(body, 'millrace_database_pool_connections', { pool: 'test', state }),
      ]),
    );
  };
  const held = Promise.withResolvers<void>();
  const holders = [1, 2].map(() => db.withConnection(() => held.promise));
  const waiting = [1, 2, 3].map(() => db.query('select 1'));
  try {
    await waitFor(async () => isDeepStrictEqual(await states(), { busy: 2, waiting: 3 }), {
      timeoutMs: 1500,
      what: 'three callers to wait',
    });
  } finally {
    held.resolve();
    await Promise.all([...holders, ...waiting]);
  }
  expect(await states()).toEqual({ busy: 0, waiting: 0 });
  stop();
});
