import type { Database } from './db/database.ts';
import { checkDatabase, checkSchema } from './db/migrate.ts';
import { AppError, type Problem } from './errors/app-error.ts';
import { EXIT_CONFIG } from './lifecycle.ts';

/**
 * Everything that has to hold before a process serves.
 *
 * @throws AppError `database_unfit`, `schema_mismatch`; connection errors as they come
 */
export async function checkStorage(db: Database): Promise<void> {
  await checkDatabase(db);
  await checkSchema(db);
}

const CONFIGURATION_CODES: ReadonlySet<string> = new Set([
  'config_invalid',
  'database_unfit',
  'schema_mismatch',
  'redis_unfit',
]);

/** Why a process cannot start, for people, and the status to exit with: 78 when it is the configuration's fault. */
export function describeStartFailure(error: Error): { readonly text: string; readonly exitCode: number } {
  if (!(error instanceof AppError)) return { text: `millrace cannot start: ${error.message}`, exitCode: 1 };
  return {
    text: [`millrace cannot start: ${error.message}`, ...error.problems.map(describeProblem)].join('\n'),
    exitCode: CONFIGURATION_CODES.has(error.code) ? EXIT_CONFIG : 1,
  };
}

const describeProblem = ({ path, message, fix }: Problem): string => `  ${path}: ${message}\n    ${fix}`;
