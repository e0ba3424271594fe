/** How many executions a worker advances at once, and whose they are. */
export interface Slots {
  readonly capacity: number;
  free(): number;
  take(tenantId: string): void;
  release(tenantId: string): void;
  /** Tenants that run as much as their share, while others have due work. */
  tenantsAtShare(): readonly string[];
  /** How many more the tenant may take now. */
  readonly room: (tenantId: string) => number;
  /** Tenants that were seen to have due work at the last look; they count when slots are shared out. */
  setWaitingTenants(tenantIds: readonly string[]): void;
  active(): number;
}

/**
 * Slots are shared evenly between the tenants that run or wait; a tenant that is alone has them all. One noisy tenant
 * thus never keeps another from starting for longer than one of its own executions takes.
 */
export function createSlots(capacity: number): Slots {
  const running = new Map<string, number>();
  let waiting: readonly string[] = [];
  let active = 0;

  const share = (tenantId: string): number => {
    const competing = new Set([...running.keys(), ...waiting, tenantId]);
    return Math.max(1, Math.ceil(capacity / competing.size));
  };
  const room = (tenantId: string): number =>
    Math.max(0, Math.min(capacity - active, share(tenantId) - (running.get(tenantId) ?? 0)));

  return {
    capacity,
    free: () => capacity - active,
    active: () => active,
    take(tenantId) {
      active++;
      running.set(tenantId, (running.get(tenantId) ?? 0) + 1);
    },
    release(tenantId) {
      active--;
      const left = (running.get(tenantId) ?? 1) - 1;
      if (left === 0) running.delete(tenantId);
      else running.set(tenantId, left);
    },
    room,
    tenantsAtShare: () =>
      running.size + waiting.length <= 1
        ? []
        : [...running.keys()].filter((tenantId) => room(tenantId) === 0),
    setWaitingTenants(tenantIds) {
      waiting = tenantIds;
    },
  };
}
