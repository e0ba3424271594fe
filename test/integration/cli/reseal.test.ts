import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EXIT, type ExitCode } from '../../../src/cli/cli-error.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { createCipher, type CredentialCipher } from '../../../src/core/credentials/cipher.ts';
import { resealCredentials, type ResealOutcome } from '../../../src/core/credentials/reseal.ts';
import { loadCredential, putCredential } from '../../../src/core/credentials/store.ts';
import { openDatabase, withTenant, type Database } from '../../../src/core/db/database.ts';
import { credentialFinding } from '../../../src/core/health/credentials.ts';
import type { Finding } from '../../../src/core/health/finding.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

const [OLD, NEW, LOST] = [randomBytes(32), randomBytes(32), randomBytes(32)];
const hex = (...keys: readonly Buffer[]): string => keys.map((key) => key.toString('hex')).join(',');
const sealsWith = (current: Buffer, ...others: readonly Buffer[]): CredentialCipher =>
  createCipher({ current, others });
const TENANTS = ['00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000a2'] as const;
const [A, B] = TENANTS;

let database: TestDatabase;
let owner: pg.Client;
let engineDb: Database;
let apiDb: Database;

beforeAll(async () => {
  database = await createTestDatabase();
  owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
  await owner.query('insert into tenant (id, name) select unnest($1::uuid[]), unnest($2::text[])', [
    TENANTS,
    ['acme', 'globex'],
  ]);
  const open = (role: 'millrace_engine' | 'millrace_api'): Database =>
    openDatabase({
      url: database.url,
      role,
      name: 'test',
      maxConnections: 2,
      queryTimeoutMs: 30_000,
      acquireTimeoutMs: 30_000,
      onError: () => undefined,
    });
  [engineDb, apiDb] = [open('millrace_engine'), open('millrace_api')];
});
afterAll(async () => {
  await Promise.all([engineDb.end(), apiDb.end(), owner.end()]);
  await database.drop();
});
beforeEach(async () => {
  await owner.query('truncate credential');
});

const put = (tenantId: string, name: string, value: string, cipher: CredentialCipher) =>
  withTenant(apiDb, tenantId, (db) =>
    putCredential({ db, cipher }, tenantId, name, { type: 'secret', data: { value } }),
  );
const valueOf = async (tenantId: string, name: string, cipher: CredentialCipher): Promise<unknown> =>
  (await loadCredential({ db: engineDb, cipher }, tenantId, name))?.data;

interface Result {
  readonly exitCode: ExitCode;
  readonly text: string;
}
async function millrace(args: readonly string[], keys: string): Promise<Result> {
  let text = '';
  const cwd = await makeTempDirectory();
  const program = createProgram({
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: database.url,
      ENCRYPTION_KEY: keys,
      JWT_SECRET: randomBytes(32).toString('hex'),
      SANDBOX_DRIVER: 'none',
    },
    cwd,
    write: (data) => (text += `${data}\n`),
    say: () => undefined,
    readText: () => Promise.reject(new Error('nothing is read')),
  });
  return { exitCode: await program(args), text };
}
describe('millrace reseal', () => {
  it('seals the credentials of all tenants with the first key, and changes nothing else of them', async () => {
    await put(A, 'crm', 'one', sealsWith(OLD));
    await put(B, 'crm', 'two', sealsWith(OLD));
    await put(B, 'new', 'three', sealsWith(NEW));
    const times = () => owner.query('select id, created_at, updated_at, type from credential order by id');
    const before = (await times()).rows;

    const { exitCode, text } = await millrace(['reseal', '-o', 'json'], hex(NEW, OLD));

    expect([exitCode, JSON.parse(text)]).toEqual([EXIT.ok, { resealed: 2, current: 3, unreadable: [] }]);
    const alone = sealsWith(NEW);
    expect(await valueOf(A, 'crm', alone)).toEqual({ value: 'one' });
    expect(await valueOf(B, 'crm', alone)).toEqual({ value: 'two' });
    expect(await valueOf(B, 'new', alone)).toEqual({ value: 'three' });
    expect((await times()).rows).toEqual(before);
    await expect(valueOf(A, 'crm', sealsWith(OLD))).rejects.toThrow(/cannot be decrypted/);

    const again = await millrace(['reseal'], hex(NEW, OLD));
    expect(again).toEqual({
      exitCode: EXIT.ok,
      text: '0 credential(s) were sealed anew; 3 are sealed with the first key of ENCRYPTION_KEY now, and none with another.\n',
    });
  });

  it('goes through more than one page', async () => {
    const names = Array.from({ length: 230 }, (_, index) => `c${index}`);
    for (const name of names) await put(A, name, name, sealsWith(OLD));

    const { text } = await millrace(['reseal', '-o', 'json'], hex(NEW, OLD));

    expect(JSON.parse(text)).toMatchObject({ resealed: 230, current: 230 });
  });

  it('names those that no key opens, does the others, and exits with 1', async () => {
    await put(A, 'fine', 'canary-1', sealsWith(OLD));
    await put(B, 'closed', 'canary-2', sealsWith(LOST));
    await put(B, 'altered', 'canary-3', sealsWith(OLD));
    await owner.query(`update credential set sealed = sealed || '\\x00' where name = 'altered'`);

    const { exitCode, text } = await millrace(['reseal', '-o', 'json'], hex(NEW, OLD));

    expect(exitCode).toBe(EXIT.failure);
    const { resealed, unreadable } = JSON.parse(text) as ResealOutcome;
    expect(resealed).toBe(1);
    expect(new Set(unreadable.map(({ tenantId, name }) => `${tenantId}/${name}`))).toEqual(
      new Set([`${B}/altered`, `${B}/closed`]),
    );
    const shown = await millrace(['reseal'], hex(NEW, OLD));
    expect(shown.text).toMatch(/TENANT +CREDENTIAL +SEALED WITH\n/);
    expect(shown.text).toContain(sealsWith(LOST).currentKeyId);
    expect(shown.text + text).not.toContain('canary');
    // With its key it can be done later.
    expect((await millrace(['reseal'], hex(NEW, OLD, LOST))).text).toMatch(/^1 credential/);
    expect(await valueOf(B, 'closed', sealsWith(NEW))).toEqual({ value: 'canary-2' });
  });

  it('leaves what was replaced meanwhile as it was put', async () => {
    await put(A, 'crm', 'before', sealsWith(OLD));
    const rotating = sealsWith(NEW, OLD);
    let hasRead = false;
    const query = async (text: string, values: unknown[]) => {
      const answer = await engineDb.query(text, values);
      if (!hasRead) await put(A, 'crm', 'after', sealsWith(OLD));
      hasRead = true;
      return answer;
    };

    // The one overload of `query` that is used.
    const outcome = await resealCredentials({
      engineDb: { query } as unknown as Database,
      apiDb,
      cipher: rotating,
    });

    expect(outcome).toEqual({ resealed: 0, current: 0, unreadable: [] });
    expect(await valueOf(A, 'crm', rotating)).toEqual({ value: 'after' });
  });

  it('says that it cannot reach the database', async () => {
    const program = createProgram({
      env: { DATABASE_URL: 'postgres://127.0.0.1:1/none', ENCRYPTION_KEY: hex(NEW) },
      cwd: await makeTempDirectory(),
      write: () => undefined,
      say: () => undefined,
      readText: () => Promise.reject(new Error('nothing is read')),
    });
    await expect(program(['reseal'])).rejects.toThrow(/PostgreSQL at 127\.0\.0\.1:1\/none cannot be used/);
  });
});

describe('millrace doctor', { timeout: 90_000 }, () => {
  const found = (current: Buffer, ...others: readonly Buffer[]): Promise<Finding> =>
    credentialFinding(engineDb, { current, others });

  it('says whether ENCRYPTION_KEY opens what is stored, and what to do', async () => {
    expect(await found(OLD)).toMatchObject({ verdict: 'ok', message: 'none is stored' });
    await put(A, 'crm', 'one', sealsWith(OLD));
    expect(await found(OLD)).toMatchObject({ verdict: 'ok' });
    expect(await found(OLD, NEW)).toMatchObject({ verdict: 'ok' });
    expect(await found(NEW)).toMatchObject({
      verdict: 'error',
      message: '1 of 1 credential(s) cannot be opened with ENCRYPTION_KEY',
    });
    const { text } = await millrace(['doctor', '-o', 'json'], hex(NEW, OLD));
    const { findings } = JSON.parse(text) as { readonly findings: readonly Finding[] };
    expect(findings.find(({ check }) => check === 'credentials')).toMatchObject({
      verdict: 'warning',
      message: '1 of 1 credential(s) are sealed with a key of ENCRYPTION_KEY that is not its first',
      remedy: expect.stringContaining('millrace reseal'),
    });
  });
});
