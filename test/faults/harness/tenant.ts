import { randomUUID } from 'node:crypto';
import { insertApiKey, makeApiKey } from '../../../src/core/tenants/api-keys.ts';
import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { putHookCredential, type Stage } from './stage.ts';

/** Makes a tenant beside the first one, with the credential that webhooks of this stage are signed with. */
export async function newTenant(
  { sql, api }: Pick<Stage, 'sql'> & { readonly api: Pick<Stage['api'], 'port'> },
  name = `t-${randomUUID().slice(0, 8)}`,
): Promise<ApiClient> {
  const { rows } = await sql.query<{ id: string }>(`insert into tenant (name) values ($1) returning id`, [
    name,
  ]);
  const key = makeApiKey();
  await insertApiKey(sql, { tenantId: rows[0]!.id, name: 'owner', role: 'owner', key, expiresAt: null }); // one row
  const client = createApiClient(`http://127.0.0.1:${api.port}`, key);
  await putHookCredential(client);
  return client;
}
