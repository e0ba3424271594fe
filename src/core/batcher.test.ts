import { describe, expect, test, vi } from 'vitest';
import { createBatcher } from './batcher.ts';

describe('createBatcher', () => {
  test('items that come while a flush is under way share the next one', async () => {
    const flushes: number[][] = [];
    const gates: (() => void)[] = [];
    const batcher = createBatcher<number, number>({
      maxItems: 10,
      flush: async (items) => {
        flushes.push([...items]);
        await new Promise<void>((resolve) => gates.push(resolve));
        return items.map((item) => item * 2);
      },
    });
    const first = batcher.add(1);
    await vi.waitFor(() => expect(gates).toHaveLength(1));
    const later = [batcher.add(2), batcher.add(3)];
    gates[0]!();
    expect(await first).toBe(2);
    await vi.waitFor(() => expect(gates).toHaveLength(2));
    gates[1]!();
    expect(await Promise.all(later)).toEqual([4, 6]);
    expect(flushes).toEqual([[1], [2, 3]]);
  });

  test('a flush holds no more items and no more weight than allowed, but at least one', async () => {
    const flushes: number[][] = [];
    const batcher = createBatcher<number, number>({
      maxItems: 3,
      maxWeight: 10,
      weigh: (item) => item,
      flush: async (items) => {
        flushes.push([...items]);
        return items;
      },
    });
    await Promise.all([50, 4, 4, 4, 1, 1, 1, 1].map((item) => batcher.add(item)));
    expect(flushes).toEqual([[50], [4, 4], [4, 1, 1], [1, 1]]);
  });

  test('a failed flush fails each of its items', async () => {
    const batcher = createBatcher<number, number>({
      maxItems: 5,
      flush: () => Promise.reject(new Error('gone')),
    });
    const results = await Promise.allSettled([batcher.add(1), batcher.add(2)]);
    expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected']);
    await batcher.idle();
  });

  test('an item that spoils a flush fails alone', async () => {
    const batcher = createBatcher<number, number>({
      maxItems: 5,
      isItemError: (error) => error.message === 'bad item',
      flush: async (items) => {
        if (items.includes(2)) throw new Error('bad item');
        return items;
      },
    });
    const results = await Promise.allSettled([1, 2, 3].map((item) => batcher.add(item)));
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  test('what no flush takes in time is given up, and what one has taken is not', async () => {
    const gates: (() => void)[] = [];
    const flushed: number[] = [];
    const batcher = createBatcher<number, number>({
      maxItems: 5,
      patience: { ms: 20, error: () => new Error('waited in vain') },
      flush: async (items) => {
        flushed.push(...items);
        await new Promise<void>((resolve) => gates.push(resolve));
        return items;
      },
    });
    const taken = batcher.add(1);
    await vi.waitFor(() => expect(gates).toHaveLength(1));
    await expect(batcher.add(2)).rejects.toThrow('waited in vain');
    await expect(batcher.add(3)).rejects.toThrow('waited in vain');
    gates[0]!();
    expect(await taken).toBe(1);
    const later = batcher.add(4);
    await vi.waitFor(() => expect(gates).toHaveLength(2));
    gates[1]!();
    expect(await later).toBe(4);
    expect(flushed).toEqual([1, 4]);
    await batcher.idle();
  });
});
