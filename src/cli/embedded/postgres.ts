import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';
import { findPostgresBinaries, type PostgresBinaries } from './binaries.ts';
import { ensureDatabaseUser, requireReachable, type DatabaseUser } from './database-user.ts';
import { identify } from './process-identity.ts';

export interface EmbeddedPostgresOptions {
  /** An existing folder that only this process uses (see lock.ts); gets `postgres/` and `postgres.log`. */
  readonly directory: string;
  /** Of the superuser, set when the cluster is made. */
  readonly password: string;
  /** Told what a person may want to know, such as that a left-behind server was stopped. */
  readonly report: (message: string) => void;
}

export interface EmbeddedPostgres {
  readonly pid: number;
  readonly port: number;
  /** Where a client connects to `database`. */
  url(database: string): string;
  /** Makes `database` unless it exists. */
  ensureDatabase(database: string): Promise<void>;
  /** Resolves when the server has ended, asked or not. */
  readonly ended: Promise<void>;
  /** A fast shutdown: sessions are ended, everything is on disk. Repeated calls share one. */
  stop(): Promise<void>;
}

interface Cluster {
  readonly binaries: PostgresBinaries;
  readonly user: DatabaseUser | undefined;
  readonly data: string;
  readonly logFile: string;
}

const SUPERUSER = 'millrace';
const START_TIMEOUT_MS = 120_000; // recovery after a crash replays up to max_wal_size (1 GB)
const STOP_TIMEOUT_MS = 20_000;
const START_ATTEMPTS = 40;
const LOG_LIMIT_BYTES = 10 * 1024 * 1024;

/**
 * Starts PostgreSQL from npm on 127.0.0.1 and a free port, making the cluster at first, and keeps it until `stop`.
 *
 * The server runs in a session of its own, so that the Ctrl-C that the terminal sends to everyone does not stop it while
 * we still drain. A guard, a shell that reads from a pipe we hold, shuts it down when this process dies in any way
 * (docs/decisions/0001-embedded-postgres.md).
 *
 * @throws CliError when it cannot run here, saying why and what to do
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const binaries = await findPostgresBinaries();
  const user = await ensureDatabaseUser();
  await requireReachable(
    user,
    options.directory,
    'Set MILLRACE_DATA_DIR to a folder outside of it, or open it with `chmod o+x %s`.',
  );
  await requireReachable(
    user,
    dirname(binaries.postgres),
    'Move the clone out of it, open it with `chmod o+x %s`, or set DATABASE_URL to a PostgreSQL 15 or newer.',
  );
  const cluster: Cluster = {
    binaries,
    user,
    data: join(options.directory, 'postgres'),
    logFile: join(options.directory, 'postgres.log'),
  };
  await stopLeftBehind(cluster, options.report);
  await ensureCluster(cluster, options.directory, options.password);
  const { child, port } = await startServer(cluster);
  return supervise(cluster, child, port, options.password);
}

// The environment holds our secrets; PostgreSQL needs none of it.
const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' } as const;

/** Stops a server that a killed Millrace left running on this cluster. We hold the lock, so it is nobody else's. */
async function stopLeftBehind(cluster: Cluster, report: (message: string) => void): Promise<void> {
  const file = join(cluster.data, 'postmaster.pid');
  const pid = Number((await readIfThere(file))?.split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 1) return;
  const found = await identify(pid);
  if (found === undefined) return; // PostgreSQL recognises the stale file itself
  if (found.command !== undefined && !found.command.includes(cluster.data)) {
    // Another process got the id since; PostgreSQL would take it for a running server and refuse.
    await rm(file);
    return;
  }
  report(`stopping PostgreSQL (pid ${pid}), left behind by a Millrace that was killed`);
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    killIfThere(pid, signal);
    const deadline = Date.now() + STOP_TIMEOUT_MS;
    while (Date.now() < deadline) {
      const still = await identify(pid);
      if (still === undefined || still.start !== found.start) return;
      await delay(20);
    }
  }
  throw new CliError(
    `PostgreSQL (pid ${pid}) still runs on ${cluster.data} and does not stop; end it by hand.`,
  );
}

/** Whether `directory` holds a database already. */
export async function hasCluster(directory: string): Promise<boolean> {
  return (await readIfThere(join(directory, 'postgres', 'PG_VERSION'))) !== undefined;
}

/**
 * Until checkpoints leave segments to use again, each is filled with zeros first, and every commit waits for that: 240 ms for
 * the usual 16 MB where 1 MB took 13 (pg_stat_io, on a busy disk), and all of a stretch of log half as long.
 */
const WAL_SEGMENT_MB = 1;

/** Makes the cluster unless it is there; an interrupted attempt leaves nothing that looks like one. */
async function ensureCluster(cluster: Cluster, directory: string, password: string): Promise<void> {
  const version = (await readIfThere(join(cluster.data, 'PG_VERSION')))?.trim();
  if (version !== undefined) return requireVersion(cluster, version);
  const fresh = join(directory, 'postgres.new');
  const passwordFile = join(directory, 'postgres.password');
  await rm(fresh, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await mkdir(fresh, { mode: 0o700 });
  try {
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
    if (cluster.user !== undefined) {
      await chown(fresh, cluster.user.uid, cluster.user.gid);
      await chown(passwordFile, cluster.user.uid, cluster.user.gid);
    }
    const args = [
      `--pgdata=${fresh}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin', // the same order on every machine, whatever its libc
      '--builtin-locale=C.UTF-8',
      `--wal-segsize=${WAL_SEGMENT_MB}`,
    ];
    const { code, output } = await runToEnd(cluster, cluster.binaries.initdb, args, fresh);
    if (code !== 0)
      throw new CliError(`PostgreSQL could not make its data folder ${cluster.data}:\n${output.trim()}`);
    await rename(fresh, cluster.data);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(fresh, { recursive: true, force: true });
  }
}

async function requireVersion(cluster: Cluster, clusterVersion: string): Promise<void> {
  const { output } = await runToEnd(cluster, cluster.binaries.postgres, ['--version'], '/');
  const serverVersion = /\(PostgreSQL\) (\d+)/.exec(output)?.[1];
  if (serverVersion === clusterVersion) return;
  throw new CliError(
    `The data in ${cluster.data} belongs to PostgreSQL ${clusterVersion}, this release brings ${serverVersion ?? 'an unknown one'}. ` +
      'Start the release that made it and move its data by dump and restore, or set MILLRACE_DATA_DIR to a new folder.',
  );
}

async function startServer(cluster: Cluster): Promise<{ child: ChildProcess; port: number }> {
  await rotateLog(cluster.logFile);
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const log = await open(cluster.logFile, 'a', 0o600);
    const from = (await log.stat()).size;
    const child = spawn(cluster.binaries.postgres, serverArguments(cluster.data, port), {
      ...cluster.user,
      cwd: cluster.data,
      env: ENVIRONMENT,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    startGuard(child);
    const failure = await untilReady(cluster, child);
    await log.close();
    if (failure === undefined) return { child, port };
    const said = (await readFile(cluster.logFile, 'utf8')).slice(from).trim();
    // Another program took the port, or the processes of a killed server are still about to end: both pass.
    const passing = /could not bind|Address already in use|pre-existing shared memory block/.test(said);
    if (!passing || attempt === START_ATTEMPTS) {
      throw new CliError(
        `PostgreSQL did not start (${failure}). It said, in ${cluster.logFile}:\n${said.slice(-2000)}`,
      );
    }
    await delay(100);
  }
}

const serverArguments = (data: string, port: number): readonly string[] =>
  ['-D', data].concat(
    Object.entries({
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      max_connections: 100,
      shared_buffers: '128MB',
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      // As PostgreSQL has them by itself for segments of its usual size; else a checkpoint would come every 64 MB.
      min_wal_size: '80MB',
      max_wal_size: '1GB',
      jit: 'off', // our queries are short; compiling them costs more than it saves
      timezone: 'UTC',
      log_timezone: 'UTC',
      log_checkpoints: 'off',
    }).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  );

/** Undefined when the server accepts connections; otherwise what happened instead. */
async function untilReady(cluster: Cluster, child: ChildProcess): Promise<string | undefined> {
  const failure = await once(child, 'spawn').then(
    () => undefined,
    (raw: unknown) => coerceError(raw).message,
  );
  if (failure !== undefined) return failure;
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (child.exitCode !== null) return `it ended with code ${child.exitCode}`;
    if (child.signalCode !== null) return `it was ended by ${child.signalCode}`;
    // The manual, "postmaster.pid": line 1 is the pid, line 8 the status, which is also what pg_ctl waits for.
    const lines = (await readIfThere(join(cluster.data, 'postmaster.pid')))?.split('\n') ?? [];
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return undefined;
    if (Date.now() > deadline) {
      child.kill('SIGQUIT');
      return `it was not ready after ${START_TIMEOUT_MS / 1000} s`;
    }
    await delay(10);
  }
}

function supervise(cluster: Cluster, child: ChildProcess, port: number, password: string): EmbeddedPostgres {
  const pid = child.pid!; // it is running
  const ended = new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once('exit', () => resolve());
  });
  let stopping: Promise<void> | undefined;
  const url = (database: string): string =>
    `postgres://${SUPERUSER}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
  return {
    pid,
    port,
    url,
    ended,
    ensureDatabase: (database) => ensureDatabase(url('postgres'), database),
    stop: () => (stopping ??= stopServer(child, ended)),
  };
}

/** Shuts the server down when this process dies in any way: the pipe that the guard reads from closes then. */
export function startGuard(server: ChildProcess): void {
  if (server.pid === undefined) return; // it could not be started; who waits for it says so
  const guard = spawn(
    '/bin/sh',
    ['-c', 'read -r line; kill -INT "$1" 2>/dev/null', 'sh', String(server.pid)],
    {
      cwd: '/',
      env: ENVIRONMENT,
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  );
  guard.on('error', () => undefined); // without a shell the next start still recognises what was left behind
  guard.stdin.on('error', () => undefined);
  guard.unref();
  server.once('exit', () => guard.kill('SIGKILL'));
}

async function stopServer(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.kill('SIGINT');
  const hurry = setTimeout(() => child.kill('SIGQUIT'), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(hurry);
}

async function ensureDatabase(adminUrl: string, database: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl, application_name: 'millrace dev' });
  await client.connect();
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [database]);
    if (rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(database)}`);
  } finally {
    await client.end();
  }
}

async function runToEnd(
  cluster: Cluster,
  program: string,
  args: readonly string[],
  cwd: string,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(program, args, {
    ...cluster.user,
    cwd,
    env: ENVIRONMENT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on TCP
  server.close();
  await once(server, 'close');
  return port;
}

async function rotateLog(file: string): Promise<void> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  if (size > LOG_LIMIT_BYTES) await rename(file, `${file}.1`);
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT') return undefined;
    throw raw;
  }
}

function killIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (raw) {
    if (errorCodeOf(raw) !== 'ESRCH') throw raw;
  }
}
