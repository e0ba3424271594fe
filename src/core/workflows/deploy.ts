import type pg from 'pg';
import { existingCredentials } from '../credentials/store.ts';
import { withTenant } from '../db/database.ts';
import { contentHash } from '../definition/content-hash.ts';
import type { WorkflowDocument } from '../definition/document.ts';
import { WORKFLOW_FORMAT } from '../definition/format.ts';
import { makeEndpointId } from '../deliveries/endpoints.ts';
import { appError, type Problem } from '../errors/app-error.ts';
import type { JsonObject } from '../json.ts';
import { checkWorkflow, type CheckDeps, type CheckedWorkflow } from './check.ts';
import { credentialsOf } from './credential-use.ts';
import { packVersion } from './files.ts';
import {
  endpointsOf,
  getVersion,
  getWorkflow,
  insertVersion,
  insertWorkflow,
  lockWorkflow,
  syncEndpoints,
  type LockedWorkflow,
} from './store.ts';

export type DeployDeps = CheckDeps;

export interface Deployment {
  readonly tenantId: string;
  /** As the caller addressed it; the document has to say the same. */
  readonly name: string;
  readonly source: string;
  readonly files: JsonObject;
}

export interface DeployedTrigger {
  readonly name: string;
  readonly type: string;
  /** Of a webhook; null when the workflow has not been saved with it yet. */
  readonly endpointId: string | null;
}

export interface Deployed {
  /** Undefined when it was only checked and there is none yet. */
  readonly workflowId: string | undefined;
  readonly name: string;
  readonly version: number;
  readonly contentHash: string;
  /** False when the current version has the same content already. */
  readonly isNewVersion: boolean;
  readonly triggers: readonly DeployedTrigger[];
  readonly warnings: readonly Problem[];
}

/**
 * Saves a workflow as a new version and makes it the current one; with the content of the current version it changes
 * nothing. Its webhooks answer from the commit on.
 *
 * @throws AppError `workflow_invalid` with every problem, `workflow_name_mismatch`, `credential_not_found` when all
 *   that is wrong is that credentials are missing
 */
export async function deployWorkflow(deps: DeployDeps, deployment: Deployment): Promise<Deployed> {
  const checked = await check(deps, deployment);
  return withTenant(deps.db, deployment.tenantId, (client) => save(client, deployment, checked, null));
}

/** Checks a workflow and tells what saving it would give, without saving it. @throws as {@link deployWorkflow} */
export async function checkDeployment(deps: DeployDeps, deployment: Deployment): Promise<Deployed> {
  const checked = await check(deps, deployment);
  return withTenant(deps.db, deployment.tenantId, async (client) => {
    const current = await getWorkflow(client, deployment.name);
    const hash = contentHash(checked.document, deployment.files);
    const isNewVersion = current?.contentHash !== hash;
    return {
      workflowId: current?.id,
      name: deployment.name,
      version: (current?.version ?? 0) + (isNewVersion ? 1 : 0),
      contentHash: hash,
      isNewVersion,
      triggers: await triggersOf(client, current?.id, checked.document),
      warnings: checked.warnings,
    };
  });
}

/**
 * Makes the content of an earlier version the current one again, as a new version, whose programs are made anew.
 *
 * @throws AppError `workflow_not_found`, `workflow_version_not_found`, and as {@link deployWorkflow}: what was valid
 *   once need not be now
 */
export async function restoreVersion(
  deps: DeployDeps,
  tenantId: string,
  name: string,
  version: number,
): Promise<Deployed> {
  const old = await withTenant(deps.db, tenantId, async (client) => {
    const workflow = await getWorkflow(client, name);
    if (workflow === undefined) throw appError('workflow_not_found', { args: [name] });
    const found = await getVersion(client, workflow.id, version);
    if (found === undefined) throw appError('workflow_version_not_found', { args: [name, version] });
    return found;
  });
  const deployment = { tenantId, name, source: old.source, files: old.files };
  const checked = await check(deps, deployment);
  return withTenant(deps.db, tenantId, (client) => save(client, deployment, checked, version));
}

type Checked = Extract<CheckedWorkflow, { readonly ok: true }>;

/** Parsing and bundling take their time, so no transaction is open meanwhile. */
async function check(deps: DeployDeps, { tenantId, name, source, files }: Deployment): Promise<Checked> {
  const checked = await checkWorkflow(deps, tenantId, source, files);
  if (!checked.ok) {
    const { problems, missingCredentials } = checked;
    // What is not there is 404, as everything that is another tenant's, unless there is more to mend.
    if (missingCredentials.length > 0) throw credentialNotFound(missingCredentials, problems);
    throw appError('workflow_invalid', { args: [problems.length], problems });
  }
  const { document } = checked;
  if (document.name !== name) {
    const problem = { path: 'name', message: `\`name\` is ${document.name}`, fix: `write \`name: ${name}\`` };
    throw appError('workflow_name_mismatch', { args: [document.name, name], problems: [problem] });
  }
  return checked;
}

async function save(
  db: pg.PoolClient,
  { tenantId, name, source, files }: Deployment,
  { document, programs, warnings }: Checked,
  restoredFrom: number | null,
): Promise<Deployed> {
  await lockCredentials(db, tenantId, document);
  const hash = contentHash(document, files);
  const workflow = await lockOrInsert(db, tenantId, name);
  const isNewVersion = workflow.current?.contentHash !== hash;
  const version = (workflow.current?.version ?? 0) + (isNewVersion ? 1 : 0);
  if (isNewVersion) {
    await insertVersion(db, {
      tenantId,
      workflowId: workflow.id,
      version,
      contentHash: hash,
      format: WORKFLOW_FORMAT,
      source,
      document,
      content: packVersion(files, programs),
      restoredFrom,
    });
    await syncEndpoints(db, { tenantId, id: workflow.id }, webhookNames(document), makeEndpointId);
  }
  return {
    workflowId: workflow.id,
    name,
    version,
    contentHash: hash,
    isNewVersion,
    triggers: await triggersOf(db, workflow.id, document),
    warnings,
  };
}

/** Between the check and the commit nobody may delete what the workflow uses. */
async function lockCredentials(
  db: pg.PoolClient,
  tenantId: string,
  document: WorkflowDocument,
): Promise<void> {
  const used = [...credentialsOf(document)];
  const existing = await existingCredentials(db, tenantId, used);
  const missing = used.filter((name) => !existing.has(name));
  if (missing.length > 0) throw credentialNotFound(missing, []);
}

const credentialNotFound = (names: readonly string[], problems: readonly Problem[]) =>
  appError('credential_not_found', { args: [names.join(', ')], problems });

interface Target {
  readonly id: string;
  /** Undefined for one that was just made. */
  readonly current: LockedWorkflow | undefined;
}

async function lockOrInsert(db: pg.PoolClient, tenantId: string, name: string): Promise<Target> {
  const current = await lockWorkflow(db, name);
  if (current !== undefined) return { id: current.id, current };
  const id = await insertWorkflow(db, tenantId, name);
  if (id !== undefined) return { id, current: undefined };
  // Somebody else made it meanwhile, and has committed.
  const made = await lockWorkflow(db, name);
  if (made === undefined) throw appError('unavailable', { args: [1], retryAfterS: 1 });
  return { id: made.id, current: made };
}

const webhookNames = (document: WorkflowDocument): readonly string[] =>
  Object.entries(document.triggers).flatMap(([name, trigger]) => ('webhook' in trigger ? [name] : []));

async function triggersOf(
  db: pg.PoolClient,
  workflowId: string | undefined,
  document: WorkflowDocument,
): Promise<readonly DeployedTrigger[]> {
  const endpoints =
    workflowId === undefined ? undefined : (await endpointsOf(db, [workflowId])).get(workflowId);
  return describeTriggers(document, endpoints ?? new Map());
}

/** The triggers of a stored document, in its order. */
export function describeTriggers(
  document: JsonObject,
  endpoints: ReadonlyMap<string, string>,
): readonly DeployedTrigger[] {
  return Object.entries(document['triggers'] ?? {}).map(([name, trigger]) => ({
    name,
    type: Object.keys(trigger as JsonObject)[0] ?? 'unknown',
    endpointId: endpoints.get(name) ?? null,
  }));
}
