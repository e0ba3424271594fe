import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { migrate } from '../../../src/core/db/migrate.ts';
import { ask, createDebianPostgres } from '../../faults/harness/debian-postgres.ts';
import type { DatabaseServer } from '../../faults/harness/database-server.ts';
import { MANIFESTS } from '../../support/manifests.ts';
import { waitFor } from '../../support/wait-for.ts';

const run = promisify(execFile);
const PROGRAMS = '/usr/lib/postgresql/15/bin';
const DATABASE = 'millrace';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let server: DatabaseServer;
let directory: string;
let backups: string;
let urlFile: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o711); // its user has to get through
  backups = join(directory, 'backups');
  urlFile = join(directory, 'database-url');
  server = await createDebianPostgres({ directory, name: 'server' });
  await server.ensureDatabase(DATABASE);
  await writeFile(urlFile, server.url(DATABASE));
  await migrate(server.url(DATABASE));
}, 120_000);
afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

async function script(name: 'backup' | 'restore', env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const options = {
    cwd: '/',
    env: {
      PATH: `${PROGRAMS}:/usr/bin:/bin`,
      DATABASE_URL_FILE: urlFile,
      DIRECTORY: backups,
      KEEP: '7',
      ...env,
    },
  };
  const file = join(MANIFESTS, 'components/postgres/backup', `${name}.sh`);
  try {
    return { code: 0, ...(await run('/bin/sh', [file], options)) };
  } catch (raw) {
    return raw as Ended;
  }
}

const sql = async (text: string): Promise<readonly Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: server.url(DATABASE) });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
};
const names = async (): Promise<readonly unknown[]> =>
  (await sql(`select name from tenant where name like 'tenant-%' order by name`)).map(({ name }) => name);
const add = (name: string): Promise<unknown> => sql(`insert into tenant (name) values ('${name}')`);
/** A closed connection is still somebody's for a moment. */
const nobodyIsConnected = (): Promise<unknown> =>
  waitFor(
    async () => {
      const { count } = await ask<{ count: string }>(
        server,
        `select count(*) from pg_stat_activity where datname = '${DATABASE}' and backend_type = 'client backend'`,
      );
      return count === '0';
    },
    { what: 'nobody to be connected' },
  );

// Each builds on the one before.
describe('the backup of component postgres', { timeout: 120_000 }, () => {
  it('puts database and roles into a folder named by the time', async () => {
    await mkdir(backups);
    await add('tenant-1');

    const { code, stdout, stderr } = await script('backup');

    expect(code, stderr).toBe(0);
    const [name, ...others] = await readdir(backups);
    expect(others).toEqual([]);
    expect(name).toMatch(/^\d{8}T\d{6}Z$/);
    expect(stdout).toMatch(new RegExp(`^backup ${name}: `));
    expect((await readdir(join(backups, name!))).sort()).toEqual(['millrace.dump', 'roles.sql']);
  });

  it('is put in the place of the database, which stays beside it', async () => {
    await add('tenant-2');
    expect(await names()).toEqual(['tenant-1', 'tenant-2']);
    await nobodyIsConnected();

    const { code, stdout, stderr } = await script('restore');

    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(
      /^restored \d{8}T\d{6}Z; what was there before is the database millrace_before\n$/,
    );
    expect(await names()).toEqual(['tenant-1']);
    const { found } = await ask<{ found: boolean }>(
      server,
      `select exists (select from pg_database where datname = 'millrace_before') as found`,
    );
    expect(found).toBe(true);
    // With its roles and rights: nothing is left to migrate.
    expect(await migrate(server.url(DATABASE))).toEqual([]);
  });

  it('is not restored while anybody is connected', async () => {
    await add('tenant-3');
    const client = new pg.Client({ connectionString: server.url(DATABASE) });
    await client.connect();

    const { code, stderr } = await script('restore');

    await client.end();
    expect(code).toBe(1);
    expect(stderr).toBe('1 connection(s) to millrace are open: scale the API and the workers to 0 first\n');
    expect(await names()).toEqual(['tenant-1', 'tenant-3']);
  });

  it('changes nothing where the dump is broken', async () => {
    await mkdir(join(backups, '20000101T000000Z'));
    await writeFile(join(backups, '20000101T000000Z', 'millrace.dump'), 'no dump');
    await writeFile(join(backups, '20000101T000000Z', 'roles.sql'), '');
    await nobodyIsConnected();

    const { code, stderr } = await script('restore', { BACKUP: '20000101T000000Z' });

    expect(code).not.toBe(0);
    expect(stderr).toContain('pg_restore');
    expect(await names()).toEqual(['tenant-1', 'tenant-3']);
  });

  it('keeps as many as it is told to, and what was cut off is none', async () => {
    for (const name of ['20000102T000000Z', '20000103T000000Z', 'unfinished'])
      await mkdir(join(backups, name));
    const before = await readdir(backups);

    const { code, stdout, stderr } = await script('backup', { KEEP: '3' });

    expect(code, stderr).toBe(0);
    const left = (await readdir(backups)).sort();
    expect(left).toHaveLength(3);
    expect(left[0]).toBe('20000103T000000Z');
    expect(before).not.toContain(left[2]);
    expect(stdout).toContain('removed 20000101T000000Z\n');
    expect(stdout).toContain('removed 20000102T000000Z\n');
    expect(left).not.toContain('unfinished');
  });

  it('leaves the others alone when it fails, and says why', async () => {
    const before = (await readdir(backups)).sort();
    await writeFile(urlFile, server.url('nowhere'));

    const { code, stderr } = await script('backup', { KEEP: '1' });

    await writeFile(urlFile, server.url(DATABASE));
    expect(code).not.toBe(0);
    expect(stderr).toContain('nowhere');
    expect((await readdir(backups)).filter((name) => name !== 'unfinished').sort()).toEqual(before);
  });

  it('names what there is when it is asked for one that is not there', async () => {
    const { code, stderr } = await script('restore', { BACKUP: '19990101T000000Z' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^there is no backup 19990101T000000Z; there are: 20000103T000000Z \d{8}T\d{6}Z/);
    await rm(backups, { recursive: true });
    await mkdir(backups);
    const none = await script('restore');
    expect([none.code, none.stderr]).toEqual([1, `there is no backup in ${backups}\n`]);
  });
});
