import type { Database, Queryable } from '../db/database.ts';
import { FILES_LOCK } from './files.ts';

/** What was removed, counted. */
export interface Purged {
  readonly workflows: number;
  readonly files: number;
}

/** Contents younger than this may belong to a version that is about to be saved. */
const FILE_AGE = `interval '1 day'`;

/**
 * Removes workflows that were deleted longer than `retentionMs` ago and have no execution and no delivery left, with
 * their versions and endpoints; then the contents that no version names any more.
 *
 * @param db of millrace_engine
 */
export async function purgeDeletedWorkflows(db: Database, retentionMs: number): Promise<Purged> {
  const workflows = await removeWorkflows(db, retentionMs);
  let files = 0;
  for (const tenantId of await tenantsWithOldFiles(db)) files += await removeFiles(db, tenantId);
  return { workflows, files };
}

async function removeWorkflows(db: Queryable, retentionMs: number): Promise<number> {
  // One statement, so that the foreign keys are looked at when all of it is gone.
  const { rowCount } = await db.query(
    `with gone as materialized (
       select id from workflow w where deleted_at < now() - $1::float8 * interval '1 millisecond'
         and not exists (select from execution where workflow_id = w.id)
         and not exists (select from delivery where workflow_id = w.id)
     ), endpoints as (
       delete from endpoint where workflow_id in (select id from gone)
     ), versions as (
       delete from workflow_version where workflow_id in (select id from gone)
     )
     delete from workflow where id in (select id from gone)`,
    [retentionMs],
  );
  return rowCount ?? 0;
}

async function tenantsWithOldFiles(db: Queryable): Promise<readonly string[]> {
  const { rows } = await db.query<{ tenant_id: string }>(
    `select distinct tenant_id from workflow_file where created_at < now() - ${FILE_AGE}`,
  );
  return rows.map((row) => row.tenant_id);
}

/**
 * Every SHA-256 in the text of a version counts as a reference, also one that only looks like it.
 * `insertContents` holds the same lock from its look for what is there until the version that needs it is committed.
 */
async function removeFiles(db: Database, tenantId: string): Promise<number> {
  return db.transaction(async (client) => {
    await client.query(`select pg_advisory_xact_lock(${FILES_LOCK})`, [tenantId]);
    const { rowCount } = await client.query(
      `delete from workflow_file where tenant_id = $1 and created_at < now() - ${FILE_AGE}
         and encode(sha256, 'hex') not in (
           select hash[1] from workflow_version v
           cross join regexp_matches(v.files::text || ' ' || v.programs::text, '[0-9a-f]{64}', 'g') as hash
           where v.tenant_id = $1)`,
      [tenantId],
    );
    return rowCount ?? 0;
  });
}
