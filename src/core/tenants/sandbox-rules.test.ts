import { expect, test } from 'vitest';
import type { Queryable } from '../db/database.ts';
import { createSandboxRules } from './sandbox-rules.ts';

/** A database with one tenant, whose `isolation` can be set, and a clock. */
function setUp() {
  const world = { nowMs: 0, isolation: null as 'execution' | null, queries: 0 };
  const db = {
    query: async () => {
      world.queries++;
      return { rows: [{ isolation: world.isolation, memory: null, cpus: 0.5 }] };
    },
  } as unknown as Queryable; // all that is asked of it
  return { world, read: createSandboxRules(db, { now: () => world.nowMs }) };
}

test('the rules of a tenant are read at most once in a while, and a change is seen within 5 s', async () => {
  const { world, read } = setUp();
  expect(await read('t')).toEqual({ isSingleUse: false, maxMemoryBytes: undefined, maxCpus: 0.5 });
  world.isolation = 'execution';
  world.nowMs = 1000;
  await read('t');
  expect(world.queries).toBe(1);
  world.nowMs = 5000;
  expect(await read('t')).toMatchObject({ isSingleUse: true });
});
