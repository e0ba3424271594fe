import { createConditions, type Conditions } from '../db/conditions.ts';
import type { Queryable } from '../db/database.ts';
import { HOUR_MS } from '../definition/duration.ts';
import { addTimeRange, workflowIdsOfName, type ExecutionFilter } from './read.ts';
import { EXECUTION_STATES, type ExecutionState } from './status.ts';

export interface ExecutionStats {
  readonly total: number;
  readonly counts: Readonly<Record<ExecutionState, number>>;
  /** From start to end; null when none has ended. Of many, the newest tell: see {@link SAMPLE}. */
  readonly durationMs: DurationStats | null;
}

export interface DurationStats {
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export type StatsFilter = Omit<ExecutionFilter, 'state'>;

/**
 * Executions that durations are read of: this many of the newest, and as many of the newest that are older than
 * whatever waits, as a backlog may be all that is new.
 */
const SAMPLE = 10_000;

/**
 * Counts every execution of the range, from indexes alone; and looks at some for their duration.
 *
 * @param db within a tenant
 */
export async function executionStats(db: Queryable, filter: StatsFilter): Promise<ExecutionStats> {
  const workflowIds =
    filter.workflow === undefined ? undefined : await workflowIdsOfName(db, filter.workflow);
  const counts = workflowIds?.length === 0 ? [] : await countByState(db, workflowIds, filter);
  const count = (state: ExecutionState | 'all'): number =>
    counts.reduce((sum, row) => (row.state === state ? sum + row.count : sum), 0);
  const total = count('all');
  const others = EXECUTION_STATES.reduce((sum, state) => sum + count(state), 0);
  return {
    total,
    counts: Object.fromEntries(
      EXECUTION_STATES.map((state) => [state, state === 'succeeded' ? total - others : count(state)]),
    ) as Record<ExecutionState, number>, // one entry for each state
    durationMs: total === 0 ? null : await durations(db, workflowIds, filter),
  };
}

/** One workflow's id is compared as such: PostgreSQL then reads its rows off the index in order. */
function conditionsOf(workflowIds: readonly string[] | undefined): Conditions {
  const conditions = createConditions('tenant_id = millrace_tenant()');
  if (workflowIds?.length === 1) conditions.add('workflow_id = ?::uuid', workflowIds[0]);
  else conditions.add('workflow_id = any(?::uuid[])', workflowIds);
  return conditions;
}

interface CountRow {
  readonly state: ExecutionState | 'all';
  readonly count: number;
}

/** Those that have succeeded are the rest of all, as no index tells of them. */
async function countByState(
  db: Queryable,
  workflowIds: readonly string[] | undefined,
  range: StatsFilter,
): Promise<readonly CountRow[]> {
  const conditions = conditionsOf(workflowIds);
  const owned = conditions.where();
  const notSucceeded = EXECUTION_STATES.filter((state) => state !== 'succeeded').map((state) => `'${state}'`);
  const parts = slicesOf(conditions, range).flatMap((slice) => [
    `select 'all' as state, count(*) from execution ${owned} and ${slice}`,
    `select state, count(*) from execution ${owned} and ${slice} and state in (${notSucceeded.join(', ')}) group by state`,
  ]);
  const { rows } = await db.query<CountRow>(parts.join(' union all '), [...conditions.values]);
  return rows;
}

/**
 * The range in parts. The time of creation is in no index, the id is; so only around the ends of the range, where the two
 * may disagree, rows are looked at.
 */
function slicesOf(conditions: Conditions, { from, to }: StatsFilter): readonly string[] {
  const time = (at: Date): string => `${conditions.value(at)}::timestamptz`;
  const idOf = (at: Date, hours: number): string =>
    `millrace_uuid7_floor(${time(at)} + interval '${hours} hour')`;
  const starts = from && `created_at >= ${time(from)}`;
  const ends = to && `created_at < ${time(to)}`;
  if (from && to && to.getTime() - from.getTime() <= 4 * HOUR_MS) {
    return [`id >= ${idOf(from, -1)} and id < ${idOf(to, 1)} and ${starts} and ${ends}`];
  }
  const between = [from && `id >= ${idOf(from, 1)}`, to && `id < ${idOf(to, -1)}`].filter(
    (text) => text !== undefined,
  );
  return [
    between.length === 0 ? 'true' : between.join(' and '),
    ...(from ? [`id >= ${idOf(from, -1)} and id < ${idOf(from, 1)} and ${starts}`] : []),
    ...(to ? [`id >= ${idOf(to, -1)} and id < ${idOf(to, 1)} and ${ends}`] : []),
  ];
}

async function durations(
  db: Queryable,
  workflowIds: readonly string[] | undefined,
  range: StatsFilter,
): Promise<DurationStats | null> {
  const conditions = conditionsOf(workflowIds);
  addTimeRange(conditions, 'created_at', range);
  const newest = (more: string): string =>
    `(select id, started_at, finished_at from execution ${conditions.where()} ${more} order by id desc limit ${SAMPLE})`;
  const firstDue = `(select next_dispatch_at from execution
    where tenant_id = millrace_tenant() and next_dispatch_at is not null order by next_dispatch_at limit 1)`;
  const { rows } = await db.query<{ percentiles: readonly number[] | null; longest: number | null }>(
    `with sample as materialized (
       ${newest('')} union ${newest(`and id < millrace_uuid7_floor(${firstDue})`)}
     ), duration as materialized (
       select (extract(epoch from finished_at - started_at) * 1000)::float8 as ms from sample
       where finished_at is not null and started_at is not null
     )
     select percentile_cont(array[0.5, 0.9, 0.95, 0.99]) within group (order by ms) as percentiles, max(ms) as longest
     from duration`,
    [...conditions.values],
  );
  const [p50, p90, p95, p99] = (rows[0]?.percentiles ?? []).map((ms) => Math.round(ms));
  return p50 === undefined || p90 === undefined || p95 === undefined || p99 === undefined
    ? null
    : { p50, p90, p95, p99, max: Math.round(rows[0]?.longest ?? 0) };
}
