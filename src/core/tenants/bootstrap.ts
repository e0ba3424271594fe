import { one, type Database } from '../db/database.ts';
import { insertApiKey } from './api-keys.ts';

export const DEFAULT_TENANT = 'default';

/**
 * Makes `key` the first API key, an owner of the tenant `default`, when the database has none at all; else does
 * nothing, so that a changed or leaked bootstrap key opens no second door. Processes that start together make it once.
 *
 * @param db acts as `millrace_engine`
 * @returns whether the key was made
 */
export async function ensureBootstrapKey(db: Database, key: string): Promise<boolean> {
  return db.transaction(async (client) => {
    await client.query(`select pg_advisory_xact_lock(hashtext('millrace_bootstrap'))`);
    const { exists } = one(
      await client.query<{ exists: boolean }>(`select exists (select from api_key) as exists`),
    );
    if (exists) return false;
    const tenant = one(
      await client.query<{ id: string }>(
        `with made as (insert into tenant (name) values ($1) on conflict do nothing returning id)
         select id from made union all select id from tenant where name = $1 limit 1`,
        [DEFAULT_TENANT],
      ),
    );
    await insertApiKey(client, {
      tenantId: tenant.id,
      name: 'bootstrap',
      role: 'owner',
      key,
      expiresAt: null,
    });
    return true;
  });
}
