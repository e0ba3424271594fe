import { Redis } from 'ioredis';
import { appError, coerceError } from '../errors/app-error.ts';
import type { Logger } from '../logger.ts';
import { createNewsFilter } from '../news.ts';

/** How long a command may take before Redis counts as gone. */
export const REDIS_COMMAND_TIMEOUT_MS = 1000;
const PROBE_EVERY_MS = 2000;
const PROBE_KEPT_MS = 60_000;

/** Logs why Redis fails: once a minute for each reason, as a connection is tried again all the time. */
export function logRedisFailures(logger: Logger): (error: Error) => void {
  const isNews = createNewsFilter();
  return (error) => {
    if (isNews(error.message)) logger.warn({ err: error }, 'Redis failed; it is tried again');
  };
}

export interface RedisLink {
  readonly connection: Redis;
  /** False while Redis is gone, hangs, or refuses writes. */
  healthy(): boolean;
  close(): void;
}

/**
 * A connection whose commands fail at once while Redis is down, instead of waiting for its return: nothing here may
 * hold up a webhook. A write every now and then finds out about a Redis that hangs, or that has no memory left: it would
 * answer a ping.
 *
 * @param prefix of the key that is written
 * @param onSocket told of the socket of each new connection
 */
export function openRedis(
  url: string,
  prefix: string,
  onError: (error: Error) => void,
  onSocket: (socket: unknown) => void = () => {},
): RedisLink {
  const connection = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: 2000,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2000),
  });
  let answered = false;
  connection.on('error', (error: unknown) => onError(coerceError(error)));
  connection.on('close', () => (answered = false));
  const probe = async (): Promise<void> => {
    try {
      await connection.set(`${prefix}:probe`, '1', 'PX', PROBE_KEPT_MS);
      answered = true;
    } catch {
      answered = false;
    }
  };
  connection.on('ready', () => {
    onSocket(connection.stream);
    void probe();
  });
  const timer = setInterval(() => void probe(), PROBE_EVERY_MS);
  timer.unref();
  return {
    connection,
    healthy: () => answered && connection.status === 'ready',
    close: () => {
      clearInterval(timer);
      connection.disconnect();
    },
  };
}

/**
 * Refuses a Redis that may throw hints away by itself (FAULTS R07). One that cannot be reached is no reason to refuse:
 * Millrace works without.
 *
 * @throws AppError `redis_unfit`
 */
export async function checkRedis(url: string): Promise<'ok' | 'unreachable'> {
  const connection = new Redis(url, {
    lazyConnect: true,
    connectTimeout: 2000,
    commandTimeout: 2000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  connection.on('error', () => {}); // the awaited calls below report it
  let policy: string | undefined;
  try {
    await connection.connect();
    policy = /^maxmemory_policy:(\S+)/m.exec(await connection.info('memory'))?.[1];
  } catch {
    return 'unreachable';
  } finally {
    connection.disconnect();
  }
  if (policy === undefined || policy === 'noeviction') return 'ok';
  throw appError('redis_unfit', {
    args: [
      `Redis has maxmemory-policy ${policy}, which may evict hints and keys of the queue; set it to noeviction`,
    ],
  });
}
