import { withTenant, type Database, type Queryable } from '../db/database.ts';
import { AppError } from '../errors/app-error.ts';
import type { CredentialCipher } from './cipher.ts';
import { CREDENTIAL_FIELD } from './store.ts';

/** How many credentials of all tenants each key has sealed. For roles that see all tenants. */
export async function countByKey(db: Queryable): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ readonly key_id: string; readonly count: number }>(
    'select key_id, count(*)::int as count from credential group by key_id order by key_id',
  );
  return new Map(rows.map(({ key_id, count }) => [key_id, count]));
}

export interface ResealDeps {
  /** Acts as millrace_engine, which sees all tenants. */
  readonly engineDb: Queryable;
  /** Acts as millrace_api, which may change the credentials of one tenant at a time. */
  readonly apiDb: Database;
  readonly cipher: CredentialCipher;
}

export interface UnreadableCredential {
  readonly tenantId: string;
  readonly name: string;
  /** The key that it was sealed with, which none of those at hand is, or which does not open it. */
  readonly keyId: string;
}

export interface ResealOutcome {
  readonly resealed: number;
  /** All that the current key has sealed, then. */
  readonly current: number;
  readonly unreadable: readonly UnreadableCredential[];
}

interface Row {
  readonly id: string;
  readonly tenant_id: string;
  readonly name: string;
  readonly key_id: string;
  readonly sealed: Buffer;
}

const PAGE = 100;

/**
 * Seals every credential that another key sealed with the current one; the values stay what they are. It may be cut off and
 * repeated at any time, while everything runs: one that is replaced meanwhile is left as it was put.
 */
export async function resealCredentials(deps: ResealDeps): Promise<ResealOutcome> {
  const { engineDb, apiDb, cipher } = deps;
  const unreadable: UnreadableCredential[] = [];
  let resealed = 0;
  let after: string | undefined;
  for (;;) {
    const { rows } = await engineDb.query<Row>(
      `select id, tenant_id, name, key_id, sealed from credential
       where key_id <> $1 and ($2::uuid is null or id > $2) order by id limit ${PAGE}`,
      [cipher.currentKeyId, after ?? null],
    );
    for (const row of rows) {
      const sealed = sealAnew(cipher, row);
      if (sealed === undefined)
        unreadable.push({ tenantId: row.tenant_id, name: row.name, keyId: row.key_id });
      else if (await replace(apiDb, cipher.currentKeyId, row, sealed)) resealed++;
    }
    after = rows.at(-1)?.id;
    if (after === undefined) break;
  }
  const current = (await countByKey(engineDb)).get(cipher.currentKeyId) ?? 0;
  return { resealed, current, unreadable };
}

function sealAnew(cipher: CredentialCipher, row: Row): Buffer | undefined {
  const context = { tenantId: row.tenant_id, name: row.name, field: CREDENTIAL_FIELD };
  try {
    return cipher.seal(cipher.open({ keyId: row.key_id, sealed: row.sealed }, context), context).sealed;
  } catch (raw) {
    if (raw instanceof AppError && raw.code === 'credential_unreadable') return undefined;
    throw raw;
  }
}

/** Whether it was still what was read. */
const replace = (db: Database, keyId: string, row: Row, sealed: Buffer): Promise<boolean> =>
  withTenant(db, row.tenant_id, async (client) => {
    const { rowCount } = await client.query(
      'update credential set key_id = $3, sealed = $4 where id = $1 and sealed = $2',
      [row.id, row.sealed, keyId, sealed],
    );
    return rowCount === 1;
  });
