import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/cli/embedded/postgres.ts';
import { migrate } from '../../src/core/db/migrate.ts';
import { freePort } from '../../test/support/free-port.ts';
import { endOnSignals } from '../../test/support/end-on-signals.ts';
import { createProcesses, type TestProcess, type TestProcesses } from '../../test/support/processes.ts';
import { removeDirectory } from '../../test/support/remove-directory.ts';
import { waitFor } from '../../test/support/wait-for.ts';

/** What runs through the whole benchmark: PostgreSQL with the flags of the embedded platform, and a redis-server. */
export interface Services {
  readonly processes: TestProcesses;
  /** A folder that goes with the benchmark. */
  readonly directory: string;
  readonly postgresPid: number;
  readonly redisPid: number;
  readonly redisUrl: string;
  readonly versions: { readonly postgres: string; readonly redis: string };
  /** An empty, migrated database of its own. */
  createDatabase(): Promise<{ readonly name: string; readonly url: string }>;
  dropDatabase(name: string): Promise<void>;
  emptyRedis(): Promise<void>;
  /** Stops everything that was started, by its pid. Idempotent. */
  stop(): Promise<void>;
}

export interface ServicesOptions {
  /** Loads pg_stat_statements into PostgreSQL. */
  readonly traceStatements: boolean;
}

const PASSWORD = 'bench';
const TEMPLATE = 'bench_template';

/**
 * {@link startServices}, for a program of its own: Ctrl-C and the like stop everything, also what is only just starting.
 */
export async function startServicesUntilSignal(
  options: ServicesOptions,
): Promise<{ readonly services: Services; readonly isInterrupted: () => boolean }> {
  const starting = startServices(options);
  // What cannot be started stops itself.
  const isInterrupted = endOnSignals(
    async () => (await starting).stop(),
    (message) => process.stderr.write(`${message}\n`),
  );
  return { services: await starting, isInterrupted };
}

/** @throws when something cannot be started, or PostgreSQL would not make commits durable; nothing is left running */
export async function startServices(options: ServicesOptions): Promise<Services> {
  const processes = createProcesses();
  const directory = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  let postgres: EmbeddedPostgres | undefined;
  let redis: Redis | undefined;
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    redis?.disconnect();
    await processes.killAll();
    await postgres?.stop();
    await removeDirectory(directory);
  };
  const stopOnce = (): Promise<void> => (stopped ??= stop());
  try {
    await chmod(directory, 0o711); // PostgreSQL may run as another user, who has to pass through
    postgres = await startPostgres(directory, options);
    const redisServer = await startRedis(processes, directory);
    redis = new Redis(redisServer.url);
    const admin = postgres.url('postgres');
    await prepareTemplate(admin, postgres.url(TEMPLATE), options);
    let databases = 0;
    const server = postgres;
    const connection = redis;
    return {
      processes,
      directory,
      postgresPid: postgres.pid,
      redisPid: redisServer.process.pid,
      redisUrl: redisServer.url,
      versions: {
        postgres: await valueOf(admin, `select current_setting('server_version')`),
        redis: /redis_version:(\S+)/.exec(await redis.info('server'))?.[1] ?? 'unknown',
      },
      async createDatabase() {
        const name = `bench_${++databases}`;
        await run(admin, `create database ${name} template ${TEMPLATE} strategy wal_log`);
        return { name, url: server.url(name) };
      },
      dropDatabase: (name) => run(admin, `drop database ${name} with (force)`),
      emptyRedis: async () => void (await connection.flushall()),
      stop: stopOnce,
    };
  } catch (error) {
    await stopOnce();
    throw error;
  }
}

async function startPostgres(directory: string, options: ServicesOptions): Promise<EmbeddedPostgres> {
  const start = (): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({ directory, password: PASSWORD, report: () => undefined });
  const postgres = await start();
  if (!options.traceStatements) return postgres;
  await run(postgres.url('postgres'), `alter system set shared_preload_libraries = 'pg_stat_statements'`);
  await postgres.stop();
  return start();
}

async function startRedis(
  processes: TestProcesses,
  directory: string,
): Promise<{ readonly url: string; readonly process: TestProcess }> {
  const port = await freePort();
  // Persistence and all else as redis-server has it by itself.
  const started = processes.start(
    ['redis-server', '--port', String(port), '--bind', '127.0.0.1', '--dir', directory],
    { cwd: directory },
  );
  await started.waitForOutput(/Ready to accept connections/);
  return { url: `redis://127.0.0.1:${port}`, process: started };
}

async function prepareTemplate(
  adminUrl: string,
  templateUrl: string,
  options: ServicesOptions,
): Promise<void> {
  await run(adminUrl, `create database ${TEMPLATE}`);
  if (options.traceStatements) await run(templateUrl, 'create extension pg_stat_statements');
  await migrate(templateUrl);
  // Sessions that have just ended may still be counted; a template must have none.
  await waitFor(
    async () =>
      (await valueOf(
        adminUrl,
        `select count(*)::text from pg_stat_activity where datname = '${TEMPLATE}'`,
      )) === '0',
    { what: 'the last session of the template database to end' },
  );
}

async function run(url: string, sql: string): Promise<void> {
  await withClient(url, (client) => client.query(sql));
}

async function valueOf(url: string, sql: string): Promise<string> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' });
    return rows[0]?.[0] ?? '';
  });
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'millrace bench' });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
