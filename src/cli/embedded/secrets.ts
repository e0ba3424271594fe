import { randomBytes } from 'node:crypto';
import { chmod, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from '../../core/zod.ts';
import { errorCodeOf } from '../../core/errors/app-error.ts';
import { makeApiKey } from '../../core/tenants/api-keys.ts';
import { CliError } from '../cli-error.ts';

const secretsSchema = z.object({
  ENCRYPTION_KEY: z.string().min(1),
  JWT_SECRET: z.string().min(1),
  MILLRACE_BOOTSTRAP_API_KEY: z.string().min(1),
  DATABASE_PASSWORD: z.string().min(1),
});

/** What the embedded platform makes for itself at first start, under the names of the variables that override it. */
export type Secrets = Readonly<z.infer<typeof secretsSchema>>;

export const secretsFile = (directory: string): string => join(directory, 'secrets.json');

/** @throws CliError when the file is there but does not hold what it should. */
export async function readSecrets(directory: string): Promise<Secrets | undefined> {
  const file = secretsFile(directory);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT') return undefined;
    throw raw;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = secretsSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new CliError(
    `${file} is damaged: it must be a JSON object with ${Object.keys(secretsSchema.shape).join(', ')}. ` +
      'Restore it from a backup; without its ENCRYPTION_KEY stored credentials cannot be read.',
  );
}

/**
 * Reads secrets.json, or makes it, mode 0600, when there is none.
 *
 * @param given an API key to keep in place of a generated one, so that the command line finds it later
 */
export async function ensureSecrets(
  directory: string,
  given: { readonly apiKey: string | undefined; readonly hasDatabase: boolean },
): Promise<{ readonly secrets: Secrets; readonly made: boolean; readonly tightened: boolean }> {
  const existing = await readSecrets(directory);
  if (existing !== undefined) {
    return { secrets: existing, made: false, tightened: await closeToOthers(secretsFile(directory)) };
  }
  if (given.hasDatabase) {
    throw new CliError(
      `${secretsFile(directory)} is missing although there is a database beside it, whose password and encryption key it held. ` +
        'Restore it from a backup, or set MILLRACE_DATA_DIR to a new folder to start over.',
    );
  }
  const secrets: Secrets = {
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    JWT_SECRET: randomBytes(32).toString('base64url'),
    MILLRACE_BOOTSTRAP_API_KEY: given.apiKey ?? makeApiKey(),
    DATABASE_PASSWORD: randomBytes(24).toString('base64url'),
  };
  await writeDurably(secretsFile(directory), `${JSON.stringify(secrets, undefined, 2)}\n`);
  return { secrets, made: true, tightened: false };
}

/** Complete and on disk before it gets its name: half a file would lock everyone out. */
async function writeDurably(file: string, text: string): Promise<void> {
  const draft = `${file}.new`;
  await rm(draft, { force: true });
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}

async function closeToOthers(file: string): Promise<boolean> {
  const { mode } = await stat(file);
  if ((mode & 0o077) === 0) return false;
  await chmod(file, 0o600);
  return true;
}
