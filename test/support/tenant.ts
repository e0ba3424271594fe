import type { Queryable } from '../../src/core/db/database.ts';
import { insertApiKey, makeApiKey } from '../../src/core/tenants/api-keys.ts';
import { createApiClient, type ApiClient } from './platform.ts';

/** Makes a tenant beside those that are there, and gives a client of the API at `base` that acts as its owner. */
export async function addTenant(sql: Queryable, base: string, name: string): Promise<ApiClient> {
  const { rows } = await sql.query<{ id: string }>(`insert into tenant (name) values ($1) returning id`, [
    name,
  ]);
  const key = makeApiKey();
  await insertApiKey(sql, { tenantId: rows[0]!.id, name: 'owner', role: 'owner', key, expiresAt: null }); // one row
  return createApiClient(base, key);
}
