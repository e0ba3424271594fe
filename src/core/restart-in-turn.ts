import { setTimeout as delay } from 'node:timers/promises';
import { followSecrets } from './config/follow-secrets.ts';
import type { ConfigKeys } from './config/key.ts';
import type { Environment } from './config/load.ts';
import type { databaseKeys } from './config/keys.ts';
import { openDatabase, type DatabaseRole } from './db/database.ts';
import { coerceError } from './errors/app-error.ts';
import type { Logger } from './logger.ts';

type ProcessKeys = ConfigKeys & Pick<typeof databaseKeys, 'DATABASE_URL'>;

export interface RestartOptions<K extends ProcessKeys> {
  readonly process: 'api' | 'worker';
  readonly role: DatabaseRole;
  readonly keys: K;
  readonly env: Environment;
  readonly databaseUrl: string;
  /** SECRETS_CHECK_MS. */
  readonly checkMs: number;
  readonly logger: Logger;
  /** Becomes unready, and goes on serving. Undefined while it has not started: then there is nobody to take turns for. */
  readonly leave: () => (() => void) | undefined;
  /** Stops and exits, to be started again by whoever looks after it. */
  readonly end: () => void;
}

export interface Restarts {
  /** What new connections are opened with. */
  readonly databaseUrl: () => string;
  stop(): void;
}

/** In multiples of the time between two looks at the files. */
const SETTLE = 2;

/**
 * Has this process started anew after one of its secrets' files has changed, one process of the installation after the
 * other. Whose turn it is, is a lock in PostgreSQL that ends with its holder; a little later the next one begins, when
 * the one before is ready again.
 *
 * Until then new connections to PostgreSQL use the new user and password, as the old ones may be void by now.
 */
export function restartOnChangedSecrets<K extends ProcessKeys>(options: RestartOptions<K>): Restarts {
  const { logger, checkMs } = options;
  const stopping = new AbortController();
  let databaseUrl = options.databaseUrl;
  let isUnderWay = false;
  const unfollow = followSecrets({
    keys: options.keys,
    env: options.env,
    everyMs: checkMs,
    onChange({ names, config }) {
      const next = (config as { readonly DATABASE_URL: string }).DATABASE_URL; // ProcessKeys has it
      if (isSameDatabase(databaseUrl, next)) databaseUrl = next;
      if (isUnderWay) return;
      isUnderWay = true;
      logger.info(
        { changed: names },
        'secrets have changed; this process is started anew when it is its turn',
      );
      restart(options, next, stopping.signal).catch((raw: unknown) => {
        if (!stopping.signal.aborted) logger.error({ err: coerceError(raw) }, 'the new start failed');
        isUnderWay = false;
      });
    },
    onError: (error) =>
      logger.error({ err: error }, 'a secret was changed to what cannot be used; the one before goes on'),
  });
  return {
    databaseUrl: () => databaseUrl,
    stop() {
      unfollow();
      stopping.abort();
    },
  };
}

async function restart<K extends ProcessKeys>(
  options: RestartOptions<K>,
  databaseUrl: string,
  signal: AbortSignal,
): Promise<void> {
  const { logger, checkMs } = options;
  const settle = (): Promise<void> => delay(SETTLE * checkMs, undefined, { signal });
  if (options.leave() === undefined) return options.end();
  const db = openDatabase({
    url: databaseUrl,
    role: options.role,
    name: `millrace ${options.process} restart`,
    maxConnections: 1,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 10_000,
    onError: () => undefined,
  });
  for (;;) {
    try {
      await db.withConnection(async (client) => {
        const isMine = async (): Promise<boolean> => {
          const { rows } = await client.query<{ taken: boolean }>(
            'select pg_try_advisory_lock(hashtextextended($1, 0)) as taken',
            [`millrace restart ${options.process}`],
          );
          return rows[0]?.taken === true;
        };
        while (!(await isMine())) await delay(checkMs, undefined, { signal });
        await settle();
        logger.info('this process leaves, to be started anew');
        options.leave()?.();
        await settle();
      });
      return options.end();
    } catch (raw) {
      if (signal.aborted) throw raw;
      // With these secrets it would not come back.
      logger.error(
        { err: coerceError(raw) },
        'the changed DATABASE_URL does not work; this process goes on with the one before, and tries again',
      );
      await settle();
    }
  }
}

/** Whether only user and password differ: what is written through either is in one place. */
function isSameDatabase(one: string, other: string): boolean {
  const placeOf = (text: string): string => {
    const url = new URL(text);
    url.username = '';
    url.password = '';
    return url.href;
  };
  return placeOf(one) === placeOf(other);
}
