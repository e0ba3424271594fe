import { createConditions } from '../db/conditions.ts';
import { maybeOne, one, type Queryable } from '../db/database.ts';
import type { JsonObject } from '../json.ts';
import { insertContents, summarizeFiles, unpackFiles, type PackedVersion } from './files.ts';

/** A workflow with what its current version says of it. */
export interface WorkflowRecord {
  readonly id: string;
  readonly name: string;
  readonly enabled: boolean;
  readonly version: number;
  readonly contentHash: string;
  readonly format: number;
  readonly document: JsonObject;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** One immutable state of a workflow. */
export interface VersionRecord extends VersionSummary {
  readonly source: string;
  readonly document: JsonObject;
  readonly files: JsonObject;
}

export interface VersionSummary {
  readonly version: number;
  readonly contentHash: string;
  readonly format: number;
  readonly restoredFrom: number | null;
  readonly createdAt: Date;
}

interface WorkflowRow {
  readonly id: string;
  readonly name: string;
  readonly enabled: boolean;
  readonly current_version: number;
  readonly content_hash: string;
  readonly format: number;
  readonly document: string;
  readonly created_at: Date;
  readonly updated_at: Date;
}

const WORKFLOWS = `select w.id, w.name, w.enabled, w.current_version, v.content_hash, v.format, v.document, w.created_at, w.updated_at
  from workflow w join workflow_version v on v.workflow_id = w.id and v.version = w.current_version`;

const toWorkflow = (row: WorkflowRow): WorkflowRecord => ({
  id: row.id,
  name: row.name,
  enabled: row.enabled,
  version: row.current_version,
  contentHash: row.content_hash,
  format: row.format,
  document: JSON.parse(row.document) as JsonObject,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/** The workflow of that name that is not deleted. @param db within a tenant */
export async function getWorkflow(db: Queryable, name: string): Promise<WorkflowRecord | undefined> {
  const row = maybeOne(
    await db.query<WorkflowRow>({
      name: 'get-workflow',
      text: `${WORKFLOWS} where w.tenant_id = millrace_tenant() and w.name = $1 and w.deleted_at is null`,
      values: [name],
    }),
  );
  return row && toWorkflow(row);
}

/** Where a page of workflows ends; the time in microseconds, as a Date would round it. */
export interface WorkflowPosition {
  readonly createdAtMicros: string;
  readonly id: string;
}

/** The newest workflows first, those after `after` in that order. @param db within a tenant */
export async function listWorkflows(
  db: Queryable,
  page: { readonly limit: number; readonly after?: WorkflowPosition | undefined },
): Promise<readonly (WorkflowRecord & { readonly position: WorkflowPosition })[]> {
  const micros = `(extract(epoch from w.created_at) * 1000000)::bigint`;
  const conditions = createConditions('w.tenant_id = millrace_tenant()', 'w.deleted_at is null');
  if (page.after !== undefined) {
    const at = conditions.value(page.after.createdAtMicros);
    conditions.add(`(${micros}, w.id) < (${at}::bigint, ?::uuid)`, page.after.id);
  }
  const limit = conditions.value(page.limit);
  const { rows } = await db.query<WorkflowRow & { readonly micros: string }>(
    `${WORKFLOWS.replace('select', `select ${micros}::text as micros,`)}
     ${conditions.where()} order by ${micros} desc, w.id desc limit ${limit}`,
    [...conditions.values],
  );
  return rows.map((row) => ({ ...toWorkflow(row), position: { createdAtMicros: row.micros, id: row.id } }));
}

interface VersionRow {
  readonly version: number;
  readonly content_hash: string;
  readonly format: number;
  readonly restored_from: number | null;
  readonly created_at: Date;
}

const toVersion = (row: VersionRow): VersionSummary => ({
  version: row.version,
  contentHash: row.content_hash,
  format: row.format,
  restoredFrom: row.restored_from,
  createdAt: row.created_at,
});

const VERSION_COLUMNS = 'version, content_hash, format, restored_from, created_at';

/** The newest versions first, those below `below` if it is given. @param db within a tenant */
export async function listVersions(
  db: Queryable,
  workflowId: string,
  page: { readonly limit: number; readonly below?: number | undefined },
): Promise<readonly VersionSummary[]> {
  const { rows } = await db.query<VersionRow>(
    `select ${VERSION_COLUMNS} from workflow_version
     where workflow_id = $1 and ($2::int is null or version < $2) order by version desc limit $3`,
    [workflowId, page.below ?? null, page.limit],
  );
  return rows.map(toVersion);
}

/** How much of a version's files is read: all of it, or hash and size of each. */
export const FILE_DETAILS = ['content', 'summary'] as const;
export type FileDetail = (typeof FILE_DETAILS)[number];

/** @param db within a tenant */
export async function getVersion(
  db: Queryable,
  workflowId: string,
  version: number,
  detail: FileDetail = 'content',
): Promise<VersionRecord | undefined> {
  const row = maybeOne(
    await db.query<VersionRow & { tenant_id: string; source: string; document: string; files: string }>(
      `select ${VERSION_COLUMNS}, tenant_id, source, document, files from workflow_version
       where workflow_id = $1 and version = $2`,
      [workflowId, version],
    ),
  );
  if (row === undefined) return undefined;
  const files = JSON.parse(row.files) as JsonObject;
  return {
    ...toVersion(row),
    source: row.source,
    document: JSON.parse(row.document) as JsonObject,
    files: detail === 'summary' ? summarizeFiles(files) : await unpackFiles(db, row.tenant_id, files),
  };
}

/** A workflow that this transaction alone changes. */
export interface LockedWorkflow {
  readonly id: string;
  readonly enabled: boolean;
  readonly version: number;
  readonly contentHash: string;
}

/** Locks the workflow of that name against other changes until the transaction ends. @param db within a tenant */
export async function lockWorkflow(db: Queryable, name: string): Promise<LockedWorkflow | undefined> {
  const row = maybeOne(
    await db.query<{ id: string; enabled: boolean; current_version: number }>(
      `select id, enabled, current_version from workflow
       where tenant_id = millrace_tenant() and name = $1 and deleted_at is null for no key update`,
      [name],
    ),
  );
  if (row === undefined) return undefined;
  // A statement of its own: the lock may have waited for a transaction that made a new version.
  const { content_hash: contentHash } = one(
    await db.query<{ content_hash: string }>(
      `select content_hash from workflow_version where workflow_id = $1 and version = $2`,
      [row.id, row.current_version],
    ),
  );
  return { id: row.id, enabled: row.enabled, version: row.current_version, contentHash };
}

/** Makes an empty workflow; undefined when another transaction has just made one of that name. */
export async function insertWorkflow(
  db: Queryable,
  tenantId: string,
  name: string,
): Promise<string | undefined> {
  const row = maybeOne(
    await db.query<{ id: string }>(
      `insert into workflow (tenant_id, name, current_version) values ($1, $2, 1)
       on conflict (tenant_id, name) where deleted_at is null do nothing returning id`,
      [tenantId, name],
    ),
  );
  return row?.id;
}

export interface NewVersion {
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly contentHash: string;
  readonly format: number;
  readonly source: string;
  readonly document: JsonObject;
  readonly content: PackedVersion;
  readonly restoredFrom: number | null;
}

/** Adds a version and makes it the current one. */
export async function insertVersion(db: Queryable, input: NewVersion): Promise<void> {
  await insertContents(db, input.tenantId, input.content.contents);
  await db.query(
    `insert into workflow_version
       (workflow_id, version, tenant_id, content_hash, format, source, document, files, programs, restored_from)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      input.workflowId,
      input.version,
      input.tenantId,
      input.contentHash,
      input.format,
      input.source,
      JSON.stringify(input.document),
      JSON.stringify(input.content.files),
      JSON.stringify(input.content.programs),
      input.restoredFrom,
    ],
  );
  await db.query(`update workflow set current_version = $2, updated_at = now() where id = $1`, [
    input.workflowId,
    input.version,
  ]);
}

/**
 * Makes the endpoints of a workflow those of its webhook triggers: a trigger keeps its endpoint id over versions, also
 * when it was gone for a while; endpoints of triggers that are gone stop answering.
 *
 * @param makeId an unguessable id for a trigger that has none yet
 */
export async function syncEndpoints(
  db: Queryable,
  workflow: { readonly tenantId: string; readonly id: string },
  triggerNames: readonly string[],
  makeId: () => string,
): Promise<void> {
  await db.query(
    `update endpoint set active = trigger_name = any($2::text[])
     where workflow_id = $1 and active <> (trigger_name = any($2::text[]))`,
    [workflow.id, triggerNames],
  );
  await db.query(
    `insert into endpoint (id, tenant_id, workflow_id, trigger_name)
     select n.id, $1, $2, n.trigger_name from unnest($3::text[], $4::text[]) as n(id, trigger_name)
     on conflict (workflow_id, trigger_name) do nothing`,
    [workflow.tenantId, workflow.id, triggerNames.map(makeId), triggerNames],
  );
}

/** The active endpoints of workflows: trigger name → endpoint id, by workflow. @param db within a tenant */
export async function endpointsOf(
  db: Queryable,
  workflowIds: readonly string[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const { rows } = await db.query<{ workflow_id: string; trigger_name: string; id: string }>(
    `select workflow_id, trigger_name, id from endpoint where workflow_id = any($1::uuid[]) and active`,
    [workflowIds],
  );
  const result = new Map<string, Map<string, string>>();
  for (const row of rows) {
    const triggers = result.get(row.workflow_id);
    if (triggers === undefined) result.set(row.workflow_id, new Map([[row.trigger_name, row.id]]));
    else triggers.set(row.trigger_name, row.id);
  }
  return result;
}

export async function setWorkflowEnabled(db: Queryable, workflowId: string, enabled: boolean): Promise<void> {
  await db.query(`update workflow set enabled = $2, updated_at = now() where id = $1 and enabled <> $2`, [
    workflowId,
    enabled,
  ]);
}

/** Hides the workflow and silences its endpoints; what it has done stays readable. */
export async function markWorkflowDeleted(db: Queryable, workflowId: string): Promise<void> {
  await db.query(`update workflow set deleted_at = now(), updated_at = now() where id = $1`, [workflowId]);
  await db.query(`update endpoint set active = false where workflow_id = $1`, [workflowId]);
}

/** Every current version's document of the tenant, with its workflow's name. @param db within a tenant */
export async function currentDocuments(
  db: Queryable,
): Promise<readonly { readonly name: string; readonly document: JsonObject }[]> {
  const { rows } = await db.query<{ name: string; document: string }>(
    `select w.name, v.document
     from workflow w join workflow_version v on v.workflow_id = w.id and v.version = w.current_version
     where w.tenant_id = millrace_tenant() and w.deleted_at is null order by w.name`,
  );
  return rows.map((row) => ({ name: row.name, document: JSON.parse(row.document) as JsonObject }));
}
