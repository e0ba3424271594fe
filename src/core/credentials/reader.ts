import { createLoadingCache } from '../cache.ts';
import type { Queryable } from '../db/database.ts';
import type { CredentialCipher } from './cipher.ts';
import { loadCredential } from './store.ts';
import type { Credential } from './types.ts';

/** Opened credentials, remembered for a moment: a changed or deleted one is noticed within 5 s on every replica. */
export interface CredentialReader {
  /** Undefined when the tenant has no credential of that name. */
  readonly read: (tenantId: string, name: string) => Promise<Credential | undefined>;
  forget(tenantId: string, name: string): void;
}

const MAX_AGE_MS = 3000;
const MAX_ENTRIES = 1000;

export function createCredentialReader(deps: {
  readonly db: Queryable;
  readonly cipher: CredentialCipher;
}): CredentialReader {
  const cache = createLoadingCache<string, Credential | undefined>({
    load: (key) => {
      const [tenantId, name] = key.split('/') as [string, string]; // as `keyOf` joins them
      return loadCredential(deps, tenantId, name);
    },
    maxEntries: MAX_ENTRIES,
    maxAgeMs: MAX_AGE_MS,
  });
  const keyOf = (tenantId: string, name: string): string => `${tenantId}/${name}`;
  return {
    read: (tenantId, name) => cache.get(keyOf(tenantId, name)),
    forget: (tenantId, name) => cache.forget((key) => key === keyOf(tenantId, name)),
  };
}
