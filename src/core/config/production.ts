import type { EncryptionKeys } from '../credentials/cipher.ts';
import { appError, type Problem } from '../errors/app-error.ts';
import type { FailpointPlan } from '../failpoints.ts';

interface Checked {
  readonly ENVIRONMENT: 'development' | 'production';
  readonly ENCRYPTION_KEY: EncryptionKeys;
  readonly JWT_SECRET?: string;
  readonly MILLRACE_FAILPOINTS: FailpointPlan;
  readonly PUBLIC_URL?: string | undefined;
  readonly PUBLIC_HOOKS_URL?: string | undefined;
}

/** Random 32 bytes have fewer different ones than this about once in 10^25 times. */
const LEAST_DIFFERENT_BYTES = 12;
const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]', '0.0.0.0', '[::]']);

/**
 * Refuses in production what is fine at a desk: secrets that somebody typed, public URLs that only this machine can
 * reach, and failpoints.
 *
 * @throws AppError `config_invalid` listing every problem, never a value
 */
export function checkProduction(config: Checked): void {
  if (config.ENVIRONMENT !== 'production') return;
  const problems: Problem[] = [];
  const { current, others = [] } = config.ENCRYPTION_KEY;
  if ([current, ...others].some((key) => new Set(key).size < LEAST_DIFFERENT_BYTES)) {
    problems.push(problem('ENCRYPTION_KEY', 'is not random', 'make one with `openssl rand -hex 32`'));
  }
  if (config.JWT_SECRET !== undefined && new Set(config.JWT_SECRET).size < LEAST_DIFFERENT_BYTES / 2) {
    problems.push(problem('JWT_SECRET', 'is not random', 'make one with `openssl rand -hex 32`'));
  }
  if (config.MILLRACE_FAILPOINTS.size > 0) {
    problems.push(
      problem('MILLRACE_FAILPOINTS', 'ends processes on purpose', 'leave it unset in production'),
    );
  }
  for (const key of ['PUBLIC_URL', 'PUBLIC_HOOKS_URL'] as const) {
    const url = config[key];
    if (url !== undefined && LOCAL_HOSTS.has(new URL(url).hostname)) {
      problems.push(problem(key, 'names this machine alone', 'set the address under which others reach it'));
    }
  }
  if ('JWT_SECRET' in config && config.PUBLIC_URL === undefined) {
    problems.push(
      problem('PUBLIC_URL', 'is required in production', 'set the address under which others reach it'),
    );
  }
  if (problems.length > 0) throw appError('config_invalid', { args: [problems.length], problems });
}

const problem = (path: string, message: string, fix: string): Problem => ({ path, message, fix });
