import { createHash } from 'node:crypto';
import { expect, inject } from 'vitest';

export interface TestRedis {
  readonly url: string;
  /** A HINT_PREFIX that no other test uses. */
  readonly prefix: string;
}

/** The shared Redis, with a prefix made from the running test's file and name. Never flush it: others use it too. */
export function testRedis(): TestRedis {
  const { testPath, currentTestName } = expect.getState();
  const digest = createHash('sha256').update(`${testPath}\0${currentTestName}\0${process.pid}`).digest('hex');
  return { url: inject('redisUrl'), prefix: `t${digest.slice(0, 16)}` };
}
