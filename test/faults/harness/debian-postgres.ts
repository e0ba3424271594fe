import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, chown, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { ensureDatabaseUser, type DatabaseUser } from '../../../src/cli/embedded/database-user.ts';
import { startGuard } from '../../../src/cli/embedded/postgres.ts';
import { freePort } from '../../support/free-port.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { DatabaseServer } from './database-server.ts';

/** Debian's PostgreSQL: the oldest version that Millrace supports, with the programs for standbys and backups. */
const BINARIES = '/usr/lib/postgresql/15/bin';
const SUPERUSER = 'millrace';
const PASSWORD = 'only-for-tests';
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', TZ: 'UTC', PGPASSWORD: PASSWORD } as const;

/** Settings of postgresql.conf, given on the command line. */
export type Settings = Readonly<Record<string, string | number>>;

export interface ClusterOptions {
  /** That its user can reach. */
  readonly directory: string;
  /** Names its folder and log; unique in `directory`. */
  readonly name: string;
  /** For its log, if not `directory`. */
  readonly logDirectory?: string;
  readonly settings?: Settings;
  /** Done when it has been stopped, not when it was killed. */
  readonly afterStop?: () => Promise<void>;
}

interface Cluster {
  readonly user: DatabaseUser | undefined;
  readonly data: string;
  readonly logFile: string;
  readonly settings: Settings;
  readonly afterStop: () => Promise<void>;
}

/** Makes an empty cluster and starts it. */
export async function createDebianPostgres(options: ClusterOptions): Promise<DatabaseServer> {
  const cluster = await makeCluster(options);
  const passwordFile = `${cluster.logFile}.password`;
  await writeFile(passwordFile, `${PASSWORD}\n`, { mode: 0o644 });
  await run(cluster.user, 'initdb', [
    `--pgdata=${cluster.data}`,
    `--username=${SUPERUSER}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--no-sync',
  ]);
  return serve(cluster);
}

/** A copy of the running server on `port`, to be started with {@link startStandby} or {@link startRestored}. */
export async function takeBaseBackup(options: ClusterOptions, port: number): Promise<Cluster> {
  const cluster = await makeCluster(options);
  await run(cluster.user, 'pg_basebackup', [
    `--pgdata=${cluster.data}`,
    `--dbname=${conninfo(port)}`,
    '--wal-method=stream',
    '--checkpoint=fast',
    '--no-sync',
  ]);
  return cluster;
}

/** A standby of the server on `port` that calls itself `name`; `pg_promote()` makes a primary of it. */
export async function startStandby(options: ClusterOptions, port: number): Promise<DatabaseServer> {
  const settings = {
    ...options.settings,
    primary_conninfo: `${conninfo(port)} application_name=${options.name}`,
    wal_receiver_status_interval: '1s',
    wal_retrieve_retry_interval: '200ms',
  };
  const cluster = await takeBaseBackup({ ...options, settings }, port);
  await writeSignal(cluster, 'standby.signal');
  return serve(cluster);
}

/** Recovers a base backup up to `time` (of the database's clock) from archived WAL, and opens it for writing. */
export async function startRestored(
  backup: Cluster,
  options: { readonly archive: string; readonly time: string },
): Promise<DatabaseServer> {
  await writeSignal(backup, 'recovery.signal');
  return serve({
    ...backup,
    settings: {
      ...backup.settings,
      restore_command: `cp ${options.archive}/%f %p`,
      recovery_target_time: options.time,
      recovery_target_action: 'promote',
    },
  });
}

/** A folder that belongs to the database's user. */
export async function makeDatabaseDirectory(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  const user = await ensureDatabaseUser();
  if (user !== undefined) await chown(path, user.uid, user.gid);
}

/** The first row of a query of the server's administrator, past every wire. */
export async function ask<R extends pg.QueryResultRow>(
  server: Pick<DatabaseServer, 'url'>,
  text: string,
): Promise<R> {
  const client = new pg.Client({ connectionString: server.url('postgres') });
  client.on('error', () => undefined); // it may be killed meanwhile
  await client.connect();
  try {
    const { rows } = await client.query<R>(text);
    return rows[0]!; // asked for one
  } finally {
    await client.end();
  }
}

async function makeCluster(options: ClusterOptions): Promise<Cluster> {
  await access(join(BINARIES, 'postgres')).catch((raw: unknown) => {
    throw new Error(`This row needs ${BINARIES}/postgres. Run \`scripts/setup-test-machine\`.`, {
      cause: raw,
    });
  });
  const data = join(options.directory, options.name);
  await makeDatabaseDirectory(data);
  return {
    user: await ensureDatabaseUser(),
    data,
    logFile: join(options.logDirectory ?? options.directory, `${options.name}.log`),
    settings: options.settings ?? {},
    afterStop: options.afterStop ?? (() => Promise.resolve()),
  };
}

async function writeSignal(cluster: Cluster, name: string): Promise<void> {
  const file = join(cluster.data, name);
  await writeFile(file, '');
  if (cluster.user !== undefined) await chown(file, cluster.user.uid, cluster.user.gid);
}

const conninfo = (port: number): string =>
  `host=127.0.0.1 port=${port} user=${SUPERUSER} password=${PASSWORD}`;

async function run(user: DatabaseUser | undefined, program: string, args: readonly string[]): Promise<void> {
  const child = spawn(join(BINARIES, program), args, {
    ...user,
    cwd: '/',
    env: ENVIRONMENT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${program} failed:\n${output}`);
}

async function serve(cluster: Cluster): Promise<DatabaseServer> {
  let { child, port } = await startServer(cluster);
  const url = (database: string): string =>
    `postgres://${SUPERUSER}:${PASSWORD}@127.0.0.1:${port}/${database}`;
  const server: DatabaseServer = {
    get pid() {
      return child.pid!; // it was started
    },
    get port() {
      return port;
    },
    url,
    async ensureDatabase(database) {
      const { found } = await ask<{ found: boolean }>(
        server,
        `select exists (select from pg_database where datname = '${database}') as found`,
      );
      if (!found) await ask(server, `create database "${database}"`);
    },
    kill: () => end(child, 'SIGKILL'),
    async start() {
      ({ child, port } = await startServer(cluster));
    },
    async stop() {
      await end(child, 'SIGINT');
      await cluster.afterStop();
    },
    log: () => readFile(cluster.logFile, 'utf8'),
  };
  return server;
}

async function startServer(cluster: Cluster): Promise<{ child: ChildProcess; port: number }> {
  const port = await freePort();
  const log = await open(cluster.logFile, 'a');
  const child = spawn(join(BINARIES, 'postgres'), ['-D', cluster.data, ...argumentsOf(cluster, port)], {
    ...cluster.user,
    cwd: dirname(cluster.data),
    env: ENVIRONMENT,
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  });
  startGuard(child);
  await once(child, 'spawn');
  await log.close();
  // The manual, "postmaster.pid": line 1 is the pid, line 8 the status; a standby says `standby` when it is readable.
  await waitFor(
    async () => {
      if (hasEnded(child)) return true;
      const lines = (await readFile(join(cluster.data, 'postmaster.pid'), 'utf8')).split('\n');
      return Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready';
    },
    { timeoutMs: 60_000, what: `PostgreSQL to be ready, see ${cluster.logFile}` },
  ).catch((raw: unknown) => {
    child.kill('SIGKILL');
    throw raw;
  });
  if (hasEnded(child)) {
    const said = await readFile(cluster.logFile, 'utf8');
    throw new Error(`PostgreSQL did not start:\n${said.slice(-2000)}`);
  }
  return { child, port };
}

const argumentsOf = (cluster: Cluster, port: number): readonly string[] =>
  Object.entries({
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: 200,
    wal_level: 'replica',
    timezone: 'UTC',
    ...cluster.settings,
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

/** SIGKILL ends every process of the server at once, the postmaster first, so that it does not bring up others. */
async function end(child: ChildProcess, signal: 'SIGKILL' | 'SIGINT'): Promise<void> {
  if (hasEnded(child)) return;
  const pid = child.pid!; // it runs
  const children = signal === 'SIGKILL' ? await childrenOf(pid) : [];
  const exited = once(child, 'exit');
  for (const one of [pid, ...children]) {
    try {
      process.kill(one, signal);
    } catch (raw) {
      if ((raw as NodeJS.ErrnoException).code !== 'ESRCH') throw raw;
    }
  }
  await exited;
}

const childrenOf = async (pid: number): Promise<readonly number[]> =>
  (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean).map(Number);
