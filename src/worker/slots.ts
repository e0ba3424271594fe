/** How many executions a worker advances at once, and whose they are. */
export interface Slots {
  readonly capacity: number;
  free(): number;
  take(tenantId: string): void;
  release(tenantId: string): void;
  /**
   * The execution does nothing but wait for an answer from outside: its slot is free for others meanwhile.
   *
   * @param bytes what it holds in memory
   * @returns takes its slot again, at once, even if none is free; undefined when too much waits already, and it keeps it
   */
  standAside(tenantId: string, bytes: number): (() => void) | undefined;
  /** Tenants that run as much as their share, while others have due work. */
  tenantsAtShare(): readonly string[];
  /** How many more the tenant may take now. */
  readonly room: (tenantId: string) => number;
  /** Tenants that were seen to have due work at the last look; they count when slots are shared out. */
  setWaitingTenants(tenantIds: readonly string[]): void;
  active(): number;
  /** Executions that stand aside. */
  aside(): number;
}

export interface SlotsOptions {
  /** Of all executions that stand aside; what each holds counts as at least {@link LEAST_BYTES_ASIDE}. */
  readonly maxBytesAside?: number;
}

const DEFAULT_MAX_BYTES_ASIDE = 64 * 1024 * 1024;
/** An execution's own state, without what it carries. */
export const LEAST_BYTES_ASIDE = 16 * 1024;
/** A tenant alone leaves so much of the room aside to others, who may come. */
const LARGEST_SHARE_ASIDE = 0.75;
/** And so much of the slots, once its own stand aside by the dozen: they may all come back, or be followed by more. */
const RESERVED_FOR_OTHERS = 0.2;

/**
 * Slots are shared evenly between the tenants that run or wait; a tenant that is alone has them all, unless its
 * executions are slow. One noisy tenant thus never keeps another from starting for longer than one of its own executions
 * takes, and one slow service keeps nobody from starting.
 */
export function createSlots(capacity: number, options: SlotsOptions = {}): Slots {
  const maxBytesAside = options.maxBytesAside ?? DEFAULT_MAX_BYTES_ASIDE;
  const running = new Map<string, number>();
  const asideOf = new Map<string, { count: number; bytes: number }>();
  let waiting: readonly string[] = [];
  let active = 0;
  let bytesAside = 0;

  const share = (tenantId: string): number => {
    const competing = new Set([...running.keys(), ...waiting, tenantId]);
    if (competing.size > 1) return Math.max(1, Math.ceil(capacity / competing.size));
    const isSlow = (asideOf.get(tenantId)?.count ?? 0) >= capacity;
    return isSlow ? Math.max(1, Math.floor(capacity * (1 - RESERVED_FOR_OTHERS))) : capacity;
  };
  const room = (tenantId: string): number =>
    Math.max(0, Math.min(capacity - active, share(tenantId) - (running.get(tenantId) ?? 0)));
  const take = (tenantId: string): void => {
    active++;
    running.set(tenantId, (running.get(tenantId) ?? 0) + 1);
  };
  const release = (tenantId: string): void => {
    active--;
    const left = (running.get(tenantId) ?? 1) - 1;
    if (left === 0) running.delete(tenantId);
    else running.set(tenantId, left);
  };
  const putAside = (tenantId: string, count: number, bytes: number): void => {
    const own = asideOf.get(tenantId) ?? { count: 0, bytes: 0 };
    bytesAside += bytes;
    if (own.count + count === 0) asideOf.delete(tenantId);
    else asideOf.set(tenantId, { count: own.count + count, bytes: own.bytes + bytes });
  };

  return {
    capacity,
    free: () => Math.max(0, capacity - active),
    active: () => active,
    aside: () => [...asideOf.values()].reduce((sum, { count }) => sum + count, 0),
    take,
    release,
    standAside(tenantId, bytes) {
      const weight = Math.max(bytes, LEAST_BYTES_ASIDE);
      const own = (asideOf.get(tenantId)?.bytes ?? 0) + weight;
      if (bytesAside + weight > maxBytesAside || own > maxBytesAside * LARGEST_SHARE_ASIDE) return undefined;
      release(tenantId);
      putAside(tenantId, 1, weight);
      let isAside = true;
      return () => {
        if (!isAside) return;
        isAside = false;
        putAside(tenantId, -1, -weight);
        take(tenantId);
      };
    },
    room,
    tenantsAtShare: () =>
      running.size + waiting.length <= 1 && asideOf.size === 0
        ? []
        : [...running.keys()].filter((tenantId) => room(tenantId) === 0),
    setWaitingTenants(tenantIds) {
      waiting = tenantIds;
    },
  };
}
