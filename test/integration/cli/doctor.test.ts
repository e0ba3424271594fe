import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { EXIT, type ExitCode } from '../../../src/cli/cli-error.ts';
import { createProgram } from '../../../src/cli/program.ts';
import type { Finding } from '../../../src/core/health/finding.ts';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { runToEnd } from '../../support/dev-platform.ts';
import { fakeClock } from '../../support/fake-clock.ts';
import { freePort } from '../../support/free-port.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { cliCommand, createProcesses } from '../../support/processes.ts';
import { startRedisServer, type RedisServer } from '../../support/redis-server.ts';
import { serving } from '../../support/serve.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

vi.setConfig({ testTimeout: 90_000 });

let database: TestDatabase;
let redis: RedisServer;
let nobody: number;
beforeAll(async () => {
  database = await createTestDatabase();
  redis = await startRedisServer();
  nobody = await freePort();
});
afterAll(async () => {
  await redis.stop();
  await database.drop();
});

type Environment = Readonly<Record<string, string>>;
const environment = (): Environment => ({
  DATABASE_URL: database.url,
  REDIS_URL: redis.url,
  ENCRYPTION_KEY: randomBytes(32).toString('hex'),
  JWT_SECRET: randomBytes(32).toString('hex'),
  DB_MAX_OPEN_CONNS: '10',
  SANDBOX_DRIVER: 'none',
  API_PORT: String(nobody),
  WORKER_PORT: String(nobody),
});

interface Result {
  readonly exitCode: ExitCode;
  /** The same once more, as people read it. */
  readonly text: () => Promise<string>;
  readonly findings: readonly Finding[];
  readonly of: (check: string) => Finding | undefined;
}

async function doctor(env: Environment, ...args: readonly string[]): Promise<Result> {
  const cwd = await makeTempDirectory();
  const run = async (...more: readonly string[]): Promise<readonly [ExitCode, string]> => {
    let text = '';
    const program = createProgram({
      env: { PATH: process.env['PATH'], ...env },
      cwd,
      write: (data) => (text += `${data}\n`),
      say: () => undefined,
      readText: () => Promise.reject(new Error('nothing is read')),
    });
    return [await program(['doctor', ...args, ...more]), text];
  };
  const [exitCode, json] = await run('-o', 'json');
  const { findings } = JSON.parse(json) as { readonly findings: readonly Finding[] };
  return {
    exitCode,
    text: async () => (await run())[1],
    findings,
    of: (check) => findings.find((found) => found.check === check),
  };
}

describe('on a database and a Redis that are well', () => {
  it('finds nothing but what the environment asked for', async () => {
    const { exitCode, findings, text: read } = await doctor(environment());
    const text = await read();

    const worse = findings.filter(({ verdict }) => verdict === 'warning' || verdict === 'error');
    expect(worse.map(({ check }) => check)).toEqual(['sandbox.driver']);
    expect(exitCode).toBe(EXIT.warning);
    const oks = findings.filter(({ verdict }) => verdict === 'ok').map(({ check }) => check);
    for (const check of [
      'configuration.api',
      'configuration.worker',
      'database.reachable',
      'database.version',
      'database.fsync',
      'database.synchronous_commit',
      'database.autovacuum',
      'database.time_zone',
      'database.max_connections',
      'database.migrations',
      'database.roles',
      'database.partitions',
      'clock',
      'redis.maxmemory_policy',
      'redis.version',
      'redis.persistence',
    ])
      expect.soft(oks).toContain(check);
    expect(text).toMatch(
      /^WARNING +sandbox\.driver +code steps cannot run: SANDBOX_DRIVER is none\n +→ set SANDBOX_DRIVER to auto$/m,
    );
    expect(text).toMatch(/\n0 error\(s\), 1 warning\(s\), \d+ ok, 2 left out\n$/);
  });

  it('says no secret', async () => {
    const env = {
      ...environment(),
      ENCRYPTION_KEY: 'canary-canary',
      DATABASE_URL: database.url.replace(/:[^:@]*@/, ':canary-password@'),
    };
    const { text, findings } = await doctor(env);
    expect((await text()) + JSON.stringify(findings)).not.toContain('canary');
  });
});

describe('says what is wrong, and how to mend it', () => {
  it('of a configuration, all at once', async () => {
    const { exitCode, findings } = await doctor({
      ...environment(),
      JWT_SECRET: 'short',
      LEASE_MS: 'long',
      DB_MAX_OPEN_CONN: '5',
    });
    const said = findings.filter(({ check }) => check.startsWith('configuration'));
    expect(said.map(({ message }) => message.split(' ')[0])).toEqual([
      'JWT_SECRET',
      'LEASE_MS',
      'DB_MAX_OPEN_CONN',
    ]);
    expect(exitCode).toBe(EXIT.failure);
  });

  it.each([
    [
      'nobody listens',
      (): string => `postgres://millrace@127.0.0.1:${nobody}/millrace`,
      /ECONNREFUSED/,
      /start PostgreSQL/,
    ],
    [
      'the host has no address',
      (): string => 'postgres://millrace@no-such-host.invalid/millrace',
      /ENOTFOUND|EAI_AGAIN/,
      /name servers/,
    ],
    [
      'there is no such database',
      (): string => database.url.replace(/\/[^/]*$/, '/nothing_here'),
      /does not exist/,
      /create the database/,
    ],
    [
      'the password is wrong',
      (): string => database.url.replace(/:[^:@]*@/, ':wrong@'),
      /password authentication failed/,
      /password in DATABASE_URL/,
    ],
  ] as const)('of a database: %s', async (_, url, message, remedy) => {
    const { exitCode, of } = await doctor({ ...environment(), DATABASE_URL: url() });
    const found = of('database.reachable');
    expect(found).toMatchObject({
      verdict: 'error',
      message: expect.stringMatching(message),
      remedy: expect.stringMatching(remedy),
    });
    expect(exitCode).toBe(EXIT.failure);
  });

  it('of settings that lose what was accepted', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const name = new URL(database.url).pathname.slice(1);
    await client.query(`alter database ${name} set synchronous_commit = off`);
    await client.query(`alter database ${name} set timezone = 'Asia/Tokyo'`);
    await client.query(`alter database ${name} set statement_timeout = '5s'`);
    try {
      const { of } = await doctor(environment());
      expect(of('database.synchronous_commit')).toMatchObject({
        verdict: 'error',
        remedy: 'set it to on or remote_apply',
      });
      expect(of('database.time_zone')).toMatchObject({ verdict: 'warning' });
      expect(of('database.statement_timeout')).toMatchObject({ verdict: 'warning' });
    } finally {
      await client.query(`alter database ${name} reset all`);
      await client.end();
    }
  });

  it('of more processes than there are connections for', async () => {
    const { of } = await doctor(
      { ...environment(), DB_MAX_OPEN_CONNS: '100' },
      '--apis',
      '20',
      '--workers',
      '30',
    );
    expect(of('database.max_connections')).toMatchObject({
      verdict: 'error',
      message: expect.stringContaining('20 API(s) and 30 worker(s) open up to 5000 connections'),
      remedy: expect.stringContaining('DB_MAX_OPEN_CONNS'),
    });
  });

  it('of a schema that is missing', async () => {
    const empty = await createEmptyDatabase();
    try {
      const { of } = await doctor({ ...environment(), DATABASE_URL: empty.url });
      expect(of('database.migrations')).toMatchObject({
        verdict: 'error',
        remedy: expect.stringContaining('millrace migrate'),
      });
      expect(of('database.partitions')).toMatchObject({ verdict: 'skipped' });
    } finally {
      await empty.drop();
    }
  });

  it.each([
    [
      true,
      {
        verdict: 'error',
        message: expect.stringMatching(/migration 999999 \(future\), .* cannot work with$/),
        remedy: 'run a newer release',
      },
    ],
    [false, { verdict: 'ok', message: expect.stringContaining('one that it can work with') }],
  ])('of a schema that is ahead, with a breaking migration: %s', async (isBreaking, found) => {
    const ahead = await createTestDatabase();
    try {
      const client = new pg.Client({ connectionString: ahead.url });
      await client.connect();
      await client.query(
        `insert into schema_migration (version, name, breaking) values (999999, 'future', $1)`,
        [isBreaking],
      );
      await client.end();
      const { of, exitCode } = await doctor({ ...environment(), DATABASE_URL: ahead.url });
      expect(of('database.migrations')).toMatchObject(found);
      expect(exitCode).toBe(isBreaking ? EXIT.failure : EXIT.warning);
    } finally {
      await ahead.drop();
    }
  });

  it.each([
    [600, 'error', /^this clock is (599|600|601)\.\d s ahead of the database's/],
    [-10, 'warning', /^this clock is (9|10|11)\.\d s behind the database's/],
  ])('of a clock that is %i s off', async (seconds, verdict, message) => {
    const processes = createProcesses();
    try {
      const { stdout, stderr } = await runToEnd(processes, cliCommand('doctor', '-o', 'json'), {
        ...environment(),
        ...(await fakeClock(seconds)),
      });
      const { findings } = JSON.parse(stdout || stderr) as { readonly findings: readonly Finding[] };
      expect(findings.find(({ check }) => check === 'clock')).toMatchObject({
        verdict,
        message: expect.stringMatching(message),
        remedy: expect.stringContaining('NTP'),
      });
    } finally {
      await processes.killAll();
    }
  });

  it('of a Redis that throws things away, and of one that is gone', async () => {
    const evicting = await startRedisServer({ maxmemoryPolicy: 'allkeys-lru' });
    const { of } = await doctor({ ...environment(), REDIS_URL: evicting.url });
    expect(of('redis.maxmemory_policy')).toMatchObject({ verdict: 'error', remedy: 'set it to noeviction' });
    await evicting.stop();
    const later = await doctor({ ...environment(), REDIS_URL: evicting.url });
    expect(later.of('redis.reachable')).toMatchObject({
      verdict: 'warning',
      remedy: expect.stringContaining('start Redis'),
    });
    expect(later.exitCode).toBe(EXIT.warning);
  });

  it('of a port that another program has', async () => {
    await serving(
      (_, res) => res.end('hi'),
      async (base) => {
        const { of } = await doctor({ ...environment(), API_PORT: new URL(base).port });
        expect(of('api.ready')).toMatchObject({ verdict: 'warning', remedy: 'another program has the port' });
      },
    );
  });

  it('of a folder where the platform of `npm start` is asleep, or never was', async () => {
    const { DATABASE_URL: _, ...env } = environment();
    const { of } = await doctor(env);
    expect(of('database')).toMatchObject({ verdict: 'skipped' });
    expect(of('configuration.worker')).toMatchObject({
      verdict: 'error',
      message: expect.stringContaining('DATABASE_URL'),
    });
  });
});

describe('with a platform that runs', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await startPlatform(database.url);
  });
  afterAll(() => platform.stop());

  it('asks API and worker themselves', async () => {
    const { of } = await doctor({
      ...environment(),
      API_PORT: new URL(platform.base).port,
      WORKER_PORT: String(platform.workers[0]!.port),
      PUBLIC_URL: platform.base,
    });
    expect(of('api.ready')).toMatchObject({ verdict: 'ok' });
    expect(of('worker.ready')).toMatchObject({ verdict: 'ok' });
    expect(of('reachable.PUBLIC_URL')).toMatchObject({ verdict: 'ok' });
    expect(of('sandbox.driver')).toMatchObject({
      verdict: 'warning',
      message: expect.stringContaining('SANDBOX_DRIVER is none'),
    });
  });
});
