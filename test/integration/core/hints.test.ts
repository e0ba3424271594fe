import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBullConsumer, createBullPublisher } from '../../../src/core/hints/bullmq.ts';
import { openRedis } from '../../../src/core/hints/redis.ts';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import { startRedisServer, type RedisServer } from '../../support/redis-server.ts';
import { waitFor } from '../../support/wait-for.ts';

describe('hints over Redis', () => {
  let server: RedisServer;
  let admin: Redis;
  beforeAll(async () => {
    server = await startRedisServer();
    admin = new Redis(server.url);
  });
  afterAll(async () => {
    admin.disconnect();
    await server.stop();
  });

  const options = (prefix: string) => ({
    url: server.url,
    prefix,
    highWater: 100,
    metrics: createMetrics(),
    onError: () => {},
  });

  test('a Redis that refuses writes is not healthy, and is again when it takes them', async () => {
    const link = openRedis(server.url, 'full', () => {});
    try {
      await waitFor(() => link.healthy(), { what: 'the link to be healthy' });
      await admin.config('SET', 'maxmemory', '1');
      await waitFor(() => !link.healthy(), { what: 'the link to be found unfit' });
      await admin.config('SET', 'maxmemory', '0');
      await waitFor(() => link.healthy(), { what: 'the link to be healthy again' });
    } finally {
      await admin.config('SET', 'maxmemory', '0');
      link.close();
    }
  });

  test('a publisher that closes has sent what it was given before', async () => {
    const publisher = createBullPublisher(options('closing'));
    await waitFor(() => publisher.healthy(), { what: 'the publisher to be healthy' });
    publisher.publish([{ executionId: 'a-1', dispatchNumber: 3 }]);
    await publisher.close();
    expect(await admin.lrange('closing:hints:wait', 0, -1)).toEqual(['a-1-3']);
  });

  test('a consumer that stops leaves no hint half taken', async () => {
    const publisher = createBullPublisher(options('stopping'));
    const consumer = createBullConsumer({ ...options('stopping'), concurrency: 2 });
    await waitFor(() => publisher.healthy() && consumer.healthy(), { what: 'both to be healthy' });
    const taken: string[] = [];
    const decided: string[] = [];
    await consumer.start(async (id) => {
      taken.push(id);
      await new Promise((resolve) => setTimeout(resolve, 100));
      decided.push(id);
    });
    publisher.publish(Array.from({ length: 10 }, (_, n) => ({ executionId: `e${n}`, dispatchNumber: 0 })));
    await waitFor(() => taken.length > 0, { what: 'a hint to be taken' });
    await consumer.stop();
    await publisher.close();
    expect(decided).toEqual(taken);
    expect(await admin.llen('stopping:hints:active')).toBe(0);
    expect(await admin.llen('stopping:hints:wait')).toBe(10 - taken.length);
  });
});
