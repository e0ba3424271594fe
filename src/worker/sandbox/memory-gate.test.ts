import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createMemoryGate, type MemoryGate, type Release } from './memory-gate.ts';

const enter = (
  gate: MemoryGate,
  bytes: number,
  { tenantId = 'a', timeoutMs = 60_000, signal = new AbortController().signal } = {},
): Promise<Release> =>
  gate.enter({ tenantId, bytes, signal, timeoutMs, timeoutError: () => new Error('too late') });

/** Notes in which order those that wait get in. */
const orderOf = (): {
  readonly order: string[];
  readonly note: (name: string, entry: Promise<Release>) => void;
} => {
  const order: string[] = [];
  return { order, note: (name, entry) => void entry.then(() => order.push(name)) };
};
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('lets in what fits, and the next one when memory is given back', async () => {
  const gate = createMemoryGate(10);
  const first = await enter(gate, 6);
  const { order, note } = orderOf();
  note('second', enter(gate, 6));
  await settle();
  expect(order).toEqual([]);
  first();
  first(); // a second time changes nothing
  await settle();
  expect(order).toEqual(['second']);
  note('third', enter(gate, 6));
  await settle();
  expect(order).toEqual(['second']);
});

test('lets nobody past one who waits for much, and takes turns between tenants', async () => {
  const gate = createMemoryGate(10);
  const held = await enter(gate, 8);
  const { order, note } = orderOf();
  note('a1', enter(gate, 10));
  note('a2', enter(gate, 1));
  note('b1', enter(gate, 1, { tenantId: 'b' }));
  await settle();
  expect(order).toEqual([]);
  held();
  await settle();
  expect(order).toEqual(['a1']);
});

test('serves another tenant before the same one again', async () => {
  const gate = createMemoryGate(1);
  const held = await enter(gate, 1);
  const order: string[] = [];
  for (const [name, tenantId] of [
    ['a1', 'a'],
    ['a2', 'a'],
    ['b1', 'b'],
  ] as const) {
    void enter(gate, 1, { tenantId }).then((release) => {
      order.push(name);
      setImmediate(release);
    });
  }
  held();
  for (let i = 0; i < 10; i++) await settle();
  expect(order).toEqual(['a1', 'b1', 'a2']);
});

test('forgets who gave up, and lets in who waited behind', async () => {
  const gate = createMemoryGate(10);
  const held = await enter(gate, 8);
  const { order, note } = orderOf();
  const stop = new AbortController();
  const large = enter(gate, 10, { signal: stop.signal });
  note('small', enter(gate, 2));
  stop.abort(new Error('no longer wanted'));
  await expect(large).rejects.toThrow('no longer wanted');
  await settle();
  expect(order).toEqual(['small']);
  await expect(enter(gate, 10, { timeoutMs: 1 })).rejects.toThrow('too late');
  await expect(enter(gate, 1, { signal: stop.signal })).rejects.toThrow('no longer wanted');
  held();
});

test('never gives more than there is, and in the end all of it is there again', async () => {
  const request = fc.record({
    bytes: fc.integer({ min: 1, max: 10 }),
    tenantId: fc.constantFrom('a', 'b', 'c'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 30 }), async (requests) => {
      const gate = createMemoryGate(10);
      let used = 0;
      await Promise.all(
        requests.map(async ({ bytes, tenantId }) => {
          const release = await enter(gate, bytes, { tenantId });
          used += bytes;
          expect(used).toBeLessThanOrEqual(10);
          await settle();
          used -= bytes;
          release();
        }),
      );
      expect(used).toBe(0);
      (await enter(gate, 10))();
    }),
    { numRuns: 50 },
  );
});
