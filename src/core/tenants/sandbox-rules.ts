import { createLoadingCache } from '../cache.ts';
import { one, type Queryable } from '../db/database.ts';

/** What whoever runs the installation has set for the sandboxes of a tenant (docs/operations.md, “Tenants”). */
export interface SandboxRules {
  /** Each attempt has a sandbox that is used for nothing else, whatever its step says. */
  readonly isSingleUse: boolean;
  /** What a sandbox may have at most; undefined: as the installation says. */
  readonly maxMemoryBytes: number | undefined;
  readonly maxCpus: number | undefined;
}

export type ReadSandboxRules = (tenantId: string) => Promise<SandboxRules>;

const MAX_AGE_MS = 3000;
const MAX_ENTRIES = 10_000;

/** @param db within the tenant, or of millrace_engine */
export async function getSandboxRules(db: Queryable, tenantId: string): Promise<SandboxRules> {
  const row = one(
    await db.query<{ isolation: string | null; memory: number | null; cpus: number | null }>({
      name: 'tenant-sandbox-rules',
      text: `select isolation, max_sandbox_memory_bytes as memory, max_sandbox_cpus as cpus from tenant where id = $1`,
      values: [tenantId],
    }),
  );
  return {
    isSingleUse: row.isolation === 'execution',
    maxMemoryBytes: row.memory ?? undefined,
    maxCpus: row.cpus ?? undefined,
  };
}

/**
 * Remembers them for a moment: a change is seen within 5 s on every worker.
 *
 * @param db of millrace_engine
 */
export function createSandboxRules(
  db: Queryable,
  options: { readonly now?: () => number } = {},
): ReadSandboxRules {
  const cache = createLoadingCache<string, SandboxRules>({
    ...options,
    load: (tenantId) => getSandboxRules(db, tenantId),
    maxEntries: MAX_ENTRIES,
    maxAgeMs: MAX_AGE_MS,
  });
  return (tenantId) => cache.get(tenantId);
}
