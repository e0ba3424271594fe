import { randomUUID } from 'node:crypto';
import type { ApiClient } from '../../support/platform.ts';
import { addTenant } from '../../support/tenant.ts';
import { putHookCredential, type Stage } from './stage.ts';

/** Makes a tenant beside the first one, with the credential that webhooks of this stage are signed with. */
export async function newTenant(
  { sql, api }: Pick<Stage, 'sql'> & { readonly api: Pick<Stage['api'], 'port'> },
  name = `t-${randomUUID().slice(0, 8)}`,
): Promise<ApiClient> {
  const client = await addTenant(sql, `http://127.0.0.1:${api.port}`, name);
  await putHookCredential(client);
  return client;
}
