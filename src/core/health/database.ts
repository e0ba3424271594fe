import { one, type Queryable } from '../db/database.ts';
import { failure, ok, skipped, warning, type Finding } from './finding.ts';

/** What PostgreSQL is set to, as far as Millrace depends on it. */
export interface DatabaseSettings {
  readonly versionNumber: number;
  readonly version: string;
  readonly fsync: string;
  /** As a new session has it: pools set their own. */
  readonly synchronousCommit: string;
  readonly fullPageWrites: string;
  readonly autovacuum: string;
  readonly trackCounts: string;
  readonly timeZone: string;
  readonly statementTimeoutMs: number;
  readonly maxConnections: number;
  readonly reservedConnections: number;
  readonly inUse: number;
  readonly isReadOnly: boolean;
  readonly archives: boolean;
}

const OLDEST_VERSION = 150_000;

/** One round trip, and no table: cheap enough for every readiness probe. */
export async function readDatabaseSettings(db: Queryable): Promise<DatabaseSettings> {
  return one(
    await db.query<DatabaseSettings>(`
      with setting as (select name, setting, reset_val from pg_settings where name in (
        'server_version_num', 'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum', 'track_counts',
        'TimeZone', 'statement_timeout', 'max_connections', 'superuser_reserved_connections', 'reserved_connections', 'archive_mode'))
      select (select setting from setting where name = 'server_version_num')::int as "versionNumber",
        (select setting from setting where name = 'server_version') as version,
        (select setting from setting where name = 'fsync') as fsync,
        (select reset_val from setting where name = 'synchronous_commit') as "synchronousCommit",
        (select setting from setting where name = 'full_page_writes') as "fullPageWrites",
        (select setting from setting where name = 'autovacuum') as autovacuum,
        (select setting from setting where name = 'track_counts') as "trackCounts",
        (select reset_val from setting where name = 'TimeZone') as "timeZone",
        (select reset_val from setting where name = 'statement_timeout')::int as "statementTimeoutMs",
        (select setting from setting where name = 'max_connections')::int as "maxConnections",
        (select coalesce(sum(setting::int), 0) from setting
          where name in ('superuser_reserved_connections', 'reserved_connections'))::int as "reservedConnections",
        (select coalesce(sum(numbackends), 0) from pg_stat_database)::int as "inUse",
        (pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on') as "isReadOnly",
        (select setting from setting where name = 'archive_mode') <> 'off' as archives`),
  );
}

export const versionFinding = ({ version, versionNumber }: DatabaseSettings): Finding =>
  versionNumber >= OLDEST_VERSION
    ? ok('database.version', `PostgreSQL ${version}`)
    : failure('database.version', `PostgreSQL ${version} is too old`, '15 or newer is needed');

/** What a 202 depends on (DESIGN section 4): with an error here a process does not start, and is not ready. */
export function durabilityFindings(settings: DatabaseSettings): readonly Finding[] {
  const { fsync, synchronousCommit } = settings;
  const lost = 'accepted webhooks would not survive a crash';
  return [
    versionFinding(settings),
    fsync === 'on'
      ? ok('database.fsync', 'fsync is on')
      : failure('database.fsync', `fsync is ${fsync}: ${lost}`, 'set fsync = on in postgresql.conf'),
    synchronousCommit === 'on' || synchronousCommit === 'remote_apply'
      ? ok('database.synchronous_commit', `synchronous_commit is ${synchronousCommit}`)
      : failure(
          'database.synchronous_commit',
          `synchronous_commit is ${synchronousCommit}: ${lost}`,
          'set it to on or remote_apply',
        ),
  ];
}

/** A standby becomes a primary again: a process waits for that, not ready. */
export const writableFinding = ({ isReadOnly }: DatabaseSettings): Finding =>
  isReadOnly
    ? failure(
        'database.writable',
        'the database takes no writes: it is a standby, or default_transaction_read_only is on',
        'let DATABASE_URL name the primary',
      )
    : ok('database.writable', 'the database takes writes');

export interface PoolPlan {
  /** DB_MAX_OPEN_CONNS. */
  readonly each: number;
  /** Processes that open as many. */
  readonly apis: number;
  readonly workers: number;
  /** At a desk nobody archives. */
  readonly isProduction: boolean;
}

/** What makes trouble later, or makes it hard to see. */
export function settingFindings(settings: DatabaseSettings, pools: PoolPlan): readonly Finding[] {
  return [
    settings.fullPageWrites === 'on'
      ? ok('database.full_page_writes', 'full_page_writes is on')
      : failure(
          'database.full_page_writes',
          'full_page_writes is off: a crash can tear pages',
          'set full_page_writes = on in postgresql.conf, unless the file system writes whole pages',
        ),
    settings.autovacuum === 'on' && settings.trackCounts === 'on'
      ? ok('database.autovacuum', 'autovacuum is on')
      : failure(
          'database.autovacuum',
          'autovacuum is off: tables and indexes grow without end',
          'set autovacuum = on and track_counts = on in postgresql.conf',
        ),
    /^(Etc\/)?(UTC|UCT|GMT|Zulu|Universal)$/.test(settings.timeZone)
      ? ok('database.time_zone', `the time zone is ${settings.timeZone}`)
      : warning(
          'database.time_zone',
          `the time zone is ${settings.timeZone}: days in psql are not those of partitions, which are in UTC`,
          `alter database … set timezone = 'UTC'`,
        ),
    settings.statementTimeoutMs === 0
      ? ok('database.statement_timeout', 'statement_timeout is off')
      : warning(
          'database.statement_timeout',
          `statement_timeout is ${settings.statementTimeoutMs} ms: it cancels maintenance, which is repeated in vain`,
          'alter role … set statement_timeout = 0; Millrace ends slow statements by itself (DB_QUERY_TIMEOUT_MS)',
        ),
    connectionFinding(settings, pools),
    settings.archives || !pools.isProduction
      ? ok('database.archive_mode', `archive_mode is ${settings.archives ? 'on' : 'off'}`)
      : warning(
          'database.archive_mode',
          'archive_mode is off: a backup is only as new as its last dump',
          'archive WAL (docs/operations.md, Backups), unless your provider does so in its own way',
        ),
  ];
}

function connectionFinding(settings: DatabaseSettings, { each, apis, workers }: PoolPlan): Finding {
  const check = 'database.max_connections';
  const free = settings.maxConnections - settings.reservedConnections;
  const needed = each * (apis + workers);
  const said = `${apis} API(s) and ${workers} worker(s) open up to ${needed} connections of ${free}`;
  if (needed > free) {
    return failure(
      check,
      said,
      `lower DB_MAX_OPEN_CONNS to ${Math.max(5, Math.floor(free / (apis + workers)))}, or raise max_connections above ${needed + settings.reservedConnections}`,
    );
  }
  if (settings.inUse > 0.8 * free) {
    return warning(
      check,
      `${settings.inUse} of ${free} connections are in use`,
      'find out whose they are in pg_stat_activity, or raise max_connections',
    );
  }
  return ok(check, `${said}; ${settings.inUse} are in use`);
}

const ROLES = ['millrace_api', 'millrace_ingest', 'millrace_engine'] as const;

/** Every connection acts as one of them. */
export async function roleFinding(db: Queryable): Promise<Finding> {
  const { rows } = await db.query<{ role: string; exists: boolean; usable: boolean }>(
    `select role, r.oid is not null as exists, coalesce(pg_has_role(session_user, r.oid, 'member'), false) as usable
     from unnest($1::text[]) as role left join pg_roles r on r.rolname = role`,
    [ROLES],
  );
  const missing = rows.filter(({ exists, usable }) => !exists || !usable).map(({ role }) => role);
  if (missing.length === 0) return ok('database.roles', 'its user may act as every role of Millrace');
  return failure(
    'database.roles',
    `its user cannot act as ${missing.join(', ')}`,
    'run `millrace migrate` as the user of DATABASE_URL, or grant them to it',
  );
}

/** Rows without a partition of their own are never dropped, and slow everything down. */
export async function partitionFinding(db: Queryable): Promise<Finding> {
  const check = 'database.partitions';
  const { found } = one(
    await db.query<{ found: boolean }>(`select to_regclass('millrace_partition') is not null as found`),
  );
  if (!found) return skipped(check, 'there is no schema yet');
  const { days } = one(
    await db.query<{ days: number | null }>(
      `select extract(epoch from max(ends_at) - now())::float8 / 86400 as days from millrace_partition`,
    ),
  );
  const ahead = days === null ? 0 : Math.floor(days);
  if (ahead >= 1) return ok(check, `partitions are made ${ahead} days ahead`);
  return failure(
    check,
    'no partition is made ahead: new rows go to the default one',
    'start a worker, which makes them every hour, or run `millrace migrate`',
  );
}
