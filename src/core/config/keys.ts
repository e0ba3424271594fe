import { z } from '../zod.ts';
import { parseEncryptionKeys, type EncryptionKeys } from '../credentials/cipher.ts';
import { parseFailpoints, type FailpointPlan } from '../failpoints.ts';
import { choiceKey, integerKey, parsedKey, textKey, type ConfigKey } from './key.ts';

/** `https://host[:port][/path]` without a trailing slash, or undefined. */
export const urlKey = (
  description: string,
  options: { readonly defaultText?: string },
): ConfigKey<string | undefined> =>
  parsedKey<string | undefined>(
    description,
    (text) => {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
        throw new Error('must be an http or https URL without query and fragment');
      }
      return text.replace(/\/+$/, '');
    },
    { ...options, optional: true },
  );

const connectionUrl = (schemes: readonly string[]) => (text: string) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !schemes.includes(url.protocol)) {
    throw new Error(`must be a URL that starts with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`);
  }
  return text;
};

/** A number of cores: 0.5 is half of one. */
export const cpusKey = (description: string, fallback: string): ConfigKey<number> =>
  parsedKey<number>(
    description,
    (text) => {
      const cpus = /^\d{1,3}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
      if (cpus < 0.1) throw new Error('must be a number of cores of at least 0.1, such as 1.5');
      return cpus;
    },
    { default: fallback },
  );

export const commonKeys = {
  ENVIRONMENT: choiceKey(
    '`production` refuses failpoints and localhost public URLs',
    ['development', 'production'],
    'development',
  ),
  LOG_LEVEL: choiceKey(
    'The least level that is logged',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
  ),
  LISTEN_HOST: textKey(z.string().default('0.0.0.0'), 'The address to listen on', {
    defaultText: '0.0.0.0 (`millrace dev`: 127.0.0.1)',
  }),
  SHUTDOWN_GRACE_MS: integerKey('How long a stopping process waits for work in flight', {
    default: 25_000,
    min: 0,
    max: 3_600_000,
  }),
  SECRETS_CHECK_MS: integerKey(
    'How often the files of `<NAME>_FILE` are looked at: when one has changed, processes start anew one after the other. 0: never',
    { default: 10_000, min: 0, max: 3_600_000 },
  ),
  MILLRACE_FAILPOINTS: parsedKey<FailpointPlan>(
    'For tests of what survives a crash: places, with @n for their n-th passage, where the process kills itself',
    parseFailpoints,
    { default: '', defaultText: 'none' },
  ),
} as const;

export const databaseKeys = {
  DATABASE_URL: parsedKey<string>(
    'The PostgreSQL (15 or newer) that holds everything, as postgres://user:password@host:port/database',
    connectionUrl(['postgres:', 'postgresql:']),
    { secret: true },
  ),
  DB_MAX_OPEN_CONNS: integerKey('Connections a process opens to PostgreSQL at most', {
    default: 25,
    min: 5,
    max: 1000,
  }),
  DB_QUERY_TIMEOUT_MS: integerKey(
    'After this long without an answer a connection to PostgreSQL is given up; a commit that was under way then counts as unknown',
    { default: 10_000, min: 500, max: 120_000 },
  ),
} as const;

export const redisKeys = {
  REDIS_URL: parsedKey<string | undefined>(
    'The Redis that carries hints, as redis://host:port; without it workers find work by polling PostgreSQL',
    connectionUrl(['redis:', 'rediss:']),
    { secret: true, optional: true },
  ),
  HINT_PREFIX: textKey(
    z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and hyphens')
      .default('millrace'),
    'Prefix of the keys in Redis, for several installations on one Redis',
    { defaultText: 'millrace' },
  ),
  HINT_HIGH_WATER: integerKey('Hints kept in Redis at most; further executions wait in PostgreSQL', {
    default: 10_000,
    min: 1,
    max: 1_000_000,
  }),
} as const;

/** Seconds limits that the API checks at save and the worker enforces. */
export const limitKeys = {
  MAX_WORKFLOW_EXECUTION_TIME: integerKey(
    'Seconds that an execution may run (waiting does not count): the default of `timeout`, and its maximum',
    { default: 3600, min: 1, max: 2_592_000 },
  ),
  WORKFLOW_TIMEOUT: integerKey('Seconds that one attempt of a step may take by default', {
    default: 300,
    min: 1,
    max: 86_400,
  }),
} as const;

const MIB = 1_048_576;

/** What the `resources` of a step may ask for: checked at save, and again where sandboxes are started. */
export const sandboxLimitKeys = {
  SANDBOX_MAX_MEMORY_BYTES: integerKey('The most memory that `resources` of a step may ask for', {
    default: 1024 * MIB,
    min: 64 * MIB,
    max: 1024 * 1024 * MIB,
  }),
  SANDBOX_MAX_CPUS: cpusKey('The most cores that `resources` of a step may ask for', '2'),
} as const;

export const secretKeys = {
  ENCRYPTION_KEY: parsedKey<Required<EncryptionKeys>>(
    'Seals credentials at rest: 32 bytes as 64 hex digits or base64; make one with `openssl rand -hex 32`. While keys are rotated, several with commas between them: the first seals, all open',
    parseEncryptionKeys,
    { secret: true },
  ),
} as const;
