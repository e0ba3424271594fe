import type pg from 'pg';
import { maybeOne } from '../db/database.ts';
import { compileWorkflow } from '../definition/compile.ts';
import type { WorkflowDocument } from '../definition/document.ts';
import { WORKFLOW_FORMAT } from '../definition/format.ts';
import type { CompiledWebhookTrigger, CompiledWorkflow } from '../definition/types.ts';
import { appError } from '../errors/app-error.ts';
import { insertExecution } from '../executions/lifecycle.ts';
import type { JsonObject, JsonValue } from '../json.ts';
import { parseBody } from './body.ts';
import { filterReason, webhookScope } from './filter.ts';
import { storedBody, webhookTrigger } from './trigger.ts';

export interface ReplayRequest {
  readonly id: string;
  /** Sent instead of the stored bytes: text as it is, anything else as JSON. */
  readonly body?: JsonValue | undefined;
  /** Of the workflow; the current one without it. */
  readonly version?: number | undefined;
  /** The trace that the new execution is part of. */
  readonly traceparent?: string | undefined;
}

/** What the replay is to be called, made before the transaction. */
export interface ReplayIds {
  readonly deliveryId: string;
  readonly executionId: string;
}

export interface Replayed {
  readonly deliveryId: string;
  /** Null when the filter kept it out. */
  readonly executionId: string | null;
  readonly rootId: string;
  readonly reason: string | undefined;
  /** The trace of the execution that the original started. */
  readonly originalTraceparent: string | undefined;
}

/**
 * Takes a delivery in once more, as a new one: with the same request (or another body) and the same shape of `trigger`,
 * judged by the filter of the version that runs. Its signature was checked when it came; a rejected one is not replayed.
 *
 * @param db within a tenant, in a transaction; the caller publishes the hint after the commit
 * @param nowMs by the database's clock
 * @throws AppError `delivery_not_found`, `delivery_not_replayable`, `workflow_disabled`, `workflow_version_not_found`,
 *   `filter_limit`, or what is wrong with the given body
 */
export async function replayDelivery(
  db: pg.PoolClient,
  request: ReplayRequest,
  ids: ReplayIds,
  nowMs: number,
): Promise<Replayed> {
  const original = await loadOriginal(db, request.id);
  const version = request.version ?? original.current_version;
  const { workflow, trigger } = await loadTrigger(db, original, version);
  const headers = JSON.parse(original.headers) as JsonObject;
  const body = replayedBody(original, headers, request.body);
  const value = webhookTrigger(trigger.name, ids.deliveryId, nowMs, {
    method: original.method,
    query: original.query,
    headers,
    body: storedBody(headers, body),
  });
  const reason = trigger.filter && filterReason(trigger.filter, webhookScope(workflow, version, value));
  const rootId = original.root_id ?? original.duplicate_of ?? original.id;
  const replay = { ids, rootId, body, reason };
  await insertReplay(db, original, replay);
  const originalTraceparent = original.traceparent ?? undefined;
  if (reason !== undefined)
    return { deliveryId: ids.deliveryId, executionId: null, rootId, reason, originalTraceparent };
  await insertExecution(db, {
    id: ids.executionId,
    tenantId: original.tenant_id,
    workflowId: original.workflow_id,
    version,
    triggerType: 'webhook',
    triggerName: trigger.name,
    deliveryId: ids.deliveryId,
    ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
  });
  return { ...ids, rootId, reason, originalTraceparent };
}

interface Original {
  readonly id: string;
  readonly tenant_id: string;
  readonly workflow_id: string;
  readonly endpoint_id: string;
  readonly trigger_name: string;
  readonly verdict: string;
  readonly reason: string | null;
  readonly method: string;
  readonly query: string;
  readonly headers: string;
  readonly stored_body: Buffer | null;
  readonly root_id: string | null;
  readonly duplicate_of: string | null;
  readonly workflow: string;
  readonly enabled: boolean;
  readonly is_deleted: boolean;
  readonly current_version: number;
  readonly traceparent: string | null;
}

async function loadOriginal(db: pg.PoolClient, id: string): Promise<Original> {
  const original = maybeOne(
    await db.query<Original>(
      `select d.id, d.tenant_id, d.workflow_id, d.endpoint_id, d.trigger_name, d.verdict, d.reason, d.method, d.query,
         d.headers, coalesce(d.body, o.body) as stored_body, d.root_id, d.duplicate_of,
         w.name as workflow, w.enabled, w.deleted_at is not null as is_deleted, w.current_version, e.traceparent
       from delivery d join workflow w on w.id = d.workflow_id left join delivery o on o.id = d.duplicate_of
         left join execution e on e.id = d.execution_id
       where d.id = $1 and d.tenant_id = millrace_tenant()`,
      [id],
    ),
  );
  if (original === undefined) throw appError('delivery_not_found', { args: [id] });
  if (original.verdict === 'rejected') {
    throw notReplayable(id, `it was rejected: ${original.reason ?? 'its signature was not verified'}`);
  }
  if (original.is_deleted) throw notReplayable(id, `its workflow ${original.workflow} was deleted`);
  if (!original.enabled) throw appError('workflow_disabled', { args: [original.workflow] });
  return original;
}

const notReplayable = (id: string, why: string) => appError('delivery_not_replayable', { args: [id, why] });

interface LoadedTrigger {
  readonly workflow: CompiledWorkflow;
  readonly trigger: CompiledWebhookTrigger;
}

async function loadTrigger(db: pg.PoolClient, original: Original, version: number): Promise<LoadedTrigger> {
  const row = maybeOne(
    await db.query<{ format: number; document: string }>(
      `select format, document from workflow_version where workflow_id = $1 and version = $2`,
      [original.workflow_id, version],
    ),
  );
  if (row === undefined) throw appError('workflow_version_not_found', { args: [original.workflow, version] });
  if (row.format !== WORKFLOW_FORMAT) {
    throw notReplayable(original.id, `version ${version} was saved by a newer release`);
  }
  // It was validated when it was saved, in this very format.
  const workflow = compileWorkflow(JSON.parse(row.document) as WorkflowDocument);
  const trigger = workflow.triggers.find(({ name }) => name === original.trigger_name);
  if (trigger?.type !== 'webhook') {
    throw notReplayable(original.id, `version ${version} has no webhook trigger ${original.trigger_name}`);
  }
  return { workflow, trigger };
}

function replayedBody(original: Original, headers: JsonObject, override: JsonValue | undefined): Buffer {
  if (override === undefined) return original.stored_body ?? Buffer.alloc(0);
  const body = Buffer.from(typeof override === 'string' ? override : JSON.stringify(override));
  const header = headers['content-type'];
  const contentType = typeof header === 'string' ? header : undefined;
  const parsed = parseBody(contentType, body);
  const isJson = contentType === undefined || /^[^;]*json\s*(?:;|$)/i.test(contentType);
  if (typeof override !== 'string' && !isJson) {
    throw appError('invalid_request', {
      args: [`The delivery is of content type ${contentType}; give \`body\` as a text of that type`],
    });
  }
  if (parsed.ok) return body;
  if (parsed.code === 'malformed_json') {
    throw appError('malformed_json', { args: [`in \`body\`: ${parsed.message}`] });
  }
  if (parsed.code === 'json_too_deep') throw appError('json_too_deep', { args: [parsed.limit] });
  throw notReplayable(original.id, `its content type ${contentType ?? ''} is not taken in`);
}

interface Replay {
  readonly ids: ReplayIds;
  readonly rootId: string;
  readonly body: Buffer;
  readonly reason: string | undefined;
}

async function insertReplay(
  db: pg.PoolClient,
  original: Original,
  { ids, rootId, body, reason }: Replay,
): Promise<void> {
  await db.query(
    `insert into delivery (id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, reason, method, query, headers,
       body, body_size, root_id, execution_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      ids.deliveryId,
      original.tenant_id,
      original.workflow_id,
      original.endpoint_id,
      original.trigger_name,
      reason === undefined ? 'accepted' : 'filtered',
      reason ?? null,
      original.method,
      original.query,
      original.headers,
      body,
      body.length,
      rootId,
      reason === undefined ? ids.executionId : null,
    ],
  );
  await db.query(`update delivery set replay_count = replay_count + 1 where id = $1`, [rootId]);
}
