import { createConditions } from '../db/conditions.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import { addTimeRange, workflowIdsOfName } from '../executions/read.ts';
import type { JsonObject } from '../json.ts';

export const VERDICTS = ['accepted', 'duplicate', 'filtered', 'rejected'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** A delivery as a list shows it. */
export interface DeliverySummary {
  readonly id: string;
  readonly workflow: string;
  readonly endpointId: string;
  readonly triggerName: string;
  readonly verdict: Verdict;
  readonly reason: string | null;
  readonly method: string;
  readonly bodySize: number;
  readonly executionId: string | null;
  /** The delivery that this one repeats. */
  readonly duplicateOf: string | null;
  /** Of a replay: the first delivery of the chain. */
  readonly rootId: string | null;
  /** How often this one, as a root, was replayed. */
  readonly replayCount: number;
  readonly receivedAt: Date;
}

export interface DeliveryDetail extends DeliverySummary {
  /** The raw query string. */
  readonly query: string;
  /** Without secret ones. */
  readonly headers: JsonObject;
  readonly dedupeKey: string | null;
}

export interface DeliveryFilter {
  readonly workflow?: string;
  readonly verdict?: Verdict;
  readonly endpointId?: string;
  readonly from?: Date;
  readonly to?: Date;
}

interface SummaryRow {
  id: string;
  workflow: string;
  endpoint_id: string;
  trigger_name: string;
  verdict: Verdict;
  reason: string | null;
  method: string;
  body_size: number;
  execution_id: string | null;
  duplicate_of: string | null;
  root_id: string | null;
  replay_count: number;
  received_at: Date;
}

const SUMMARY_COLUMNS = `id, workflow_id, endpoint_id, trigger_name, verdict, reason, method, body_size, execution_id,
  duplicate_of, root_id, replay_count, received_at`;

const toSummary = (row: SummaryRow): DeliverySummary => ({
  id: row.id,
  workflow: row.workflow,
  endpointId: row.endpoint_id,
  triggerName: row.trigger_name,
  verdict: row.verdict,
  reason: row.reason,
  method: row.method,
  bodySize: row.body_size,
  executionId: row.execution_id,
  duplicateOf: row.duplicate_of,
  rootId: row.root_id,
  replayCount: row.replay_count,
  receivedAt: row.received_at,
});

/** The newest deliveries first, those before `beforeId` if it is given. @param db within a tenant */
export async function listDeliveries(
  db: Queryable,
  filter: DeliveryFilter,
  page: { readonly limit: number; readonly beforeId?: string | undefined },
): Promise<readonly DeliverySummary[]> {
  const conditions = createConditions('tenant_id = millrace_tenant()');
  if (filter.workflow !== undefined) {
    const ids = await workflowIdsOfName(db, filter.workflow);
    if (ids.length === 0) return [];
    if (ids.length === 1) conditions.add('workflow_id = ?::uuid', ids[0]);
    else conditions.add('workflow_id = any(?::uuid[])', ids);
  }
  conditions.add('verdict = ?', filter.verdict);
  conditions.add('endpoint_id = ?', filter.endpointId);
  // An endpoint is of one workflow, by which its deliveries are found.
  conditions.add('workflow_id = (select workflow_id from endpoint where id = ?)', filter.endpointId);
  addTimeRange(conditions, 'received_at', filter);
  conditions.add('id < ?::uuid', page.beforeId);
  const limit = conditions.value(page.limit);
  const { rows } = await db.query<SummaryRow>(
    `with page as materialized (
       select ${SUMMARY_COLUMNS} from delivery ${conditions.where()} order by id desc limit ${limit}
     )
     select page.*, workflow.name as workflow
     from page join workflow on workflow.id = page.workflow_id order by page.id desc`,
    [...conditions.values],
  );
  return rows.map(toSummary);
}

/** @param db within a tenant */
export async function getDelivery(db: Queryable, id: string): Promise<DeliveryDetail | undefined> {
  const row = maybeOne(
    await db.query<SummaryRow & { query: string; headers: string; dedupe_key: string | null }>(
      `select d.*, w.name as workflow
       from (select ${SUMMARY_COLUMNS}, query, headers, dedupe_key from delivery
             where id = $1 and tenant_id = millrace_tenant()) d
       join workflow w on w.id = d.workflow_id`,
      [id],
    ),
  );
  return (
    row && {
      ...toSummary(row),
      query: row.query,
      headers: JSON.parse(row.headers) as JsonObject,
      dedupeKey: row.dedupe_key,
    }
  );
}

/** The raw bytes; of a duplicate those of the delivery it repeats. Undefined: there is no such delivery. */
export async function getDeliveryBody(db: Queryable, id: string): Promise<Buffer | undefined> {
  const row = maybeOne(
    await db.query<{ body: Buffer | null }>(
      `select coalesce(d.body, o.body) as body
       from delivery d left join delivery o on o.id = d.duplicate_of
       where d.id = $1 and d.tenant_id = millrace_tenant()`,
      [id],
    ),
  );
  return row && (row.body ?? Buffer.alloc(0));
}
