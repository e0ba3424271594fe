import { createHash, randomBytes } from 'node:crypto';
import { maybeOne, one, type Database, type Queryable } from '../db/database.ts';
import type { Role } from './roles.ts';

/** Who a request acts for, as its API key says. */
export interface Principal {
  readonly tenantId: string;
  readonly keyId: string;
  readonly keyName: string;
  readonly role: Role;
}

export interface ApiKey {
  readonly id: string;
  readonly name: string;
  /** The first characters of the key, to tell keys apart. */
  readonly prefix: string;
  readonly role: Role;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
}

/** How a key has to look: DESIGN section 7 allows any 32 to 256 printable ASCII characters. */
export const API_KEY_PATTERN = /^[\x21-\x7e]{32,256}$/;
const PREFIX_LENGTH = 8;

/** SHA-256: a key holds at least 128 bits of chance, so a slow hash would add nothing. */
export const hashApiKey = (key: string): Buffer => createHash('sha256').update(key).digest();
export const prefixOf = (key: string): string => key.slice(0, PREFIX_LENGTH);

/** A new key: 256 random bits. */
export const makeApiKey = (): string => `mr_${randomBytes(32).toString('base64url')}`;

/** The principal behind a key's hash; undefined when it is unknown, expired or revoked. */
export async function findPrincipal(db: Database, hash: Buffer): Promise<Principal | undefined> {
  return db.transaction(async (client) => {
    // There is no tenant yet: a policy of its own shows the row with this hash and no other.
    await client.query(`select set_config('millrace.api_key_hash', $1, true)`, [hash.toString('hex')]);
    const row = maybeOne(
      await client.query<{ id: string; tenant_id: string; name: string; role: Role }>({
        name: 'find-principal',
        text: `select id, tenant_id, name, role from api_key
                where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
        values: [hash],
      }),
    );
    return row && { tenantId: row.tenant_id, keyId: row.id, keyName: row.name, role: row.role };
  });
}

interface ApiKeyRow {
  readonly id: string;
  readonly name: string;
  readonly prefix: string;
  readonly role: Role;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
}

const COLUMNS = 'id, name, prefix, role, created_at, expires_at, revoked_at';

const toApiKey = (row: ApiKeyRow): ApiKey => ({
  id: row.id,
  name: row.name,
  prefix: row.prefix,
  role: row.role,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  revokedAt: row.revoked_at,
});

export interface NewApiKey {
  readonly tenantId: string;
  readonly name: string;
  readonly role: Role;
  readonly key: string;
  readonly expiresAt: Date | null;
}

export async function insertApiKey(db: Queryable, input: NewApiKey): Promise<ApiKey> {
  const result = await db.query<ApiKeyRow>(
    `insert into api_key (tenant_id, name, prefix, hash, role, expires_at) values ($1, $2, $3, $4, $5, $6)
     returning ${COLUMNS}`,
    [input.tenantId, input.name, prefixOf(input.key), hashApiKey(input.key), input.role, input.expiresAt],
  );
  return toApiKey(one(result));
}

/** Newest first, revoked ones included. */
export async function listApiKeys(db: Queryable): Promise<readonly ApiKey[]> {
  const { rows } = await db.query<ApiKeyRow>(
    `select ${COLUMNS} from api_key where tenant_id = millrace_tenant() order by created_at desc, id desc`,
  );
  return rows.map(toApiKey);
}

export async function getApiKey(db: Queryable, id: string): Promise<ApiKey | undefined> {
  const row = maybeOne(
    await db.query<ApiKeyRow>(
      `select ${COLUMNS} from api_key where id = $1 and tenant_id = millrace_tenant()`,
      [id],
    ),
  );
  return row && toApiKey(row);
}

/** Revoking twice changes nothing; other processes see it when their cache is up (5 s). */
export async function revokeApiKey(db: Queryable, id: string): Promise<void> {
  await db.query(
    `update api_key set revoked_at = now() where id = $1 and tenant_id = millrace_tenant() and revoked_at is null`,
    [id],
  );
}

/**
 * Whether an owner key other than `id` can be used. Locks all of them, so that two requests cannot revoke the last two
 * at once.
 */
export async function hasOtherOwnerKey(db: Queryable, id: string): Promise<boolean> {
  const { rows } = await db.query<{ id: string }>(
    `select id from api_key
      where tenant_id = millrace_tenant() and role = 'owner'
        and revoked_at is null and (expires_at is null or expires_at > now())
      order by id for update`,
  );
  return rows.some((row) => row.id !== id);
}
