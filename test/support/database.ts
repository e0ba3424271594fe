import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

export interface TestDatabase {
  /** As the server's administrator; `openDatabase` then takes a role. */
  readonly url: string;
  drop(): Promise<void>;
}

/** A database of its own with the whole schema, cloned from the template; one for each test file. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await asAdmin(`create database ${name} template ${inject('postgresTemplate')} strategy wal_log`);
  return { url: databaseUrl(name), drop: () => asAdmin(`drop database ${name} with (force)`) };
}

/** An empty database, for tests of the migrations themselves. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await asAdmin(`create database ${name}`);
  return { url: databaseUrl(name), drop: () => asAdmin(`drop database ${name} with (force)`) };
}

function databaseUrl(name: string): string {
  const url = new URL(inject('postgresAdminUrl'));
  url.pathname = `/${name}`;
  return url.href;
}

async function asAdmin(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresAdminUrl') });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
