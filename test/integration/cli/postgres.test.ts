import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ensureDatabaseUser, requireReachable } from '../../../src/cli/embedded/database-user.ts';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../../src/cli/embedded/postgres.ts';
import { identify } from '../../../src/cli/embedded/process-identity.ts';
import { createProcesses } from '../../support/processes.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import { waitFor } from '../../support/wait-for.ts';

const isRoot = process.getuid?.() === 0;
const reports: string[] = [];

async function start(directory: string, password = 'pass/word@1'): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ directory, password, report: (line) => reports.push(line) });
  onTestFinished(() => postgres.stop());
  return postgres;
}

async function query<R extends object>(url: string, sql: string): Promise<readonly R[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}

const gone = (pid: number): Promise<boolean> =>
  waitFor(async () => (await identify(pid)) === undefined, { what: `the end of process ${pid}` });

/** A process that starts PostgreSQL on `directory`, prints its pid and waits to be killed. */
function holderScript(directory: string): string {
  return `
    import { startEmbeddedPostgres } from './src/cli/embedded/postgres.ts';
    const postgres = await startEmbeddedPostgres({ directory: ${JSON.stringify(directory)}, password: 'pw', report: console.log });
    await postgres.ensureDatabase('kept');
    console.log('postgres ' + postgres.pid);
    process.on('SIGINT', () => {});
    setInterval(() => {}, 1000);
  `;
}

async function startHolder(directory: string) {
  const processes = createProcesses();
  onTestFinished(() => processes.killAll());
  const holder = processes.start([
    process.execPath,
    '--input-type=module-typescript',
    '-e',
    holderScript(directory),
  ]);
  const [, pid] = await holder.waitForOutput(/^postgres (\d+)$/m);
  return { holder, postgresPid: Number(pid) };
}

it('makes a cluster that keeps what it commits and lets nobody in without the password', async () => {
  const directory = await makeTempDirectory();
  const postgres = await start(directory);
  await postgres.ensureDatabase('millrace');
  await postgres.ensureDatabase('millrace');

  const url = postgres.url('millrace');
  const shown = async (name: string): Promise<unknown> =>
    Object.values((await query<object>(url, `show ${name}`))[0]!)[0];
  expect(await shown('fsync')).toBe('on');
  expect(await shown('full_page_writes')).toBe('on');
  expect(await shown('synchronous_commit')).toBe('on');
  expect(await shown('data_checksums')).toBe('on');
  expect(await shown('wal_segment_size')).toBe('1MB');
  expect(await shown('max_wal_size')).toBe('1GB');
  expect(await shown('listen_addresses')).toBe('127.0.0.1');
  expect(await shown('password_encryption')).toBe('scram-sha-256');
  await expect(query(url.replace('pass%2Fword%401', 'wrong'), 'select 1')).rejects.toMatchObject({
    code: '28P01',
  });
  expect((await readdir(directory)).sort()).toEqual(['postgres', 'postgres.log']);
  expect((await stat(join(directory, 'postgres'))).mode & 0o777).toBe(0o700);
});

it('keeps the data over a stop and a start, with nothing of our environment in the server', async () => {
  const directory = await makeTempDirectory();
  process.env['MILLRACE_CANARY'] = 'canary-of-the-environment';
  onTestFinished(() => void delete process.env['MILLRACE_CANARY']);
  const first = await start(directory);
  await query(first.url('postgres'), 'create table kept (n int); insert into kept values (42)');
  if (process.platform === 'linux') {
    expect(await readFile(`/proc/${first.pid}/environ`, 'utf8')).not.toContain('canary-of-the-environment');
  }
  await first.stop();

  const second = await start(directory);

  expect(await query(second.url('postgres'), 'select n from kept')).toEqual([{ n: 42 }]);
});

it('makes the cluster anew after an interrupted first start', async () => {
  const directory = await makeTempDirectory();
  await mkdir(join(directory, 'postgres.new'));
  await writeFile(join(directory, 'postgres.new', 'PG_VERSION'), '18\n');
  await writeFile(join(directory, 'postgres.password'), 'left behind');

  const postgres = await start(directory);

  expect(await query(postgres.url('postgres'), 'select 1 as n')).toEqual([{ n: 1 }]);
  expect((await readdir(directory)).sort()).toEqual(['postgres', 'postgres.log']);
});

it('refuses the data of another major version', async () => {
  const directory = await makeTempDirectory();
  await mkdir(join(directory, 'postgres'));
  await writeFile(join(directory, 'postgres', 'PG_VERSION'), '12\n');

  await expect(start(directory)).rejects.toThrow(/belongs to PostgreSQL 12, this release brings \d+/);
});

it('says what PostgreSQL said when it does not start', async () => {
  const directory = await makeTempDirectory();
  await (await start(directory)).stop();
  await writeFile(join(directory, 'postgres', 'postgresql.auto.conf'), 'no_such_setting = 1\n');

  await expect(start(directory)).rejects.toThrow(/did not start .*no_such_setting/s);
});

describe('the guard', () => {
  it('ends PostgreSQL when the whole process group is killed', async () => {
    const { holder, postgresPid } = await startHolder(await makeTempDirectory());

    holder.signalGroup('SIGKILL');
    await holder.exited;

    await gone(postgresPid);
  });

  it('shuts PostgreSQL down when only the platform’s process is killed', async () => {
    const directory = await makeTempDirectory();
    const { holder, postgresPid } = await startHolder(directory);

    holder.signal('SIGKILL');

    await gone(postgresPid);
    expect(await readFile(join(directory, 'postgres.log'), 'utf8')).toContain(
      'received fast shutdown request',
    );
  });

  it('leaves PostgreSQL running while we drain after the Ctrl-C that a terminal sends to the whole group', async () => {
    const { holder, postgresPid } = await startHolder(await makeTempDirectory());

    holder.signalGroup('SIGINT');

    await expect(
      waitFor(async () => (await identify(postgresPid)) === undefined, { timeoutMs: 1000 }),
    ).rejects.toThrow('in vain');
  });
});

it('recognises a PostgreSQL that was left behind and stops it cleanly before it starts again', async () => {
  const directory = await makeTempDirectory();
  const left = await startEmbeddedPostgres({ directory, password: 'pw', report: () => undefined });
  await query(left.url('postgres'), 'create table kept (n int); insert into kept values (7)');
  reports.length = 0;

  const second = await start(directory, 'pw'); // as a process that found the lock's owner gone would

  expect(reports).toEqual([
    `stopping PostgreSQL (pid ${left.pid}), left behind by a Millrace that was killed`,
  ]);
  await left.ended;
  expect(await query(second.url('postgres'), 'select n from kept')).toEqual([{ n: 7 }]);
});

it('is not confused by a process that has the id of a dead PostgreSQL', async () => {
  const directory = await makeTempDirectory();
  await (await start(directory)).stop();
  const processes = createProcesses();
  onTestFinished(() => processes.killAll());
  const other = processes.start(['sleep', '60']);
  const data = join(directory, 'postgres');
  await writeFile(
    join(data, 'postmaster.pid'),
    `${other.pid}\n${data}\n1700000000\n5432\n\n127.0.0.1\n\nready\n`,
  );

  const postgres = await start(directory);

  expect(await query(postgres.url('postgres'), 'select 1 as n')).toEqual([{ n: 1 }]);
  expect(other.hasExited()).toBe(false);
});

// The other user's part differs in kind, not in circumstance: nothing is skipped.
if (isRoot) {
  it('refuses a folder that the database’s user cannot reach, naming it and the remedy', async () => {
    const closed = await makeTempDirectory();
    await chmod(closed, 0o700);
    const directory = join(closed, 'data');
    await mkdir(directory);

    await expect(start(directory)).rejects.toThrow(
      new RegExp(
        `The folder ${closed} is closed to the system user "postgres".*MILLRACE_DATA_DIR.*chmod o\\+x ${closed}`,
      ),
    );
  });

  it('runs PostgreSQL as the system user', async () => {
    const directory = await makeTempDirectory();
    await start(directory);

    const user = await ensureDatabaseUser();
    expect((await stat(join(directory, 'postgres'))).uid).toBe(user?.uid);
    await requireReachable(user, directory, 'unused');
  });
} else {
  it('needs no other system user', async () => {
    expect(await ensureDatabaseUser()).toBeUndefined();
  });
}
