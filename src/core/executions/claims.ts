import { one, type Database, type Queryable } from '../db/database.ts';
import { ACCEPTED_IN } from './machine.ts';
import { EXECUTION_FORMAT, MAX_LOST_LEASES, stateOfRow, type ExecutionState } from './status.ts';

/** The webhook request of an execution, as it was stored. */
export interface DeliveryRecord {
  readonly method: string;
  readonly query: string;
  readonly headersJson: string;
  readonly body: Buffer;
  readonly receivedAtMs: number;
}

/** An execution that this worker has the right to advance, with all that the first step needs. */
export interface Claim {
  readonly id: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly triggerType: string;
  readonly triggerName: string;
  readonly deliveryId: string | undefined;
  readonly delivery: DeliveryRecord | undefined;
  readonly inputJson: string | undefined;
  readonly traceparent: string | undefined;
  readonly leaseId: string;
  readonly dispatchNumber: number;
  readonly lostLeases: number;
  readonly activeMs: number;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  /** Whether there may be journal rows: it ran before, or continues another execution. */
  readonly hasJournal: boolean;
}

/** What a claim of several executions gave. */
export interface ClaimResult {
  readonly claims: readonly Claim[];
  /** Executions that lost a lease, those that were given up for it included. */
  readonly lostLeases: number;
  /** Executions that ended as `worker_lost`. */
  readonly gaveUp: readonly GivenUp[];
}

export type GivenUp = Pick<Claim, 'id' | 'tenantId' | 'workflowId' | 'version' | 'traceparent'>;

interface ClaimRow {
  id: string;
  tenant_id: string;
  workflow_id: string;
  version: number;
  state: ExecutionState;
  trigger_type: string;
  trigger_name: string;
  delivery_id: string | null;
  input: string | null;
  traceparent: string | null;
  lease_id: string;
  dispatch_number: number;
  lost_leases: number;
  active_ms: number;
  created_ms: number;
  started_ms: number;
  has_journal: boolean;
  took_over: boolean;
  method: string | null;
  query: string;
  headers: string;
  body: Buffer | null;
  received_ms: number;
}

/**
 * The compare-and-set of a claim, over the rows that `due` locked: exactly what `transition` of machine.ts says for
 * `claim`. The first claim's delivery comes along, which saves a round trip. Ids are named twice for the same reason as in
 * journal-store.ts.
 */
const CLAIM = `
claimed as (
  update execution e set
    state = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES} then 'failed' else 'running' end,
    lost_leases = e.lost_leases + (e.state = 'running')::int,
    lease_id = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES} then null else gen_random_uuid() end,
    next_dispatch_at = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES} then null
      else now() + $1::float8 * interval '1 millisecond' end,
    dispatch_number = e.dispatch_number + (e.lost_leases + (e.state = 'running')::int < ${MAX_LOST_LEASES})::int,
    active_ms = e.active_ms + coalesce(extract(epoch from now() - e.claimed_at) * 1000, 0)::bigint,
    claimed_at = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES} then null else now() end,
    started_at = coalesce(e.started_at, now()),
    finished_at = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES} then now() end,
    error = case when e.lost_leases + (e.state = 'running')::int >= ${MAX_LOST_LEASES}
      then '{"code":"worker_lost","message":"The execution lost its worker ${MAX_LOST_LEASES} times; it may be what ends them"}'::json end
  from due where e.id = due.id and e.id = any(array(select id from due))
  returning e.*, due.was_running as took_over
)
select c.id, c.tenant_id, c.workflow_id, c.version, c.state, c.trigger_type, c.trigger_name, c.delivery_id, c.input, c.traceparent,
  c.lease_id, c.dispatch_number, c.lost_leases, c.active_ms, c.took_over,
  (extract(epoch from c.created_at) * 1000)::float8 as created_ms,
  (extract(epoch from c.started_at) * 1000)::float8 as started_ms,
  c.dispatch_number > 1 or c.retry_of is not null as has_journal,
  d.method, d.query, d.headers, d.body, (extract(epoch from d.received_at) * 1000)::float8 as received_ms
from claimed c left join delivery d on d.id = c.delivery_id and d.id = any(array(select delivery_id from claimed))`;

const CLAIMABLE = `format = ${EXECUTION_FORMAT}
  and ${stateOfRow('execution')} in (${ACCEPTED_IN.claim.map((state) => `'${state}'`).join(', ')})`;

/**
 * Claims those of `ids` that are due and that nobody else holds; the rest is passed over in silence.
 *
 * @param excludedTenants tenants that have their share of this worker's slots already
 * @param leaseMs how long the right to act lasts without a heartbeat
 */
export async function claimByIds(
  db: Queryable,
  ids: readonly string[],
  excludedTenants: readonly string[],
  leaseMs: number,
): Promise<ClaimResult> {
  const { rows } = await db.query<ClaimRow>({
    name: 'claim-by-ids',
    text: `with due as materialized (
      select id, state = 'running' as was_running from execution
      where id = any($2::uuid[]) and tenant_id <> all($3::uuid[]) and ${CLAIMABLE}
        -- Not by the dispatch index, which planners take for empty where nothing was due when it was last analysed.
        and coalesce(next_dispatch_at, 'infinity') <= now()
      for no key update skip locked
    ), ${CLAIM}`,
    values: [leaseMs, ids, excludedTenants],
  });
  return toClaimResult(rows);
}

/** How many executions to take of a tenant. */
export interface TenantQuota {
  readonly tenantId: string;
  readonly limit: number;
}

/** Claims the longest due executions of each tenant, up to its quota. */
export async function claimDue(
  db: Queryable,
  quotas: readonly TenantQuota[],
  leaseMs: number,
): Promise<ClaimResult> {
  const { rows } = await db.query<ClaimRow>({
    name: 'claim-due',
    text: `with quota as materialized (
      select * from unnest($2::uuid[], $3::int[]) as q(tenant_id, take)
    ), due as materialized (
      select e.id, e.state = 'running' as was_running from quota q cross join lateral (
        select id, state from execution
        where tenant_id = q.tenant_id and next_dispatch_at <= now() and ${CLAIMABLE}
        order by next_dispatch_at limit q.take
        for no key update skip locked
      ) e
    ), ${CLAIM}`,
    values: [leaseMs, quotas.map((quota) => quota.tenantId), quotas.map((quota) => quota.limit)],
  });
  return toClaimResult(rows);
}

function toClaimResult(rows: readonly ClaimRow[]): ClaimResult {
  return {
    claims: rows.filter((row) => row.state === 'running').map(toClaim),
    lostLeases: rows.filter((row) => row.took_over).length,
    gaveUp: rows
      .filter((row) => row.state !== 'running')
      .map((row) => ({
        id: row.id,
        tenantId: row.tenant_id,
        workflowId: row.workflow_id,
        version: row.version,
        traceparent: row.traceparent ?? undefined,
      })),
  };
}

function toClaim(row: ClaimRow): Claim {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    workflowId: row.workflow_id,
    version: row.version,
    triggerType: row.trigger_type,
    triggerName: row.trigger_name,
    deliveryId: row.delivery_id ?? undefined,
    delivery:
      row.method === null
        ? undefined
        : {
            method: row.method,
            query: row.query,
            headersJson: row.headers,
            body: row.body ?? Buffer.alloc(0),
            receivedAtMs: row.received_ms,
          },
    inputJson: row.input ?? undefined,
    traceparent: row.traceparent ?? undefined,
    leaseId: row.lease_id,
    dispatchNumber: row.dispatch_number,
    lostLeases: row.lost_leases,
    activeMs: row.active_ms,
    createdAtMs: row.created_ms,
    startedAtMs: row.started_ms,
    hasJournal: row.has_journal,
  };
}

/**
 * Each tenant that has live executions with the time when its first one is (or was) due, found by jumping from tenant to
 * tenant in the dispatch index (a "loose index scan": one look-up a tenant, however long the backlog).
 */
export const FIRST_DUE = `with recursive first_due(tenant_id, due_at) as (
  (select tenant_id, next_dispatch_at from execution
    where next_dispatch_at is not null order by tenant_id, next_dispatch_at limit 1)
  union all
  select e.tenant_id, e.next_dispatch_at from first_due t cross join lateral (
    select tenant_id, next_dispatch_at from execution
    where next_dispatch_at is not null and tenant_id > t.tenant_id order by tenant_id, next_dispatch_at limit 1) e
)`;

/** The tenants that have due work, those included whose work only another release can do. */
export async function tenantsWithDueWork(db: Queryable): Promise<readonly string[]> {
  const { rows } = await db.query<{ tenant_id: string }>({
    name: 'tenants-with-due-work',
    text: `${FIRST_DUE} select tenant_id from first_due where due_at <= now()`,
  });
  return rows.map((row) => row.tenant_id);
}

/** A lease as its holder knows it. */
export interface HeldLease {
  readonly executionId: string;
  readonly leaseId: string;
}

/** What became of the leases that were asked about: those not named here are lost. */
export interface LeaseCheck {
  readonly held: ReadonlySet<string>;
  readonly cancelled: ReadonlySet<string>;
}

/** Extends the leases; a lease that is not in the answer belongs to somebody else now. */
export async function heartbeat(
  db: Queryable,
  leases: readonly HeldLease[],
  leaseMs: number,
): Promise<LeaseCheck> {
  const { rows } = await db.query<{ id: string; cancelled: boolean }>({
    name: 'heartbeat',
    text: `update execution e set next_dispatch_at = now() + $3::float8 * interval '1 millisecond'
      from unnest($1::uuid[], $2::uuid[]) as h(id, lease_id)
      where e.id = h.id and e.id = any($1::uuid[]) and e.lease_id = h.lease_id and ${stateOfRow('e')} = 'running'
      returning e.id, e.cancel_requested_at is not null as cancelled`,
    values: [leases.map((lease) => lease.executionId), leases.map((lease) => lease.leaseId), leaseMs],
  });
  return toLeaseCheck(rows);
}

/** Asks after the leases without extending them: cheap enough to notice a cancellation within a second. */
export async function checkLeases(db: Queryable, leases: readonly HeldLease[]): Promise<LeaseCheck> {
  const { rows } = await db.query<{ id: string; cancelled: boolean }>({
    name: 'check-leases',
    text: `select e.id, e.cancel_requested_at is not null as cancelled
      from unnest($1::uuid[], $2::uuid[]) as h(id, lease_id)
      join execution e on e.id = h.id and e.id = any($1::uuid[]) and e.lease_id = h.lease_id and ${stateOfRow('e')} = 'running'`,
    values: [leases.map((lease) => lease.executionId), leases.map((lease) => lease.leaseId)],
  });
  return toLeaseCheck(rows);
}

function toLeaseCheck(rows: readonly { id: string; cancelled: boolean }[]): LeaseCheck {
  return {
    held: new Set(rows.map((row) => row.id)),
    cancelled: new Set(rows.filter((row) => row.cancelled).map((row) => row.id)),
  };
}

/** What waits for a worker, for metrics and for shedding. */
export interface QueueDepth {
  /** Due executions, those of lost leases included; counted up to `cap`, so that a long backlog does not make the count slow. */
  readonly depth: number;
  /** Age in seconds of the longest due one; 0 when nothing is due. */
  readonly oldestAgeS: number;
}

/** Reads at most `cap` entries of the dispatch index, and one for each tenant that has work. */
export async function queueDepth(db: Queryable | Database, cap: number): Promise<QueueDepth> {
  const row = one(
    await db.query<{ depth: number; oldest_s: number }>({
      name: 'queue-depth',
      text: `${FIRST_DUE},
        tenants as materialized (select tenant_id, due_at from first_due where due_at <= now())
        select (select count(*) from (
            select from tenants t cross join lateral (
              select from execution e where e.tenant_id = t.tenant_id and e.next_dispatch_at <= now() limit $1) of_tenant
            limit $1) due)::int as depth,
          coalesce(extract(epoch from now() - (select min(due_at) from tenants)), 0)::float8 as oldest_s`,
      values: [cap],
    }),
  );
  return { depth: row.depth, oldestAgeS: row.oldest_s };
}
