import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { FaultGroup } from '../harness/row.ts';
import { absentRows } from './redis-absent.ts';
import { memoryRows } from './redis-memory.ts';

/** Redis carries hints only: whatever happens to it costs time, never work. */
export const redisGroup: FaultGroup = {
  name: 'Redis',
  stage: { workers: 2 },
  rows: [
    {
      id: 'R01',
      fault: 'Redis FLUSHALL',
      during: '202 throughout',
      after: 'queued executions start within 16 s',
      closedBy: 'the dispatcher finds queued rows in PostgreSQL; hints are only hints',
      async run({ stage, load }) {
        const redis = new Redis(stage.redis.url);
        let keysBefore = 0;
        const span = await load.during(async () => {
          for (let n = 0; n < 5; n++) {
            keysBefore = Math.max(keysBefore, await redis.dbsize());
            await redis.flushall();
            await delay(500);
          }
        });
        redis.disconnect();
        assert.deepEqual(Object.keys(span.answers), ['202']);
        assert.ok(keysBefore > 0, 'Redis held nothing that could be flushed');
        return [`${keysBefore} keys flushed, 5 times`, `${span.answers['202']} × 202`];
      },
    },
    {
      id: 'R02',
      fault: 'Redis SIGKILL and restart',
      during: '202, accept p99 < 1 s',
      after: 'the checker holds',
      closedBy: 'commands to Redis are never waited for; workers poll PostgreSQL while it is gone',
      async run({ stage, load }) {
        const { pid } = stage.redis;
        const span = await load.during(async () => {
          await stage.redis.kill();
          await delay(5000);
        });
        assert.deepEqual(Object.keys(span.answers), ['202']);
        assert.ok(span.p99Ms < 1000, `accept p99 was ${span.p99Ms} ms`);
        await stage.replaceRedis();
        assert.notEqual(stage.redis.pid, pid);
        return [
          `redis-server ${pid} killed, gone for 5 s`,
          `${span.answers['202']} × 202, p99 ${span.p99Ms.toFixed(0)} ms`,
        ];
      },
    },
    ...memoryRows,
    ...absentRows,
  ],
};
