import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrate, readMigrations } from '../../../src/core/db/migrate.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let admin: pg.Pool;

beforeAll(async () => {
  database = await createTestDatabase();
  admin = new pg.Pool({ connectionString: database.url, max: 4 });
});
afterAll(async () => {
  await admin.end();
  await database.drop();
});

test('a migration that has to wait for a table does not hold up those who write to it', async () => {
  const migrations = [
    ...(await readMigrations()),
    { version: 999_999, name: 'wider', breaking: false, sql: 'alter table tenant add column wider text' },
  ];
  // As a dump does, for as long as it lasts.
  const dump = await admin.connect();
  await dump.query('begin');
  await dump.query('lock table tenant in access share mode');
  let isDone = false;
  const migrated = migrate(database.url, { migrations }).finally(() => (isDone = true));

  const gaveWay = async (): Promise<boolean> => {
    const { rows } = await admin.query<{ rollbacks: string }>(
      'select xact_rollback as rollbacks from pg_stat_database where datname = current_database()',
    );
    return Number(rows[0]?.rollbacks) > 0;
  };
  // Writers come and go all the while, none of them cut off by its own time-out.
  const writer = await admin.connect();
  await writer.query(`set statement_timeout = '5s'`);
  let written = 0;
  await waitFor(
    async () => {
      await writer.query(`insert into tenant (name) values ('tenant-${++written}')`);
      return gaveWay();
    },
    { timeoutMs: 30_000, intervalMs: 20, what: 'the migration to give way' },
  );
  expect(isDone).toBe(false);
  for (let more = 0; more < 20; more++)
    await writer.query(`insert into tenant (name) values ('tenant-${++written}')`);
  expect(isDone).toBe(false);

  await dump.query('rollback');
  dump.release();
  writer.release();
  expect((await migrated).map(({ name }) => name)).toEqual(['wider']);
  const { rows } = await admin.query(
    `select count(*)::int as count from tenant where wider is null and name like 'tenant-%'`,
  );
  expect(rows).toEqual([{ count: written }]);
});
