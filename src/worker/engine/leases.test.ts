import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Queryable } from '../../core/db/database.ts';
import { createLeaseKeeper, type LeaseKeeper } from './leases.ts';

const LEASE_MS = 8000;
const HEARTBEAT_MS = 1000;
const MARGIN_MS = LEASE_MS / 4;

/** A database that answers heartbeats as the test says. */
function fakeDatabase() {
  const state = { held: new Set<string>(), cancelled: new Set<string>(), hangs: false, asked: 0 };
  const query = async ({ values }: { values: [string[]] }) => {
    state.asked++;
    if (state.hangs) return new Promise(() => {});
    return {
      rows: values[0]
        .filter((id) => state.held.has(id))
        .map((id) => ({ id, cancelled: state.cancelled.has(id) })),
    };
  };
  return { state, db: { query } as unknown as Queryable }; // the keeper uses nothing else
}

describe('createLeaseKeeper', () => {
  let fake: ReturnType<typeof fakeDatabase>;
  let keeper: LeaseKeeper;
  const lost = vi.fn<(id: string) => void>();
  const cancelled = vi.fn<(id: string) => void>();
  const hold = (id: string) => {
    fake.state.held.add(id);
    keeper.hold(
      {
        executionId: id,
        leaseId: `lease-${id}`,
        onLost: () => lost(id),
        onCancelRequested: () => cancelled(id),
      },
      keeper.monotonicMs(),
    );
  };

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    lost.mockClear();
    cancelled.mockClear();
    fake = fakeDatabase();
    keeper = createLeaseKeeper({
      db: fake.db,
      leaseMs: LEASE_MS,
      heartbeatMs: HEARTBEAT_MS,
      cancelCheckMs: 410,
      onError: () => {},
      onLost: () => {},
    });
    keeper.start();
  });
  afterEach(() => {
    keeper.stop();
    vi.useRealTimers();
  });

  test('keeps leases that are extended in time', async () => {
    hold('a');
    await vi.advanceTimersByTimeAsync(10 * LEASE_MS);
    expect(lost).not.toHaveBeenCalled();
  });

  test('gives up a lease that the database says is another’s', async () => {
    hold('a');
    hold('b');
    fake.state.held.delete('a');
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS + 1);
    expect(lost.mock.calls).toEqual([['a']]);
  });

  test('gives up every lease before it ends when the database cannot be reached', async () => {
    hold('a');
    fake.state.hangs = true;
    await vi.advanceTimersByTimeAsync(LEASE_MS - 1);
    expect(lost.mock.calls).toEqual([['a']]);
  });

  test('leaves what runs the better part of the margin to stop in', async () => {
    await vi.advanceTimersByTimeAsync(350); // between two questions
    hold('a');
    fake.state.hangs = true;
    await vi.advanceTimersByTimeAsync(LEASE_MS - 0.9 * MARGIN_MS);
    expect(lost).toHaveBeenCalledOnce();
  });

  test('passes on that a cancellation was asked for', async () => {
    hold('a');
    fake.state.cancelled.add('a');
    await vi.advanceTimersByTimeAsync(411);
    expect(cancelled).toHaveBeenCalledWith('a');
    expect(lost).not.toHaveBeenCalled();
  });

  test('says for how long the oldest has been held', async () => {
    expect(keeper.oldestAgeMs()).toBe(0);
    hold('a');
    await vi.advanceTimersByTimeAsync(2 * LEASE_MS);
    hold('b');
    expect(keeper.oldestAgeMs()).toBe(2 * LEASE_MS);
    keeper.letGo('a');
    await vi.advanceTimersByTimeAsync(7);
    expect(keeper.oldestAgeMs()).toBe(7);
  });

  test('asks nothing while nothing runs, and forgets what was let go', async () => {
    hold('a');
    keeper.letGo('a');
    fake.state.held.delete('a');
    await vi.advanceTimersByTimeAsync(5 * HEARTBEAT_MS);
    expect(fake.state.asked).toBe(0);
    expect(lost).not.toHaveBeenCalled();
  });
});
