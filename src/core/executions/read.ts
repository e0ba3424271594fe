import { createConditions } from '../db/conditions.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import { STEP_KINDS } from '../definition/types.ts';
import { manualTrigger, storedBody, webhookTrigger, type TriggerValue } from '../deliveries/trigger.ts';
import { isRecord, type JsonObject, type JsonValue } from '../json.ts';
import {
  foldJournal,
  NO_ITEM,
  PENDING,
  type RecordedError,
  type StepProgress,
  type StepRun,
} from './journal.ts';
import { isStepTerminal, isTerminal, type ExecutionState, type StepState } from './status.ts';

/** An execution as a list shows it. */
export interface ExecutionSummary {
  readonly id: string;
  readonly workflow: string;
  readonly version: number;
  readonly state: ExecutionState;
  readonly triggerType: string;
  readonly triggerName: string;
  readonly deliveryId: string | null;
  readonly retryOf: string | null;
  readonly error: RecordedError | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
}

export interface ExecutionFilter {
  /** Rows of every workflow of that name count, deleted ones too. */
  readonly workflow?: string;
  readonly state?: ExecutionState;
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly to?: Date;
}

interface SummaryRow {
  id: string;
  workflow: string;
  version: number;
  state: ExecutionState;
  trigger_type: string;
  trigger_name: string;
  delivery_id: string | null;
  retry_of: string | null;
  error: string | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
}

/**
 * The newest executions first, those before `beforeId` if it is given.
 *
 * @param db within a tenant
 */
export async function listExecutions(
  db: Queryable,
  filter: ExecutionFilter,
  page: { readonly limit: number; readonly beforeId?: string | undefined },
): Promise<readonly ExecutionSummary[]> {
  const conditions = await filterConditions(db, filter);
  if (conditions === undefined) return [];
  conditions.add('id < ?::uuid', page.beforeId);
  const limit = conditions.value(page.limit);
  // The page is cut before the join, which then costs one look-up a row.
  const { rows } = await db.query<SummaryRow>(
    `with page as materialized (
       select id, workflow_id, version, state, trigger_type, trigger_name, delivery_id, retry_of, error,
         created_at, started_at, finished_at
       from execution ${conditions.where()} order by id desc limit ${limit}
     )
     select page.*, workflow.name as workflow
     from page join workflow on workflow.id = page.workflow_id order by page.id desc`,
    [...conditions.values],
  );
  return rows.map((row) => ({
    id: row.id,
    workflow: row.workflow,
    version: row.version,
    state: row.state,
    triggerType: row.trigger_type,
    triggerName: row.trigger_name,
    deliveryId: row.delivery_id,
    retryOf: row.retry_of,
    error: parseError(row.error),
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  }));
}

/** Undefined when nothing can match: there is no such workflow. */
async function filterConditions(db: Queryable, filter: ExecutionFilter) {
  const conditions = createConditions('tenant_id = millrace_tenant()');
  if (filter.workflow !== undefined) {
    // Looked up first: with one id PostgreSQL reads the page straight off the index on (workflow_id, id).
    const ids = await workflowIdsOfName(db, filter.workflow);
    if (ids.length === 0) return undefined;
    if (ids.length === 1) conditions.add('workflow_id = ?::uuid', ids[0]);
    else conditions.add('workflow_id = any(?::uuid[])', ids);
  }
  conditions.add('state = ?', filter.state);
  addTimeRange(conditions, 'created_at', filter);
  return conditions;
}

/**
 * Rows of `filter`'s time range. The condition on the id is there to leave out partitions; it is wider by an hour, as
 * an id is made a little before its row is committed, by another process's clock.
 */
export function addTimeRange(
  conditions: ReturnType<typeof createConditions>,
  column: 'created_at' | 'received_at',
  range: { readonly from?: Date | undefined; readonly to?: Date | undefined },
): void {
  conditions.add(`${column} >= ?::timestamptz`, range.from);
  conditions.add(`${column} < ?::timestamptz`, range.to);
  conditions.add(`id >= millrace_uuid7_floor(?::timestamptz - interval '1 hour')`, range.from);
  conditions.add(`id < millrace_uuid7_floor(?::timestamptz + interval '1 hour')`, range.to);
}

/** All workflows that have or had this name in the tenant. */
export async function workflowIdsOfName(db: Queryable, name: string): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from workflow where tenant_id = millrace_tenant() and name = $1`,
    [name],
  );
  return rows.map((row) => row.id);
}

/** A step of an execution, in the place that the document gives it. */
export interface ExecutionStep {
  readonly id: string;
  readonly kind: string;
  readonly state: StepState;
  readonly attempts: number;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  readonly input: JsonValue;
  readonly output: JsonValue;
  readonly error: RecordedError | null;
}

export interface ExecutionDetail extends ExecutionSummary {
  readonly trigger: TriggerValue | JsonObject;
  readonly input: JsonValue;
  readonly output: JsonValue;
  readonly steps: readonly ExecutionStep[];
}

interface DetailRow extends SummaryRow {
  input: string | null;
  output: string | null;
  document: string;
  method: string | null;
  query: string;
  headers: string;
  body: Buffer | null;
  received_ms: number;
  created_ms: number;
}

/** An execution with its steps. @param db within a tenant */
export async function getExecution(db: Queryable, id: string): Promise<ExecutionDetail | undefined> {
  const row = maybeOne(
    await db.query<DetailRow>({
      name: 'get-execution',
      text: `select e.id, w.name as workflow, e.version, e.state, e.trigger_type, e.trigger_name, e.delivery_id, e.retry_of,
          e.input, e.output, e.error, e.created_at, e.started_at, e.finished_at,
          (extract(epoch from e.created_at) * 1000)::float8 as created_ms, v.document,
          d.method, d.query, d.headers, d.body, (extract(epoch from d.received_at) * 1000)::float8 as received_ms
        from execution e
        join workflow w on w.id = e.workflow_id
        join workflow_version v on v.workflow_id = e.workflow_id and v.version = e.version
        left join delivery d on d.id = e.delivery_id
        where e.id = $1 and e.tenant_id = millrace_tenant()`,
      values: [id],
    }),
  );
  if (row === undefined) return undefined;
  const progress = foldJournal(await readSteps(db, id));
  return {
    id: row.id,
    workflow: row.workflow,
    version: row.version,
    state: row.state,
    triggerType: row.trigger_type,
    triggerName: row.trigger_name,
    deliveryId: row.delivery_id,
    retryOf: row.retry_of,
    trigger: triggerOf(row),
    input: parseStored(row.input),
    output: parseStored(row.output),
    error: parseError(row.error),
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    steps: stepsOfDocument(JSON.parse(row.document)).map((step) =>
      toStep(step, progress.get(step.id) ?? PENDING, isTerminal(row.state)),
    ),
  };
}

function triggerOf(row: DetailRow): TriggerValue | JsonObject {
  if (row.trigger_type === 'manual') {
    return manualTrigger(row.trigger_name, parseStored(row.input), row.created_ms);
  }
  if (row.method === null || row.delivery_id === null) {
    // Retention has dropped the delivery before its execution.
    return { type: row.trigger_type, name: row.trigger_name, deliveryId: row.delivery_id };
  }
  const headers = JSON.parse(row.headers) as JsonObject;
  return webhookTrigger(row.trigger_name, row.delivery_id, row.received_ms, {
    method: row.method,
    query: row.query,
    headers,
    body: storedBody(headers, row.body ?? Buffer.alloc(0)),
  });
}

function toStep(step: DocumentStep, progress: StepProgress, hasEnded: boolean): ExecutionStep {
  // What had not ended when the execution did will not run any more.
  const isCutOff = hasEnded && !isStepTerminal(progress.state);
  return {
    id: step.id,
    kind: step.kind,
    state: isCutOff ? 'cancelled' : progress.state,
    attempts: progress.attempts,
    startedAt: toDate(progress.startedAtMs),
    finishedAt: toDate(progress.finishedAtMs),
    input: progress.input ?? null,
    output: progress.output ?? null,
    error: progress.error ?? null,
  };
}

const toDate = (ms: number | undefined): Date | null => (ms === undefined ? null : new Date(ms));

interface StepRow {
  readonly step_id: string;
  readonly item: number;
  readonly attempt: number;
  readonly state: StepRun['state'];
  readonly input: string | null;
  readonly output: string | null;
  readonly error: string | null;
  readonly repeats: boolean;
  readonly started_ms: number | null;
  readonly finished_ms: number | null;
}

const toMs = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`;

/** The journal as far as it is shown: the elements of a forEach, of which there may be thousands, count as one. */
async function readSteps(db: Queryable, executionId: string): Promise<readonly StepRun[]> {
  const { rows } = await db.query<StepRow>({
    name: 'read-steps',
    text: `select step_id, item, attempt, state, input, output, error, retry_at is not null as repeats,
        ${toMs('started_at')} as started_ms, ${toMs('finished_at')} as finished_ms
      from step_run where execution_id = $1 and item = ${NO_ITEM}
      union all
      select step_id, 0, max(attempt), 'succeeded', null, null, null, false, ${toMs('min(started_at)')}, null
      from step_run where execution_id = $1 and item <> ${NO_ITEM} group by step_id`,
    values: [executionId],
  });
  return rows.map((row) => ({
    stepId: row.step_id,
    item: row.item,
    attempt: row.attempt,
    state: row.state,
    input: parseStored(row.input),
    output: parseStored(row.output),
    error: parseError(row.error) ?? undefined,
    ...(row.repeats && { dueAtMs: 0 }),
    startedAtMs: row.started_ms ?? undefined,
    finishedAtMs: row.finished_ms ?? undefined,
  }));
}

interface DocumentStep {
  readonly id: string;
  readonly kind: string;
}

/** The steps of a stored document, in its order. What a newer release wrote has kind `unknown`. */
export function stepsOfDocument(document: unknown): readonly DocumentStep[] {
  const steps: unknown = isRecord(document) ? document['steps'] : undefined;
  if (!Array.isArray(steps)) return [];
  return steps.flatMap((step: unknown) => {
    if (!isRecord(step) || typeof step['id'] !== 'string') return [];
    return [{ id: step['id'], kind: STEP_KINDS.find((kind) => Object.hasOwn(step, kind)) ?? 'unknown' }];
  });
}

/** A `json` column's value; SQL null is null. */
const parseStored = (text: string | null): JsonValue =>
  text === null ? null : (JSON.parse(text) as JsonValue);

/** An `error` column; written by the engine, so it has this shape. */
const parseError = (text: string | null): RecordedError | null => parseStored(text) as RecordedError | null;

/** The workflow of an execution, as it is now. */
export interface WorkflowOfExecution {
  readonly name: string;
  readonly isDeleted: boolean;
  readonly enabled: boolean;
  readonly currentVersion: number;
}

/** Undefined when there is no such execution. @param db within a tenant */
export async function workflowOfExecution(
  db: Queryable,
  id: string,
): Promise<WorkflowOfExecution | undefined> {
  return maybeOne(
    await db.query<WorkflowOfExecution>(
      `select w.name, w.deleted_at is not null as "isDeleted", w.enabled, w.current_version as "currentVersion"
       from execution e join workflow w on w.id = e.workflow_id
       where e.id = $1 and e.tenant_id = millrace_tenant()`,
      [id],
    ),
  );
}

/** The ids of an execution's steps, in the document's order; undefined when there is no such execution. @param db within a tenant */
export async function stepIdsOfExecution(db: Queryable, id: string): Promise<readonly string[] | undefined> {
  const row = maybeOne(
    await db.query<{ document: string }>(
      `select v.document from execution e
       join workflow_version v on v.workflow_id = e.workflow_id and v.version = e.version
       where e.id = $1 and e.tenant_id = millrace_tenant()`,
      [id],
    ),
  );
  return row && stepsOfDocument(JSON.parse(row.document)).map((step) => step.id);
}
