import type pg from 'pg';
import { maybeOne, one } from '../db/database.ts';
import { appError } from '../errors/app-error.ts';
import type { JsonValue } from '../json.ts';
import { insertExecution } from './lifecycle.ts';

export interface ManualStart {
  /** Of the new execution, if it becomes one. */
  readonly id: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly triggerName: string;
  readonly input: JsonValue;
  /** The caller's name for this start; a repetition gets the first one's execution. */
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
}

export interface Started {
  readonly executionId: string;
  /** False when an earlier request with the same key had started it. */
  readonly isNew: boolean;
}

/**
 * Queues an execution with an input of its own. The caller commits, then publishes the hint.
 *
 * @param db within a tenant, in a transaction
 * @throws AppError `idempotency_conflict` when the key was used with another input
 */
export async function startManually(db: pg.PoolClient, start: ManualStart): Promise<Started> {
  if (start.idempotencyKey !== undefined) {
    const executionId = await claimKey(db, start, start.idempotencyKey);
    if (executionId !== start.id) {
      await requireSameInput(db, executionId, start.input);
      return { executionId, isNew: false };
    }
  }
  await insertExecution(db, {
    id: start.id,
    tenantId: start.tenantId,
    workflowId: start.workflowId,
    version: start.version,
    triggerType: 'manual',
    triggerName: start.triggerName,
    input: start.input,
    ...(start.traceparent !== undefined && { traceparent: start.traceparent }),
  });
  return { executionId: start.id, isNew: true };
}

/** The execution that owns the key: ours, or that of an earlier request. */
async function claimKey(db: pg.PoolClient, start: ManualStart, key: string): Promise<string> {
  const scope = `workflow:${start.workflowId}`;
  // Waits for a concurrent insert of the same key, and wins if that one rolls back.
  const inserted = await db.query(
    `insert into delivery_key (endpoint_id, key, execution_id) values ($1, $2, $3) on conflict do nothing`,
    [scope, key, start.id],
  );
  if (inserted.rowCount === 1) return start.id;
  const { execution_id: executionId } = one(
    await db.query<{ execution_id: string }>(
      `select execution_id from delivery_key where endpoint_id = $1 and key = $2`,
      [scope, key],
    ),
  );
  return executionId;
}

async function requireSameInput(db: pg.PoolClient, executionId: string, input: JsonValue): Promise<void> {
  const row = maybeOne(
    await db.query<{ input: string | null }>(`select input from execution where id = $1`, [executionId]),
  );
  // `json` keeps the text as it was written, by the same function; without the row nothing speaks against it.
  if (row !== undefined && row.input !== JSON.stringify(input)) throw appError('idempotency_conflict');
}
