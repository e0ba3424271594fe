import type pg from 'pg';
import { createBatcher, type Batcher } from '../batcher.ts';
import { knownCommit, type Database } from '../db/database.ts';
import { SQLSTATE } from '../db/sqlstate.ts';
import type { PassFailpoint } from '../failpoints.ts';
import { appError, errorCodeOf } from '../errors/app-error.ts';
import { EXECUTION_FORMAT } from '../executions/status.ts';
import { shared, type Span, type Tracing } from '../telemetry/tracing.ts';

/** A webhook request that was judged and is to be recorded. */
export interface IncomingDelivery {
  readonly deliveryId: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly endpointId: string;
  readonly triggerName: string;
  /** `accepted` makes an execution, the others only the record. */
  readonly verdict: 'accepted' | 'filtered' | 'rejected';
  readonly reason?: string;
  /** Of the execution to be made; null unless accepted. */
  readonly executionId: string | null;
  /** What recognises a repetition within the endpoint; undefined: each one counts. */
  readonly dedupeKey?: string;
  readonly method: string;
  readonly query: string;
  readonly headersJson: string;
  readonly body: Buffer;
  readonly traceparent?: string;
  /** Of a replay: the first delivery of the chain. */
  readonly rootId?: string;
  /** What the commit is part of, where that is recorded. */
  readonly span?: Span | undefined;
}

/** What is known to be committed when this is returned. */
export interface IngestOutcome {
  readonly deliveryId: string;
  readonly executionId: string | null;
  readonly duplicate: boolean;
}

export interface IngestOptions {
  /** Acts as millrace_ingest. */
  readonly db: Database;
  readonly maxBatch?: number;
  readonly maxBatchBytes?: number;
  readonly concurrency?: number;
  readonly onBatch?: (size: number) => void;
  readonly passFailpoint?: PassFailpoint;
  readonly tracing?: Tracing | undefined;
}

export type Ingest = Batcher<IncomingDelivery, IngestOutcome>;

/**
 * A delivery that no connection could be spared for is refused while its sender still listens (FAULTS R24). What is
 * under way is not given up: its outcome is worth waiting for.
 */
const PATIENCE_MS = 1500;
const RETRY_AFTER_S = 2;

/**
 * The group-committing writer of deliveries (DESIGN section 3, Ingest): requests that arrive while a commit is under
 * way share the next one.
 *
 * `add` resolves only after a known commit. It rejects when the outcome is unknown too: the caller answers 503, and
 * the sender's repetition finds the first one by its key. It rejects with `unavailable` what waited too long to be begun.
 */
export function createIngest(options: IngestOptions): Ingest {
  const { db } = options;
  return createBatcher<IncomingDelivery, IngestOutcome>({
    maxItems: options.maxBatch ?? 200,
    maxWeight: options.maxBatchBytes ?? 4 * 1024 * 1024,
    weigh: (delivery) => delivery.body.length + delivery.headersJson.length,
    concurrency: options.concurrency ?? 2,
    ...(options.onBatch === undefined ? {} : { onFlush: options.onBatch }),
    isItemError: isDataError,
    patience: {
      ms: PATIENCE_MS,
      error: () => appError('unavailable', { args: [RETRY_AFTER_S], retryAfterS: RETRY_AFTER_S }),
    },
    flush: async (deliveries) => {
      options.passFailpoint?.('ingest.before-commit');
      const winners = await shared(options.tracing, deliveries, () =>
        repeatedOnConflict(() => insertDeliveries(db, deliveries)),
      );
      const losers = deliveries.filter((delivery) => !winners.has(delivery.deliveryId));
      const originals =
        losers.length === 0
          ? new Map<string, IngestOutcome>()
          : await shared(options.tracing, losers, () =>
              repeatedOnConflict(() => recordDuplicates(db, losers)),
            );
      return deliveries.map((delivery) => {
        if (winners.has(delivery.deliveryId)) {
          return { deliveryId: delivery.deliveryId, executionId: delivery.executionId, duplicate: false };
        }
        const original = originals.get(delivery.deliveryId);
        // Its key was there a moment ago and has expired since; the sender's repetition will be a fresh one.
        if (original === undefined) throw new Error('the original of a duplicate has expired');
        return original;
      });
    },
  });
}

/** SQLSTATE class 22: a value that PostgreSQL cannot store; the fault of one item, not of the batch. */
const isDataError = (error: Error): boolean => errorCodeOf(error)?.startsWith('22') ?? false;

async function repeatedOnConflict<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = errorCodeOf(error);
    if (code !== SQLSTATE.serializationFailure && code !== SQLSTATE.deadlockDetected) throw error;
    return work();
  }
}

/** Runs one statement that is its own transaction. @throws when its commit is not known */
async function commitStatement<R extends pg.QueryResultRow>(
  db: Database,
  query: pg.QueryConfig,
): Promise<readonly R[]> {
  return db.withConnection(async (client) => {
    const { rows } = await knownCommit(client, () => client.query<R>(query));
    return rows;
  });
}

// Sorted by key: unsorted batches of two replicas deadlock. `on conflict do nothing` waits for a concurrent insert of
// the same key and wins if the other rolls back.
const INSERT_DELIVERIES = `
with d as materialized (
  select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],
      $9::uuid[], $10::text[], $11::text[], $12::text[], $13::json[], $14::bytea[], $15::text[], $16::uuid[])
    as d(id, tenant_id, workflow_id, version, endpoint_id, trigger_name, verdict, reason,
      execution_id, key, method, query, headers, body, traceparent, root_id)
), keys as (
  insert into delivery_key (endpoint_id, key, delivery_id, execution_id)
  select endpoint_id, key, id, execution_id from d where key is not null order by endpoint_id, key
  on conflict do nothing returning delivery_id
), winners as materialized (
  select * from d where key is null or id in (select delivery_id from keys)
), deliveries as (
  insert into delivery (id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, reason, method, query, headers,
    body, body_size, dedupe_key, root_id, execution_id)
  select id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, reason, method, query, headers,
    body, length(body), key, root_id, execution_id from winners
), executions as (
  insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id,
    traceparent, next_dispatch_at)
  select execution_id, tenant_id, workflow_id, version, ${EXECUTION_FORMAT}, 'queued', 'webhook', trigger_name, id,
    traceparent, now() from winners where execution_id is not null
)
select id from winners`;

async function insertDeliveries(
  db: Database,
  deliveries: readonly IncomingDelivery[],
): Promise<ReadonlySet<string>> {
  const rows = await commitStatement<{ id: string }>(db, {
    name: 'insert-deliveries',
    text: INSERT_DELIVERIES,
    values: [
      deliveries.map((d) => d.deliveryId),
      deliveries.map((d) => d.tenantId),
      deliveries.map((d) => d.workflowId),
      deliveries.map((d) => d.version),
      deliveries.map((d) => d.endpointId),
      deliveries.map((d) => d.triggerName),
      deliveries.map((d) => d.verdict),
      deliveries.map((d) => d.reason ?? null),
      deliveries.map((d) => d.executionId),
      deliveries.map((d) => (d.verdict === 'accepted' ? (d.dedupeKey ?? null) : null)),
      deliveries.map((d) => d.method),
      deliveries.map((d) => d.query),
      deliveries.map((d) => d.headersJson),
      deliveries.map((d) => d.body),
      deliveries.map((d) => d.traceparent ?? null),
      deliveries.map((d) => d.rootId ?? null),
    ],
  });
  return new Set(rows.map((row) => row.id));
}

/** Finds the originals of deliveries that lost their key to an earlier one, and records that they came. */
async function recordDuplicates(
  db: Database,
  losers: readonly IncomingDelivery[],
): Promise<ReadonlyMap<string, IngestOutcome>> {
  const rows = await commitStatement<{ id: string; delivery_id: string; execution_id: string }>(db, {
    name: 'record-duplicates',
    text: `
with d as materialized (
  select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::json[], $10::int[])
    as d(id, tenant_id, workflow_id, endpoint_id, trigger_name, key, method, query, headers, body_size)
), original as materialized (
  select d.*, k.delivery_id, k.execution_id from d join delivery_key k on k.endpoint_id = d.endpoint_id and k.key = d.key
), recorded as (
  insert into delivery (id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, method, query, headers, body_size,
    dedupe_key, duplicate_of, execution_id)
  select id, tenant_id, workflow_id, endpoint_id, trigger_name, 'duplicate', method, query, headers, body_size,
    key, delivery_id, execution_id from original
)
select id, delivery_id, execution_id from original`,
    values: [
      losers.map((d) => d.deliveryId),
      losers.map((d) => d.tenantId),
      losers.map((d) => d.workflowId),
      losers.map((d) => d.endpointId),
      losers.map((d) => d.triggerName),
      losers.map((d) => d.dedupeKey),
      losers.map((d) => d.method),
      losers.map((d) => d.query),
      losers.map((d) => d.headersJson),
      losers.map((d) => d.body.length),
    ],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      { deliveryId: row.delivery_id, executionId: row.execution_id, duplicate: true },
    ]),
  );
}
