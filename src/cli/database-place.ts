import { coerceError, errorCodeOf } from '../core/errors/app-error.ts';
import { CliError } from './cli-error.ts';

/** Host, port and database of a DATABASE_URL, without the password. */
export function databasePlace(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  return `${url.hostname || url.searchParams.get('host') || 'localhost'}:${url.port || '5432'}${url.pathname}`;
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'ENOENT',
]);

/** A connection that fails, or is refused by PostgreSQL (classes 08, 28 and 3D), is the caller's to mend: no stack. */
export function unreachableDatabase(place: string, raw: unknown): unknown {
  const code = errorCodeOf(raw) ?? '';
  if (!UNREACHABLE.has(code) && !/^(08|28|3D)...$/.test(code)) return raw;
  const reason = coerceError(raw).message || code;
  return new CliError(
    `PostgreSQL at ${place} cannot be used: ${reason}. Check DATABASE_URL and that the server runs.`,
    { cause: raw },
  );
}
