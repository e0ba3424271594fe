import { createLoadingCache } from '../cache.ts';
import { maybeOne, type Queryable } from '../db/database.ts';

const MAX_ENTRIES = 10_000;

/** Finds the names of tenants and remembers them; they do not change. @param db of millrace_engine or millrace_ingest */
export function createTenantNames(db: Queryable): (tenantId: string) => Promise<string> {
  const cache = createLoadingCache<string, string>({
    load: async (tenantId) => {
      const row = maybeOne(
        await db.query<{ name: string }>({
          name: 'tenant-name',
          text: `select name from tenant where id = $1`,
          values: [tenantId],
        }),
      );
      if (row === undefined) throw new Error(`there is no tenant ${tenantId}`);
      return row.name;
    },
    maxEntries: MAX_ENTRIES,
  });
  return (tenantId) => cache.get(tenantId);
}
