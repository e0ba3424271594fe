/** What waits, first come first served within a tenant, and in turns between tenants. */
export interface FairQueue<T> {
  readonly size: number;
  add(tenantId: string, item: T): void;
  /** Takes it out; the tenant's turn is over when it was served. */
  remove(tenantId: string, item: T, wasServed: boolean): void;
  /** The first of each tenant, then the second of each, and so on; a copy. */
  inOrder(): T[];
}

export function createFairQueue<T>(): FairQueue<T> {
  /** In the order of turns. */
  const tenants = new Map<string, T[]>();
  let size = 0;
  return {
    get size() {
      return size;
    },
    add(tenantId, item) {
      const items = tenants.get(tenantId);
      if (items === undefined) tenants.set(tenantId, [item]);
      else items.push(item);
      size++;
    },
    remove(tenantId, item, wasServed) {
      const items = tenants.get(tenantId);
      const at = items?.indexOf(item) ?? -1;
      if (items === undefined || at < 0) return;
      items.splice(at, 1);
      size--;
      if (items.length === 0 || wasServed) tenants.delete(tenantId);
      if (items.length > 0 && wasServed) tenants.set(tenantId, items);
    },
    inOrder() {
      const lists = [...tenants.values()];
      const ordered: T[] = [];
      for (let round = 0; ordered.length < size; round++) {
        for (const items of lists) {
          const item = items[round];
          if (item !== undefined) ordered.push(item);
        }
      }
      return ordered;
    },
  };
}
