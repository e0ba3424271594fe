import { maybeOne, one, type Queryable } from '../db/database.ts';
import { isRecord } from '../json.ts';
import type { CredentialCipher, Sealed } from './cipher.ts';
import { credentialSchema, type Credential, type CredentialType } from './types.ts';

/** All of a credential that is ever shown. */
export interface CredentialInfo {
  readonly name: string;
  readonly type: CredentialType;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

interface InfoRow {
  readonly name: string;
  readonly type: CredentialType;
  readonly created_at: Date;
  readonly updated_at: Date;
}

const toInfo = (row: InfoRow): CredentialInfo => ({
  name: row.name,
  type: row.type,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

const INFO_COLUMNS = 'name, type, created_at, updated_at';

/** The one sealed field; part of what authenticates the ciphertext. */
export const CREDENTIAL_FIELD = 'data';

/** Seals and stores a credential; one of the same name is replaced, whatever its type. */
export async function putCredential(
  deps: { readonly db: Queryable; readonly cipher: CredentialCipher },
  tenantId: string,
  name: string,
  credential: Credential,
): Promise<CredentialInfo & { readonly created: boolean }> {
  const { keyId, sealed } = deps.cipher.seal(JSON.stringify(credential.data), {
    tenantId,
    name,
    field: CREDENTIAL_FIELD,
  });
  const row = one(
    await deps.db.query<InfoRow & { readonly created: boolean }>(
      // xmax is 0 for a row that this statement inserted.
      `insert into credential (tenant_id, name, type, key_id, sealed) values ($1, $2, $3, $4, $5)
       on conflict (tenant_id, name) do update
         set type = excluded.type, key_id = excluded.key_id, sealed = excluded.sealed, updated_at = now()
       returning ${INFO_COLUMNS}, xmax = 0 as created`,
      [tenantId, name, credential.type, keyId, sealed],
    ),
  );
  return { ...toInfo(row), created: row.created };
}

/** By name. */
export async function listCredentials(db: Queryable, tenantId: string): Promise<readonly CredentialInfo[]> {
  const { rows } = await db.query<InfoRow>(
    `select ${INFO_COLUMNS} from credential where tenant_id = $1 order by name`,
    [tenantId],
  );
  return rows.map(toInfo);
}

export async function getCredentialInfo(
  db: Queryable,
  tenantId: string,
  name: string,
): Promise<CredentialInfo | undefined> {
  const row = maybeOne(
    await db.query<InfoRow>(`select ${INFO_COLUMNS} from credential where tenant_id = $1 and name = $2`, [
      tenantId,
      name,
    ]),
  );
  return row && toInfo(row);
}

/** Which of `names` exist; those cannot be deleted before the transaction ends. */
export async function existingCredentials(
  db: Queryable,
  tenantId: string,
  names: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ name: string }>(
    `select name from credential where tenant_id = $1 and name = any($2) order by name for share`,
    [tenantId, names],
  );
  return new Set(rows.map((row) => row.name));
}

/** Locks a credential, so that no workflow that uses it is saved meanwhile; false when there is none. */
export async function lockCredential(db: Queryable, tenantId: string, name: string): Promise<boolean> {
  const { rows } = await db.query(`select from credential where tenant_id = $1 and name = $2 for update`, [
    tenantId,
    name,
  ]);
  return rows.length > 0;
}

export async function deleteCredential(db: Queryable, tenantId: string, name: string): Promise<void> {
  await db.query(`delete from credential where tenant_id = $1 and name = $2`, [tenantId, name]);
}

/**
 * Loads and opens a credential. For every role: the tenant is always named, whatever the policies show.
 *
 * @throws AppError `credential_unreadable`
 */
export async function loadCredential(
  deps: { readonly db: Queryable; readonly cipher: CredentialCipher },
  tenantId: string,
  name: string,
): Promise<Credential | undefined> {
  const row = maybeOne(
    await deps.db.query<{ type: string; key_id: string; sealed: Buffer }>({
      name: 'load-credential',
      text: `select type, key_id, sealed from credential where tenant_id = $1 and name = $2`,
      values: [tenantId, name],
    }),
  );
  return (
    row && openCredential(deps.cipher, tenantId, name, row.type, { keyId: row.key_id, sealed: row.sealed })
  );
}

/** @throws AppError `credential_unreadable`; ZodError when a newer release wrote it. */
export function openCredential(
  cipher: CredentialCipher,
  tenantId: string,
  name: string,
  type: string,
  sealed: Sealed,
): Credential {
  const data: unknown = JSON.parse(
    cipher.open(sealed, { tenantId, name, field: CREDENTIAL_FIELD }).toString('utf8'),
  );
  return credentialSchema.parse({ type, data: isRecord(data) ? data : {} });
}
