import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { v5 } from 'uuid';
import { followSecrets } from './config/follow-secrets.ts';
import type { ConfigKeys, ConfigOf } from './config/key.ts';
import type { Environment } from './config/load.ts';
import type { commonKeys, databaseKeys } from './config/keys.ts';
import { openDatabase, type Database, type DatabaseRole } from './db/database.ts';
import { leaveDuty, takeDuty } from './db/duties.ts';
import { coerceError } from './errors/app-error.ts';
import type { Logger } from './logger.ts';

type ProcessKeys = ConfigKeys & Pick<typeof databaseKeys, 'DATABASE_URL'>;

export interface RestartOptions<K extends ProcessKeys> {
  readonly process: 'api' | 'worker';
  /** Tells it from others of its kind on this host; what is started in its place has the same one. */
  readonly port: number;
  readonly role: DatabaseRole;
  readonly keys: K;
  readonly env: Environment;
  /** What `keys` were in `env` when the process started. */
  readonly config: ConfigOf<Pick<typeof databaseKeys, 'DATABASE_URL'>> &
    ConfigOf<Pick<typeof commonKeys, 'SECRETS_CHECK_MS' | 'SHUTDOWN_GRACE_MS'>>;
  readonly logger: Logger;
  /** Becomes unready, and goes on serving. Undefined while it has not started: then there is nobody to take turns for. */
  readonly leave: () => (() => void) | undefined;
  /** Stops and exits, to be started again by whoever looks after it. */
  readonly end: () => void;
}

export interface Restarts {
  /** What new connections are opened with. */
  readonly databaseUrl: () => string;
  /** To be called once this process serves: it was its turn, perhaps, and now it is the next one's. */
  started(): Promise<void>;
  stop(): void;
}

/** How long a process serves on while it is ready no more, in multiples of the time between two looks at the files. */
const LEAVING = 2;
/** What is started in the place of a process that ended may take so long; then it is the next one's turn anyway. */
const START_MS = 60_000;

/**
 * Has this process started anew after one of its secrets' files has changed, one process of the installation after the
 * other: it is the turn of one until the process in its place serves.
 *
 * Until then new connections to PostgreSQL use the new user and password, as the old ones may be void by now.
 */
export function restartOnChangedSecrets<K extends ProcessKeys>(options: RestartOptions<K>): Restarts {
  const { logger } = options;
  const stopping = new AbortController();
  let databaseUrl = options.config.DATABASE_URL;
  let isUnderWay = false;
  const unfollow = followSecrets({
    keys: options.keys,
    env: options.env,
    everyMs: options.config.SECRETS_CHECK_MS,
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
    async started() {
      // Without files of secrets nobody takes turns, and no connection is opened for them.
      if (unfollow === undefined) return;
      try {
        await withTurns(options, databaseUrl, (db) => leaveDuty(db, turnOf(options), holderOf(options)));
      } catch (raw) {
        logger.warn({ err: coerceError(raw) }, 'the next process has to wait for its turn a little longer');
      }
    },
    stop() {
      unfollow?.();
      stopping.abort();
    },
  };
}

type Turns = Pick<RestartOptions<ProcessKeys>, 'process' | 'port' | 'role'>;

const turnOf = ({ process }: Turns): string => `restart ${process}`;

/** Of the names that {@link holderOf} makes ids of (RFC 9562, section 5.5). */
const HOLDERS = 'b9a7c5de-64f2-4b0e-9d3c-0f6d7a81e245';

/** The same for this process and for the one that is started in its place. */
const holderOf = ({ process, port }: Turns): string => v5(`${hostname()} ${process} ${port}`, HOLDERS);

async function withTurns<T>(turns: Turns, url: string, work: (db: Database) => Promise<T>): Promise<T> {
  const db = openDatabase({
    url,
    role: turns.role,
    name: `millrace ${turns.process} restart`,
    maxConnections: 1,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 10_000,
    onError: () => undefined,
  });
  try {
    return await work(db);
  } finally {
    await db.end();
  }
}

async function restart<K extends ProcessKeys>(
  options: RestartOptions<K>,
  databaseUrl: string,
  signal: AbortSignal,
): Promise<void> {
  const { logger, config } = options;
  const checkMs = config.SECRETS_CHECK_MS;
  const leavingMs = LEAVING * checkMs;
  const turnMs = leavingMs + config.SHUTDOWN_GRACE_MS + START_MS;
  if (options.leave() === undefined) return options.end();
  for (;;) {
    try {
      await withTurns(options, databaseUrl, async (db) => {
        while (!(await takeDuty(db, turnOf(options), holderOf(options), turnMs)))
          await delay(checkMs, undefined, { signal });
      });
      break;
    } catch (raw) {
      if (signal.aborted) throw raw;
      // With these secrets it would not come back.
      logger.error(
        { err: coerceError(raw) },
        'the changed DATABASE_URL does not work; this process goes on with the one before, and tries again',
      );
      await delay(checkMs, undefined, { signal });
    }
  }
  logger.info('this process leaves, to be started anew');
  options.leave()?.();
  await delay(leavingMs, undefined, { signal });
  options.end();
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
