import { describe, expect, test } from 'vitest';
import { shareOut } from './dispatcher.ts';
import { createSlots } from './slots.ts';

describe('shareOut', () => {
  test('gives slots in turn, so that no tenant waits for another’s backlog', () => {
    expect(shareOut(5, ['a', 'b'], () => 10)).toEqual([
      { tenantId: 'a', limit: 3 },
      { tenantId: 'b', limit: 2 },
    ]);
  });

  test('gives what one tenant has no room for to the others', () => {
    expect(shareOut(6, ['a', 'b', 'c'], (tenant) => (tenant === 'a' ? 1 : 10))).toEqual([
      { tenantId: 'a', limit: 1 },
      { tenantId: 'b', limit: 3 },
      { tenantId: 'c', limit: 2 },
    ]);
  });

  test('gives nothing without tenants or slots', () => {
    expect(shareOut(4, [], () => 1)).toEqual([]);
    expect(shareOut(0, ['a'], () => 1)).toEqual([]);
  });
});

describe('createSlots', () => {
  test('a tenant alone has all slots', () => {
    const slots = createSlots(4);
    for (let i = 0; i < 4; i++) slots.take('a');
    expect(slots.free()).toBe(0);
    expect(slots.tenantsAtShare()).toEqual([]);
  });

  test('a tenant at its share has no room while another waits', () => {
    const slots = createSlots(4);
    slots.take('a');
    slots.take('a');
    expect(slots.room('a')).toBe(2);
    slots.setWaitingTenants(['a', 'b']);
    expect(slots.room('a')).toBe(0);
    expect(slots.room('b')).toBe(2);
    expect(slots.tenantsAtShare()).toEqual(['a']);
  });

  test('a released slot can be taken again', () => {
    const slots = createSlots(1);
    slots.take('a');
    slots.release('a');
    expect(slots.free()).toBe(1);
    expect(slots.active()).toBe(0);
  });
});
