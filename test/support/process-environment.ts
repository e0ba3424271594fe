import { randomBytes } from 'node:crypto';
import { API_KEY } from './platform.ts';

/** What every process of a platform under test has besides its databases: secrets and a queue of that platform's own. */
export const processEnvironment = (): Readonly<Record<string, string>> => ({
  HINT_PREFIX: `test-${randomBytes(6).toString('hex')}`,
  ENCRYPTION_KEY: randomBytes(32).toString('hex'),
  JWT_SECRET: randomBytes(32).toString('hex'),
  MILLRACE_BOOTSTRAP_API_KEY: API_KEY,
  LISTEN_HOST: '127.0.0.1',
  DB_MAX_OPEN_CONNS: '10',
});
