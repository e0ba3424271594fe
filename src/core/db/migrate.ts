import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { appError, errorCodeOf } from '../errors/app-error.ts';
import { durabilityFindings, readDatabaseSettings, versionFinding } from '../health/database.ts';
import { refuse } from '../health/finding.ts';
import type { Queryable } from './database.ts';
import { PARTITION_DAYS_AHEAD, withLockRetries } from './partitions.ts';
import { SQLSTATE } from './sqlstate.ts';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  /** Code that does not know this migration must not run on a database that has it. */
  readonly breaking: boolean;
}

export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly breaking: boolean;
}

const DIRECTORY = new URL('./migrations/', import.meta.url);
const FILE_NAME = /^(\d{6})_([a-z0-9_]+)\.sql$/;

/** The migrations of this release, oldest first. A file whose first line is `-- breaking` is a breaking one. */
export async function readMigrations(): Promise<readonly Migration[]> {
  const files = (await readdir(fileURLToPath(DIRECTORY))).filter((file) => FILE_NAME.test(file)).sort();
  return Promise.all(
    files.map(async (file) => {
      const [, digits, name] = FILE_NAME.exec(file)!; // the filter above tested it
      const sql = await readFile(new URL(file, DIRECTORY), 'utf8');
      return { version: Number(digits), name: name!, sql, breaking: sql.startsWith('-- breaking') };
    }),
  );
}

/** Whoever wants a table that a migration waits for waits behind it: less than a sender's patience. */
const LOCK_TIMEOUT_MS = 500;
/** Others get on for longer than they were held up. */
const LOCK_PAUSE_MS = 1000;
/** A quarter of an hour: a dump holds all tables while it lasts. */
const LOCK_ATTEMPTS = 600;
const FOR_EVER = new AbortController().signal;

/**
 * Brings the database at `url` to this release's schema: forward only, one transaction a migration, with the ledger row
 * inserted first, so that a racing migrator waits and then finds it done. It may run while everything else does: a migration
 * that does not get its locks at once gives way, and is tried again.
 *
 * @returns the migrations that this call applied
 * @throws AppError `schema_mismatch` when the database is ahead with a breaking migration
 */
export async function migrate(
  url: string,
  options: { readonly migrations?: readonly Migration[] } = {},
): Promise<readonly AppliedMigration[]> {
  const client = new pg.Client({ connectionString: url, application_name: 'millrace migrate' });
  await client.connect();
  try {
    refuse('database_unfit', [versionFinding(await readDatabaseSettings(client))]);
    await client.query(`
      create table if not exists schema_migration (
        version integer primary key, name text not null, breaking boolean not null, applied_at timestamptz not null default now()
      )`);
    const migrations = options.migrations ?? (await readMigrations());
    refuseWhenAhead(migrations, await appliedMigrations(client));
    const patiently = <T>(work: () => Promise<T>): Promise<T> =>
      withLockRetries(FOR_EVER, work, { attempts: LOCK_ATTEMPTS, pauseMs: LOCK_PAUSE_MS });
    const applied: AppliedMigration[] = [];
    for (const migration of migrations) {
      if (await patiently(() => applyOne(client, migration))) applied.push(migration);
    }
    await client.query(`grant select on schema_migration to millrace_api, millrace_ingest, millrace_engine`);
    await patiently(() =>
      client.query(`select millrace_ensure_partitions((now() at time zone 'utc')::date - 1, $1)`, [
        PARTITION_DAYS_AHEAD + 1,
      ]),
    );
    return applied;
  } finally {
    await client.end();
  }
}

async function applyOne(client: pg.Client, migration: Migration): Promise<boolean> {
  await client.query('begin');
  try {
    const ledger = await client.query(
      `insert into schema_migration (version, name, breaking) values ($1, $2, $3) on conflict do nothing`,
      [migration.version, migration.name, migration.breaking],
    );
    if (ledger.rowCount === 1) {
      // Only now: for another migrator it waits as long as that takes.
      await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
      await client.query(migration.sql);
    }
    await client.query('commit');
    return ledger.rowCount === 1;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function appliedMigrations(db: Queryable): Promise<readonly AppliedMigration[]> {
  try {
    const { rows } = await db.query<AppliedMigration>(
      `select version, name, breaking from schema_migration order by version`,
    );
    return rows;
  } catch (error) {
    if (errorCodeOf(error) === SQLSTATE.undefinedTable) return [];
    throw error;
  }
}

function refuseWhenAhead(known: readonly Migration[], applied: readonly AppliedMigration[]): void {
  const newest = known.at(-1)?.version ?? 0;
  const unknown = applied.find((row) => row.version > newest && row.breaking);
  if (unknown === undefined) return;
  throw appError('schema_mismatch', {
    args: [
      `The database has migration ${unknown.version} (${unknown.name}), which this release does not know and cannot work with; run a newer release`,
    ],
  });
}

/**
 * Holds the database's schema against this release's.
 *
 * @throws AppError `schema_behind` when migrations are missing, `schema_mismatch` when it is ahead with a breaking one
 */
export async function checkSchema(db: Queryable): Promise<void> {
  const [known, applied] = await Promise.all([readMigrations(), appliedMigrations(db)]);
  refuseWhenAhead(known, applied);
  const have = new Set(applied.map((row) => row.version));
  const missing = known.filter((migration) => !have.has(migration.version));
  if (missing.length === 0) return;
  throw appError('schema_behind', {
    args: [
      `The database lacks ${missing.length} migration(s), the first is ${missing[0]!.version} (${missing[0]!.name}); run \`millrace migrate\``,
    ],
  });
}

/**
 * Refuses a database on which a 202 would not mean what it says (DESIGN section 4).
 *
 * @throws AppError `database_unfit` for an old server, `fsync = off`, or `synchronous_commit` other than `on` and
 *   `remote_apply`
 */
export async function checkDatabase(db: Queryable): Promise<void> {
  refuse('database_unfit', durabilityFindings(await readDatabaseSettings(db)));
}
