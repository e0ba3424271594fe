import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { ensureSecrets, readSecrets, secretsFile } from '../../../src/cli/embedded/secrets.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

const fresh = { apiKey: undefined, hasDatabase: false } as const;

it('makes strong secrets once and keeps them for their owner alone', async () => {
  const directory = await makeTempDirectory();

  const first = await ensureSecrets(directory, fresh);
  const second = await ensureSecrets(directory, fresh);

  expect(first.made).toBe(true);
  expect(second).toEqual({ secrets: first.secrets, made: false, tightened: false });
  expect((await stat(secretsFile(directory))).mode & 0o777).toBe(0o600);
  expect(first.secrets.ENCRYPTION_KEY).toMatch(/^[0-9a-f]{64}$/);
  expect(first.secrets.MILLRACE_BOOTSTRAP_API_KEY).toMatch(/^mr_[\w-]{43}$/);
  expect(first.secrets.JWT_SECRET.length).toBeGreaterThanOrEqual(32);
  expect(new Set(Object.values(first.secrets)).size).toBe(4);
});

it('keeps an API key that was given at first start', async () => {
  const directory = await makeTempDirectory();

  await ensureSecrets(directory, { ...fresh, apiKey: 'given-key-given-key-given-key-given-key' });

  expect((await readSecrets(directory))?.MILLRACE_BOOTSTRAP_API_KEY).toBe(
    'given-key-given-key-given-key-given-key',
  );
});

it('closes a file that others may read', async () => {
  const directory = await makeTempDirectory();
  await ensureSecrets(directory, fresh);
  await chmod(secretsFile(directory), 0o644);

  expect((await ensureSecrets(directory, fresh)).tightened).toBe(true);
  expect((await stat(secretsFile(directory))).mode & 0o777).toBe(0o600);
});

it.each(['', '{', '[]', '{"ENCRYPTION_KEY":"a"}'])(
  'refuses a damaged file and leaves it alone: %j',
  async (text) => {
    const directory = await makeTempDirectory();
    await writeFile(secretsFile(directory), text);

    await expect(ensureSecrets(directory, fresh)).rejects.toThrow(/damaged.*Restore it from a backup/);
    expect(await readFile(secretsFile(directory), 'utf8')).toBe(text);
  },
);

it('makes no new secrets for a database whose secrets are gone', async () => {
  const directory = await makeTempDirectory();

  await expect(ensureSecrets(directory, { apiKey: undefined, hasDatabase: true })).rejects.toThrow(
    /missing although there is a database beside it/,
  );
});
