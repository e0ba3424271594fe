import pg from 'pg';
import { AppError, appError, coerceError } from '../errors/app-error.ts';
import { SQLSTATE } from './sqlstate.ts';

/** What a store function needs: a pool, a client, or a client inside a transaction. */
export type Queryable = Pick<pg.ClientBase, 'query'>;

/** The database roles that `millrace migrate` makes; each pool acts as one of them. */
export const DATABASE_ROLES = ['millrace_api', 'millrace_ingest', 'millrace_engine'] as const;
export type DatabaseRole = (typeof DATABASE_ROLES)[number];

export interface DatabaseOptions {
  /** A function is asked for each new connection. */
  readonly url: string | (() => string);
  readonly role: DatabaseRole;
  /** Shown in pg_stat_activity. */
  readonly name: string;
  readonly maxConnections: number;
  /** A statement that takes longer is cut off by destroying its connection, never by cancelling (DESIGN 3.4). */
  readonly queryTimeoutMs: number;
  /** How long a caller waits for a free connection before it gets `unavailable`. */
  readonly acquireTimeoutMs: number;
  /**
   * `off` only where losing the write in a crash of PostgreSQL is harmless: a claim, a heartbeat. Never for an accept
   * or a journal entry.
   */
  readonly synchronousCommit?: 'on' | 'off';
  /** This pool only looks rows up by key, with named statements; see {@link LOOK_UPS_ONLY}. */
  readonly lookUpsOnly?: boolean;
  /** Told of the socket of each new connection. */
  readonly onSocket?: (socket: unknown) => void;
  readonly onError: (error: Error) => void;
}

export interface Database extends Queryable {
  /** Runs `work` on one connection that is destroyed, not reused, when `work` throws. */
  withConnection<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  /** Runs `work` in a transaction: commits when it resolves, rolls back when it throws. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  readonly stats: () => { readonly total: number; readonly idle: number; readonly waiting: number };
  end(): Promise<void>;
}

// `json` columns stay text: the stores parse what they need, the API often passes the text on as it is.
const AS_TEXT: ReadonlySet<number> = new Set([pg.types.builtins.JSON, pg.types.builtins.JSONB]);
const INT8: number = pg.types.builtins.INT8;
const types: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (AS_TEXT.has(oid)) return (text: string) => text;
    if (oid === INT8) return Number;
    return pg.types.getTypeParser(oid, format);
  },
};

/**
 * Planner settings of pools that only look rows up by key. Plans are made while tables are still small, when PostgreSQL
 * prefers to read them whole, so that choice is taken from it; and a plan is made once, not at each call: with ten
 * partitions planning costs more than running (a claim of five 0.8 ms instead of 4.5, a journal write 0.8 instead of 6.3).
 * Bitmaps have no order: of a partition of which PostgreSQL has no statistics yet it would read all that is due, and sort
 * it, for the ten that have been due the longest.
 */
const LOOK_UPS_ONLY =
  '; set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_bitmapscan = off';

/**
 * Statements here take milliseconds, and their plans may have costs beyond all measure, as a scan that is forbidden but
 * the only way has: the first makes compiling them no gain, the second has PostgreSQL do it, for a second and more.
 */
const COMPILE_NOTHING = '; set jit = off';

/**
 * Opens a pool whose every connection acts as `role`, so that any DATABASE_URL works and row-level security holds
 * even for a superuser's.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const { url } = options;
  const pool = new pg.Pool({
    ...(typeof url === 'string' ? { connectionString: url } : { Client: clientOf(url) }),
    max: options.maxConnections,
    connectionTimeoutMillis: options.acquireTimeoutMs,
    query_timeout: options.queryTimeoutMs,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: options.name,
    types,
    // pg-pool waits for it before it hands the connection out, though its types know of no promise here.
    // oxlint-disable-next-line typescript/no-misused-promises
    onConnect: async (client) => {
      // pg-pool listens only while a connection is idle, and an error that nobody listens to ends the process. Whoever holds
      // the connection hears of it from its query, this one or the next.
      client.on('error', () => undefined);
      options.onSocket?.(
        (client as unknown as { readonly connection: { readonly stream: unknown } }).connection.stream,
      ); // pg's types leave it out
      await client.query(
        `set role ${options.role}; set idle_in_transaction_session_timeout = '30s'` +
          COMPILE_NOTHING +
          (options.synchronousCommit === 'off' ? '; set synchronous_commit = off' : '') +
          (options.lookUpsOnly ? LOOK_UPS_ONLY : ''),
      );
    },
  });
  let ending = false;
  // A pool has ended before its sockets have: what they hear from a server that stops as well is no news.
  pool.on('error', (error) => {
    if (!ending) options.onError(error);
  });

  const withConnection = async <T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const client = await pool.connect();
    let failure: Error | undefined;
    try {
      return await work(client);
    } catch (raw) {
      // A connection whose state is unknown is not worth keeping; opening one costs a few milliseconds.
      if (!(raw instanceof AppError)) failure = coerceError(raw);
      throw raw;
    } finally {
      client.release(failure);
    }
  };

  return {
    query: pool.query.bind(pool),
    withConnection,
    transaction: (work) =>
      withConnection(async (client) => {
        await client.query('begin');
        let result;
        try {
          result = await work(client);
        } catch (raw) {
          // Only a refusal of ours leaves the connection fit for a rollback; all else destroys it, which rolls back too.
          if (raw instanceof AppError) await client.query('rollback');
          throw raw;
        }
        await knownCommit(client, () => client.query('commit'));
        return result;
      }),
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    end: () => {
      ending = true;
      return pool.end();
    },
  };
}

/** A pool gives each of its clients the same options. */
const clientOf = (url: () => string): typeof pg.Client =>
  class extends pg.Client {
    constructor(config?: pg.ClientConfig) {
      super({ ...config, connectionString: url() });
    }
  };

/**
 * Runs `commit`, which ends a transaction on this connection, and believes in it only if no WARNING comes with it:
 * PostgreSQL answers a cancelled wait for a synchronous standby with success and a WARNING.
 *
 * @throws Error of SQLSTATE 40003, `statement_completion_unknown`
 * @see https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION-HA
 */
export async function knownCommit<T>(client: pg.ClientBase, commit: () => Promise<T>): Promise<T> {
  let warning: string | undefined;
  const onNotice = (notice: { severity?: string; message?: string }): void => {
    if (notice.severity === 'WARNING') warning = notice.message ?? 'unknown';
  };
  client.on('notice', onNotice);
  try {
    const result = await commit();
    if (warning === undefined) return result;
  } finally {
    client.off('notice', onNotice);
  }
  throw Object.assign(new Error(`the commit is in doubt, PostgreSQL warned: ${warning}`), {
    code: SQLSTATE.statementCompletionUnknown,
  });
}

/** Runs `work` in a transaction that sees only the rows of `tenantId` (row-level security of `millrace_api`). */
export function withTenant<T>(
  db: Database,
  tenantId: string,
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  return db.transaction(async (client) => {
    await client.query({
      name: 'set-tenant',
      text: `select set_config('millrace.tenant', $1, true)`,
      values: [tenantId],
    });
    return work(client);
  });
}

/** The first row; for queries that return at most one. */
export function maybeOne<R>(result: { readonly rows: readonly R[] }): R | undefined {
  return result.rows[0];
}

/** The only row of a query that always returns one. */
export function one<R>(result: { readonly rows: readonly R[] }): R {
  const row = result.rows[0];
  if (row === undefined) throw appError('internal', { cause: new Error('a query returned no row') });
  return row;
}
