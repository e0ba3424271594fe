import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from './db/database.ts';
import { checkDatabase, checkSchema } from './db/migrate.ts';
import { SQLSTATE } from './db/sqlstate.ts';
import { AppError, appError, coerceError, errorCodeOf, type Problem } from './errors/app-error.ts';
import { EXIT_CONFIG } from './lifecycle.ts';
import type { Logger } from './logger.ts';
import { createNewsFilter } from './news.ts';

/**
 * Everything that has to hold before a process serves.
 *
 * @throws AppError `database_unfit`, `schema_behind`, `schema_mismatch`; connection errors as they come
 */
export async function checkStorage(db: Database): Promise<void> {
  await checkDatabase(db);
  await checkSchema(db);
}

export interface StorageWait {
  /** What is waited for, undefined once the database is fit. Only an `AppError` is for everybody's eyes. */
  reason(): Error | undefined;
  /** Resolves once the database is fit. @throws as {@link checkStorage} does for what waiting cannot mend */
  wait(): Promise<void>;
}

export interface StorageWaitOptions {
  readonly db: Database;
  readonly logger: Logger;
  /** Gives up the wait. Without it nothing is waited for: what is not fit at once is an error. */
  readonly signal: AbortSignal | undefined;
  readonly retryMs?: number;
  /** How often the log says again what is waited for. */
  readonly sayAgainMs?: number;
}

const RETRY_MS = 2000;

/**
 * Waits for a database that is not there yet, or not migrated yet: in a cluster everything starts at once, and a process
 * that ends would be started again, each time after a longer pause.
 */
export function createStorageWait(options: StorageWaitOptions): StorageWait {
  const { db, logger, signal, retryMs = RETRY_MS, sayAgainMs } = options;
  let reason: Error | undefined = new Error('the database has not answered yet');
  const wait = async (): Promise<void> => {
    const isNews = createNewsFilter(sayAgainMs);
    let hasWaited = false;
    for (;;) {
      try {
        await checkStorage(db);
        if (hasWaited) logger.info('the database is fit; going on');
        reason = undefined;
        return;
      } catch (raw) {
        const error = coerceError(raw);
        if (signal === undefined || isFinal(error)) throw error;
        reason = describeWait(error);
        hasWaited = true;
        if (isNews(reason.message)) {
          logger.warn({ reason: reason.message }, 'waiting for the database; not ready until then');
        }
      }
      await delay(retryMs, undefined, { signal });
    }
  };
  return { reason: () => reason, wait };
}

/** What only somebody who changes the server or the release can mend. */
const isFinal = (error: Error): boolean => error instanceof AppError && error.code !== 'schema_behind';

/** A database without our roles or grants is one that no migration, or not the last one, has been run on. */
const NOT_MIGRATED: ReadonlySet<string | undefined> = new Set([
  SQLSTATE.undefinedObject,
  SQLSTATE.invalidParameterValue,
  SQLSTATE.insufficientPrivilege,
]);

function describeWait(error: Error): Error {
  if (error instanceof AppError) return error;
  if (NOT_MIGRATED.has(errorCodeOf(error))) {
    return appError('schema_behind', {
      args: [`The database has not been migrated (${error.message}); run \`millrace migrate\``],
    });
  }
  // Servers and sockets name the user, host and database, never the password.
  return new Error(
    `The database of DATABASE_URL cannot be used (${error.message}); check the URL, the server and the network between`,
    { cause: error },
  );
}

const CONFIGURATION_CODES: ReadonlySet<string> = new Set([
  'config_invalid',
  'database_unfit',
  'schema_behind',
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
