import { Redis } from 'ioredis';
import type { Actor } from './stage.ts';

/** The ids of all hints that wait in a Redis, under any prefix: a stage has but one. */
export async function hintsIn(url: string): Promise<readonly string[]> {
  const redis = new Redis(url);
  const ids: string[] = [];
  for (const key of await redis.keys('*:hints:wait')) ids.push(...(await redis.lrange(key, 0, -1)));
  redis.disconnect();
  return ids;
}

/** What a hint tells of. */
export const executionOfHint = (id: string): string => id.slice(0, id.lastIndexOf('-'));

/** Hints pile up while nobody takes them: workers stand still until `work` is done, which has to be well within a lease. */
export async function whileStopped<T>(workers: readonly Actor[], work: () => Promise<T>): Promise<T> {
  for (const worker of workers) worker.process.signal('SIGSTOP');
  try {
    return await work();
  } finally {
    for (const worker of workers) worker.process.signal('SIGCONT');
  }
}
