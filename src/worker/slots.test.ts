import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSlots, LEAST_BYTES_ASIDE } from './slots.ts';

const takeAll = (slots: ReturnType<typeof createSlots>, tenantId: string): number => {
  let taken = 0;
  for (; slots.room(tenantId) > 0; taken++) slots.take(tenantId);
  return taken;
};

describe('sharing', () => {
  test('a tenant alone has all slots', () => {
    expect(takeAll(createSlots(10), 'a')).toBe(10);
  });

  test('tenants that wait count as much as those that run', () => {
    const slots = createSlots(10);
    slots.setWaitingTenants(['a', 'b']);
    expect(takeAll(slots, 'a')).toBe(5);
    expect(slots.tenantsAtShare()).toEqual(['a']);
    expect(takeAll(slots, 'b')).toBe(5);
  });

  test('everybody has one at least', () => {
    const slots = createSlots(2);
    slots.setWaitingTenants(['a', 'b', 'c', 'd']);
    expect(takeAll(slots, 'c')).toBe(1);
  });
});

describe('standing aside', () => {
  test('frees the slot, and coming back takes one even if none is free', () => {
    const slots = createSlots(1);
    slots.take('a');
    const comeBack = slots.standAside('a', 100)!;
    expect([slots.free(), slots.active(), slots.aside()]).toEqual([1, 0, 1]);
    slots.take('b');
    comeBack();
    comeBack(); // once is once
    expect([slots.free(), slots.active(), slots.aside()]).toEqual([0, 2, 0]);
    slots.release('a');
    expect(slots.active()).toBe(1);
  });

  test('a tenant whose executions are slow leaves slots to others, and fills no more than its part of the memory', () => {
    const slots = createSlots(10, { maxBytesAside: 100 * LEAST_BYTES_ASIDE });
    let aside = 0;
    for (;;) {
      if (slots.room('slow') === 0) break;
      slots.take('slow');
      if (slots.standAside('slow', 0) !== undefined) aside++;
    }
    expect(aside).toBe(75);
    expect(slots.active()).toBe(8);
    expect(slots.tenantsAtShare()).toEqual(['slow']);
    expect(slots.room('other')).toBe(2);
    slots.take('other');
    expect(slots.standAside('other', 0)).toBeDefined();
  });

  test('what holds much memory keeps its slot', () => {
    const slots = createSlots(10, { maxBytesAside: 1_000_000 });
    slots.take('a');
    expect(slots.standAside('a', 800_000)).toBeUndefined();
    expect(slots.active()).toBe(1);
  });
});

test('however executions come, wait and go, nothing is counted that is not there', () => {
  const event = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(3));
  fc.assert(fc.property(fc.array(event, { maxLength: 200 }), follow));
});

/** 0 starts an execution, 1 ends one, 2 sends one aside, 3 has the longest absent come back. */
function follow(events: readonly (readonly [tenantId: string, what: number])[]): void {
  const slots = createSlots(4, { maxBytesAside: 20 * LEAST_BYTES_ASIDE });
  const busy: string[] = [];
  const away: { readonly tenantId: string; readonly comeBack: () => void }[] = [];
  for (const [tenantId, what] of events) {
    const index = busy.indexOf(tenantId);
    if (what === 0 && slots.room(tenantId) > 0) {
      slots.take(tenantId);
      busy.push(tenantId);
    } else if (what === 1 && index >= 0) {
      slots.release(tenantId);
      busy.splice(index, 1);
    } else if (what === 2 && index >= 0) {
      const comeBack = slots.standAside(tenantId, 0);
      if (comeBack === undefined) continue;
      busy.splice(index, 1);
      away.push({ tenantId, comeBack });
    } else if (what === 3) {
      const back = away.shift();
      if (back === undefined) continue;
      back.comeBack();
      busy.push(back.tenantId);
    }
    expect(slots.active()).toBe(busy.length);
    expect(slots.aside()).toBe(away.length);
    expect(slots.free()).toBe(Math.max(0, 4 - busy.length));
  }
}
