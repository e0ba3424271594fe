import { expect, test } from 'vitest';
import type { Database } from './db/database.ts';
import { readMigrations } from './db/migrate.ts';
import type { DatabaseSettings } from './health/database.ts';
import { createLogger } from './logger.ts';
import { createStorageWait, type StorageWaitOptions } from './startup.ts';

const FIT: Partial<DatabaseSettings> = {
  versionNumber: 180_000,
  version: '18.0',
  fsync: 'on',
  synchronousCommit: 'on',
};
const migrations = await readMigrations();

/** A database that fails with these, one after the other, and is fit then. */
function failing(...failures: readonly Error[]): Database {
  const left = [...failures];
  const query = async (text: string) => {
    const failure = left.shift();
    if (failure !== undefined) throw failure;
    return { rows: text.includes('schema_migration') ? migrations : [FIT] };
  };
  return { query } as unknown as Database; // all that the check asks for
}

/** Waits, and gives what was logged meanwhile. */
async function waiting(db: Database, options: Partial<StorageWaitOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({ level: 'silent', name: 'test' });
  logger.warn = (fields: { readonly reason: string }) => void lines.push(fields.reason);
  const storage = createStorageWait({
    db,
    logger,
    signal: new AbortController().signal,
    retryMs: 1,
    ...options,
  });
  await storage.wait();
  return { lines, storage };
}

const refused = Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:5432'), { code: 'ECONNREFUSED' });
const noRole = Object.assign(new Error('role "millrace_api" does not exist'), { code: '22023' });

test('waits as long as it takes, and says each reason once', async () => {
  const { lines, storage } = await waiting(failing(refused, refused, refused, noRole, noRole));
  expect(lines).toEqual([
    expect.stringContaining('DATABASE_URL cannot be used (connect ECONNREFUSED 10.0.0.1:5432)'),
    expect.stringContaining('run `millrace migrate`'),
  ]);
  expect(storage.reason()).toBeUndefined();
});

test('says it again after a while', async () => {
  const { lines } = await waiting(failing(refused, refused, refused), { sayAgainMs: 0 });
  expect(lines).toHaveLength(3);
});

test('is an error at once where nobody waits', async () => {
  await expect(waiting(failing(refused), { signal: undefined })).rejects.toBe(refused);
});

test('gives up when it is told to', async () => {
  const aborted = AbortSignal.abort();
  await expect(waiting(failing(refused), { signal: aborted })).rejects.toThrow(/abort/i);
});

test('does not wait for what only people can mend', async () => {
  const unfit = {
    query: async () => ({ rows: [{ ...FIT, fsync: 'off' }] }),
  } as unknown as Database;
  await expect(waiting(unfit)).rejects.toMatchObject({ code: 'database_unfit' });
  const ahead = {
    query: async (text: string) => ({
      rows: text.includes('schema_migration')
        ? [...migrations, { version: 999_999, name: 'tomorrow', breaking: true }]
        : [FIT],
    }),
  } as unknown as Database;
  await expect(waiting(ahead)).rejects.toMatchObject({ code: 'schema_mismatch' });
});
