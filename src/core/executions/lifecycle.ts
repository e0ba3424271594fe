import { maybeOne, type Queryable } from '../db/database.ts';
import { appError } from '../errors/app-error.ts';
import type { JsonValue } from '../json.ts';
import { ACCEPTED_IN } from './machine.ts';
import { EXECUTION_FORMAT, TERMINAL_EXECUTION_STATES, isTerminal, type ExecutionState } from './status.ts';

export interface NewExecution {
  readonly id: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly triggerType: 'manual' | 'webhook';
  readonly triggerName: string;
  readonly deliveryId?: string;
  readonly input?: JsonValue;
  readonly traceparent?: string;
}

/** Queues an execution; it is due at once. The caller commits, then publishes the hint. */
export async function insertExecution(db: Queryable, execution: NewExecution): Promise<void> {
  await db.query({
    name: 'insert-execution',
    text: `insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id, input, traceparent, next_dispatch_at)
      values ($1, $2, $3, $4, $5, 'queued', $6, $7, $8, $9, $10, now())`,
    values: [
      execution.id,
      execution.tenantId,
      execution.workflowId,
      execution.version,
      EXECUTION_FORMAT,
      execution.triggerType,
      execution.triggerName,
      execution.deliveryId ?? null,
      execution.input === undefined ? null : JSON.stringify(execution.input),
      execution.traceparent ?? null,
    ],
  });
}

const CANCELLED_ERROR = `json_build_object('code', 'cancelled', 'message', $2::text)`;
const CANCELLABLE = ACCEPTED_IN.cancel.map((state) => `'${state}'`).join(', ');

/** What `cancel` of machine.ts does, in one compare-and-set over the rows that `condition` selects. */
const cancelWhere = (condition: string): string => `update execution set
  cancel_requested_at = coalesce(cancel_requested_at, now()),
  cancel_reason = coalesce(cancel_reason, $2::text),
  next_dispatch_at = case when state = 'running' then next_dispatch_at end,
  finished_at = case when state = 'running' then finished_at else now() end,
  error = case when state = 'running' then error else ${CANCELLED_ERROR} end,
  state = case when state = 'running' then 'running' else 'cancelled' end
where ${condition} and state in (${CANCELLABLE})
returning id, state`;

/**
 * Asks for an execution to end: at once when nothing runs, else its worker stops it within about a second.
 *
 * @throws AppError `execution_not_found`, `execution_ended`
 */
export async function cancelExecution(db: Queryable, id: string, reason: string): Promise<ExecutionState> {
  const changed = maybeOne(await db.query<{ state: ExecutionState }>(cancelWhere('id = $1'), [id, reason]));
  if (changed !== undefined) return changed.state;
  const { rows } = await db.query<{ state: ExecutionState }>(`select state from execution where id = $1`, [
    id,
  ]);
  const current = rows[0];
  if (current === undefined) throw appError('execution_not_found', { args: [id] });
  throw appError('execution_ended', { args: [id, current.state] });
}

/** Cancels all that has not ended of a workflow that goes away; returns how many that were. */
export async function cancelExecutionsOfWorkflow(
  db: Queryable,
  workflowId: string,
  reason: string,
): Promise<number> {
  const { rowCount } = await db.query(cancelWhere('workflow_id = $1'), [workflowId, reason]);
  return rowCount ?? 0;
}

export interface RetryRequest {
  /** Of the new execution. */
  readonly id: string;
  readonly of: string;
  /** `failed` keeps the outcomes of the steps that succeeded; `start` begins anew. */
  readonly from: 'failed' | 'start';
  /** Which version to run; undefined: the same. */
  readonly version?: number;
  /** The trace that the new execution is part of; undefined: that of the original. */
  readonly traceparent?: string;
}

/**
 * Queues a new execution that repeats an ended one and is linked to it.
 *
 * @returns the trace of the original
 * @throws AppError `execution_not_found`, `execution_not_ended`; `delivery_not_replayable` when its request is kept no more
 */
export async function createRetry(
  db: Queryable,
  request: RetryRequest,
): Promise<{ readonly traceparent: string | undefined }> {
  const original = maybeOne(
    await db.query<{
      state: ExecutionState;
      delivery_id: string | null;
      traceparent: string | null;
      is_expired: boolean;
    }>(
      `select e.state, e.delivery_id, e.traceparent, e.delivery_id is not null and d.id is null as is_expired
       from execution e left join delivery d on d.id = e.delivery_id where e.id = $1`,
      [request.of],
    ),
  );
  if (original === undefined) throw appError('execution_not_found', { args: [request.of] });
  if (!isTerminal(original.state)) throw appError('execution_not_ended', { args: [request.of] });
  if (original.is_expired) {
    throw appError('delivery_not_replayable', {
      args: [original.delivery_id ?? '', 'it is older than RETENTION and gone'],
    });
  }
  await db.query(
    `insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id, input, traceparent, retry_of, retry_from, next_dispatch_at)
     select $1, tenant_id, workflow_id, coalesce($3, version), $4, 'queued', trigger_type, trigger_name, delivery_id, input, coalesce($7, traceparent), id, $5, now()
     from execution where id = $2 and state = any($6)`,
    [
      request.id,
      request.of,
      request.version ?? null,
      EXECUTION_FORMAT,
      request.from,
      [...TERMINAL_EXECUTION_STATES],
      request.traceparent ?? null,
    ],
  );
  const result = { traceparent: original.traceparent ?? undefined };
  if (request.from === 'start') return result;
  await db.query(
    `insert into step_run (execution_id, step_id, item, attempt, tenant_id, state, input, output, started_at, finished_at)
     select $1, step_id, item, attempt, tenant_id, state, input, output, started_at, finished_at
     from step_run where execution_id = $2 and state = 'succeeded'`,
    [request.id, request.of],
  );
  return result;
}
