import { describe, expect, it } from 'vitest';
import { appError } from '../errors/app-error.ts';
import { clockFinding } from './clock.ts';
import { examineConfiguration, misspeltFindings } from './configuration.ts';
import { durabilityFindings, settingFindings, writableFinding, type DatabaseSettings } from './database.ts';
import {
  asFinding,
  examine,
  failure,
  ok,
  refuse,
  skipped,
  VERDICTS,
  warning,
  worstOf,
  type Finding,
} from './finding.ts';
import { nameFinding } from './network.ts';
import { redisFindings, type RedisFacts } from './redis.ts';
import { readSandboxLine, sandboxFinding } from './sandbox.ts';
import { apiKeys } from '../config/api-keys.ts';

const verdictsOf = (findings: readonly Finding[]): Readonly<Record<string, string>> =>
  Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));

describe('findings', () => {
  it.each([
    ['ok', []],
    ['ok', [ok('a', ''), skipped('b', '')]],
    ['warning', [ok('a', ''), warning('b', '', ''), skipped('c', '')]],
    ['error', [failure('a', '', ''), warning('b', '', '')]],
  ] as const)('are as bad as the worst of them: %s', (worst, findings) => {
    expect(worstOf(findings)).toBe(worst);
  });

  it('know their order', () => {
    expect(VERDICTS).toEqual(['ok', 'skipped', 'warning', 'error']);
  });

  it('are made of a check that throws, too, and the others are still made', async () => {
    const findings = await examine([
      ['a', () => Promise.reject(new Error('broken'))],
      ['b', () => [ok('b', 'fine')]],
    ]);
    expect(findings).toEqual([
      expect.objectContaining({ check: 'a', verdict: 'error', message: 'broken' }),
      ok('b', 'fine'),
    ]);
  });

  it('refuse with the first error and its remedy', () => {
    expect(() => refuse('database_unfit', [ok('a', ''), failure('b', 'fsync is off', 'set it')])).toThrow(
      'fsync is off; set it',
    );
    expect(() => refuse('database_unfit', [warning('a', '', '')])).not.toThrow();
  });

  it('take the remedy from the end of our messages', () => {
    const error = appError('schema_mismatch', {
      args: ['The database lacks 2 migration(s); run `millrace migrate`'],
    });
    expect(asFinding('x', error, 'else')).toEqual(
      failure('x', 'The database lacks 2 migration(s)', 'run `millrace migrate`'),
    );
    expect(asFinding('x', new Error('no; way'), 'else')).toEqual(failure('x', 'no; way', 'else'));
  });
});

it.each([
  [0, 'ok'],
  [-4000, 'ok'],
  [5001, 'warning'],
  [-30_000, 'warning'],
  [30_001, 'error'],
  [-600_000, 'error'],
])('a clock that is %s ms off is: %s', (skewMs, verdict) => {
  expect(clockFinding(skewMs)).toMatchObject({ verdict });
});

const FIT: DatabaseSettings = {
  versionNumber: 150_004,
  version: '15.4',
  fsync: 'on',
  synchronousCommit: 'on',
  fullPageWrites: 'on',
  autovacuum: 'on',
  trackCounts: 'on',
  timeZone: 'UTC',
  statementTimeoutMs: 0,
  maxConnections: 100,
  reservedConnections: 3,
  inUse: 12,
  isReadOnly: false,
  archives: true,
};
const POOLS = { each: 25, apis: 1, workers: 1, isProduction: true };

describe('the settings of a database', () => {
  const all = (changes: Partial<DatabaseSettings>, pools = {}): readonly Finding[] => {
    const settings = { ...FIT, ...changes };
    return [
      ...durabilityFindings(settings),
      writableFinding(settings),
      ...settingFindings(settings, { ...POOLS, ...pools }),
    ];
  };

  it('are fit as they should be', () => {
    expect(new Set(all({}).map(({ verdict }) => verdict))).toEqual(new Set(['ok']));
  });

  it.each([
    ['database.version', 'error', { versionNumber: 140_010, version: '14.10' }],
    ['database.fsync', 'error', { fsync: 'off' }],
    ['database.synchronous_commit', 'error', { synchronousCommit: 'off' }],
    ['database.synchronous_commit', 'error', { synchronousCommit: 'local' }],
    ['database.synchronous_commit', 'ok', { synchronousCommit: 'remote_apply' }],
    ['database.writable', 'error', { isReadOnly: true }],
    ['database.full_page_writes', 'error', { fullPageWrites: 'off' }],
    ['database.autovacuum', 'error', { autovacuum: 'off' }],
    ['database.autovacuum', 'error', { trackCounts: 'off' }],
    ['database.time_zone', 'warning', { timeZone: 'Europe/Berlin' }],
    ['database.time_zone', 'ok', { timeZone: 'Etc/UTC' }],
    ['database.statement_timeout', 'warning', { statementTimeoutMs: 5000 }],
    ['database.max_connections', 'error', { maxConnections: 40 }],
    ['database.max_connections', 'warning', { inUse: 90 }],
    ['database.archive_mode', 'warning', { archives: false }],
  ] as const)('%s is: %s', (check, verdict, changes) => {
    const findings = all(changes);
    expect(verdictsOf(findings)[check]).toBe(verdict);
    const others = findings.filter((found) => found.check !== check);
    expect(new Set(others.map((found) => found.verdict))).toEqual(new Set(['ok']));
  });

  it('are asked for as many connections as all processes open, and what would do is said', () => {
    const [found] = all({}, { apis: 3, workers: 3 }).filter(
      ({ check }) => check === 'database.max_connections',
    );
    expect(found).toMatchObject({
      verdict: 'error',
      message: '3 API(s) and 3 worker(s) open up to 150 connections of 97',
    });
    expect(found!.remedy).toContain('lower DB_MAX_OPEN_CONNS to 16');
    expect(found!.remedy).toContain('max_connections above 153');
  });

  it('need no archive at a desk', () => {
    expect(verdictsOf(all({ archives: false }, { isProduction: false }))['database.archive_mode']).toBe('ok');
  });
});

describe('Redis', () => {
  const fit: RedisFacts = {
    version: '7.0.15',
    policy: 'noeviction',
    maxMemoryBytes: 0,
    usedMemoryBytes: 1e6,
    appendOnly: false,
    isReplica: false,
  };

  it.each([
    ['redis.version', 'ok', {}],
    ['redis.version', 'ok', { version: '6.2.0' }],
    ['redis.version', 'error', { version: '6.0.16' }],
    ['redis.version', 'error', { version: '5.0.7' }],
    ['redis.maxmemory_policy', 'error', { policy: 'allkeys-lru' }],
    ['redis.maxmemory_policy', 'ok', { policy: undefined }],
    ['redis.writable', 'error', { isReplica: true }],
    ['redis.memory', 'warning', { maxMemoryBytes: 1_050_000 }],
    ['redis.memory', 'ok', { maxMemoryBytes: 100_000_000 }],
  ] as const)('%s is: %s', (check, verdict, changes) => {
    expect(verdictsOf(redisFindings({ ...fit, ...changes }))[check]).toBe(verdict);
  });
});

describe('the configuration', () => {
  const complete = {
    DATABASE_URL: 'postgres://db/millrace',
    ENCRYPTION_KEY: '0123456789abcdef'.repeat(4),
    JWT_SECRET: '0123456789abcdef'.repeat(4),
  };

  it('is fit, or every problem of it is said', () => {
    expect(examineConfiguration('api', apiKeys, complete).findings).toEqual([
      ok('configuration.api', 'the api can start with it'),
    ]);
    const { config, findings } = examineConfiguration('api', apiKeys, {
      ...complete,
      API_PORT: 'x',
      JWT_SECRET: 'short',
    });
    expect(config).toBeUndefined();
    expect(findings.map(({ message }) => message.split(' ')[0])).toEqual(['JWT_SECRET', 'API_PORT']);
    for (const { remedy } of findings) expect(remedy).not.toBe('');
  });

  it('never shows a secret', () => {
    const { findings } = examineConfiguration('api', apiKeys, { ...complete, JWT_SECRET: 'canary' });
    expect(JSON.stringify(findings)).not.toContain('canary');
  });

  const names = Object.keys(apiKeys);
  it.each([
    ['DB_MAX_OPEN_CONN', 'DB_MAX_OPEN_CONNS'],
    ['ENCRYPTON_KEY', 'ENCRYPTION_KEY'],
    ['RATE_LIMIT_PER_TENNANT', 'RATE_LIMIT_PER_TENANT'],
  ])('finds that %s is meant to be %s', (written, meant) => {
    const [found] = misspeltFindings(names, { [written]: '1' });
    expect(found?.remedy).toBe(`did you mean ${meant}?`);
  });

  it.each([
    'HOSTNAME',
    'LANGUAGE',
    'XDG_RUNTIME_DIR',
    'NODE_OPTIONS',
    'DATABASE_HOST',
    'LOGNAME',
    'JWT_SECRET_FILE',
    'KUBERNETES_PORT',
  ])('takes %s for what it is', (name) => {
    expect(misspeltFindings(names, { [name]: 'x' })).toEqual([]);
  });
});

describe('sandboxes', () => {
  const wanted = { driver: 'auto', environment: 'development' };
  it.each([
    ['gvisor: Deno and gVisor', wanted, 'ok'],
    ['kubernetes: pods', wanted, 'ok'],
    ['process: Deno alone', wanted, 'warning'],
    ['process: Deno alone', { ...wanted, environment: 'production' }, 'error'],
    ['none: there is no runsc; install it', wanted, 'error'],
    ['none: SANDBOX_DRIVER is none; set it', { ...wanted, driver: 'none' }, 'warning'],
    ['sandboxes are still being prepared', wanted, 'error'],
  ])('that are said to be "%s" are judged', (line, asked, verdict) => {
    expect(sandboxFinding(readSandboxLine(line), asked)).toMatchObject({ check: 'sandbox.driver', verdict });
  });

  it('are none for a reason, with a remedy', () => {
    expect(readSandboxLine('none: no runsc; too old; run it as root')).toEqual({
      driver: 'none',
      said: 'no runsc; too old',
      remedy: 'run it as root',
    });
  });
});

it.each([
  ['127.0.0.1', 'ok'],
  ['[::1]', 'ok'],
  ['localhost', 'ok'],
  ['no-such-host.invalid', 'error'],
])('the name %s is: %s', async (host, verdict) => {
  expect(await nameFinding('DATABASE_URL', host)).toMatchObject({ check: 'dns.DATABASE_URL', verdict });
});
