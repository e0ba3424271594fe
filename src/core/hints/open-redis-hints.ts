import type { ConfigOf } from '../config/key.ts';
import type { redisKeys } from '../config/keys.ts';
import type { Logger } from '../logger.ts';
import type { BullHintsOptions } from './bullmq.ts';
import type { HintConsumer, HintPublisher } from './types.ts';

export interface RedisHints {
  readonly publisher: HintPublisher;
  /** Takes so many hints at a time. */
  readonly createConsumer: (concurrency: number) => HintConsumer;
}

/**
 * What carries hints through the Redis of REDIS_URL; undefined without one. A Redis that cannot be reached is only logged:
 * Millrace works without, and it may come back.
 *
 * BullMQ and ioredis are loaded here and not before: they are a quarter of all modules, and most of those who start one
 * process on their desk have no Redis.
 *
 * @throws AppError `redis_unfit` for a Redis that may throw hints away by itself
 */
export async function openRedisHints(
  config: ConfigOf<typeof redisKeys>,
  deps: Pick<BullHintsOptions, 'metrics' | 'tracing'> & { readonly logger: Logger },
): Promise<RedisHints | undefined> {
  const { REDIS_URL: url, HINT_PREFIX: prefix, HINT_HIGH_WATER: highWater } = config;
  if (url === undefined) return undefined;
  const [{ createBullConsumer, createBullPublisher }, { checkRedis, logRedisFailures }] = await Promise.all([
    import('./bullmq.ts'),
    import('./redis.ts'),
  ]);
  const { logger, metrics, tracing } = deps;
  if ((await checkRedis(url)) === 'unreachable') {
    logger.warn('Redis cannot be reached; workers find work by polling PostgreSQL until it can');
  }
  const options = { url, prefix, highWater, metrics, tracing, onError: logRedisFailures(logger) };
  return {
    publisher: createBullPublisher(options),
    createConsumer: (concurrency) => createBullConsumer({ ...options, concurrency }),
  };
}
