import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { makeId } from '../../src/core/db/ids.ts';
import { PARTITIONED_TABLES } from '../../src/core/db/partitions.ts';
import type { IncomingDelivery } from '../../src/core/deliveries/ingest.ts';
import { EXECUTION_FORMAT } from '../../src/core/executions/status.ts';
import type { Owner } from './executions.ts';

/**
 * Long histories and backlogs, made by SQL in the database: what the platform would leave, row for row, without the
 * time that running it takes. As the database's administrator, past row-level security.
 */
type Admin = Pick<pg.ClientBase, 'query'>;

const BATCH = 50_000;

/** The request that each made delivery is of. */
export interface SampleRequest {
  readonly headersJson: string;
  readonly body: Buffer;
}

const SAMPLE: SampleRequest = {
  headersJson: '{"content-type":"application/json"}',
  body: Buffer.from('{"n":1}'),
};

/** A delivery as ingest takes it, with ids of this moment. */
export const sampleDelivery = (
  { tenantId, workflowId }: Owner,
  request: SampleRequest = SAMPLE,
): IncomingDelivery => ({
  deliveryId: makeId(Date.now()),
  executionId: makeId(Date.now()),
  tenantId,
  workflowId,
  version: 1,
  endpointId: 'made',
  triggerName: 'in',
  verdict: 'accepted',
  dedupeKey: randomUUID(),
  method: 'POST',
  query: '',
  ...request,
});

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Rows extends Span {
  /** Taken in turn. */
  readonly owners: readonly Owner[];
  readonly executions: number;
  readonly request?: SampleRequest;
}

/** Makes `count` tenants with one workflow each: a copy of `like`, or an empty one. */
export async function makeOwners(
  db: Admin,
  count: number,
  like?: { readonly workflowId: string },
): Promise<readonly Owner[]> {
  const { rows } = await db.query<{ tenant_id: string; workflow_id: string }>(
    `with t as (
       insert into tenant (name) select 'owner' || n from generate_series(1, $1::int) n returning id
     ), w as (
       insert into workflow (tenant_id, name, current_version) select id, 'copy', 1 from t returning id, tenant_id
     ), v as (
       insert into workflow_version (workflow_id, version, tenant_id, content_hash, format, source, document, files, programs)
       select w.id, 1, w.tenant_id, coalesce(v.content_hash, ''), coalesce(v.format, 1), coalesce(v.source, ''),
         coalesce(v.document, '{"steps":[]}'), coalesce(v.files, '{}'), coalesce(v.programs, '{}')
       from w left join workflow_version v on v.workflow_id = $2::uuid and v.version = 1
     )
     select id as workflow_id, tenant_id from w`,
    [count, like?.workflowId ?? null],
  );
  return rows.map((row) => ({ tenantId: row.tenant_id, workflowId: row.workflow_id }));
}

/** Makes the partitions of a span, each of `days` days; normally they lie ahead. */
export async function makePartitions(db: Admin, span: Span, days = 1): Promise<void> {
  const first = `(to_timestamp($2 / 1000.0) at time zone 'utc')::date`;
  const last = `(to_timestamp($3 / 1000.0) at time zone 'utc')::date`;
  for (const table of PARTITIONED_TABLES) {
    for (let made: string | null | undefined; made !== null;) {
      const { rows } = await db.query<{ name: string | null }>(
        `select millrace_add_partition($1, ${first}, ${last} - ${first} + 1, $4) as name`,
        [table, span.fromMs, span.toMs, days],
      );
      made = rows[0]!.name; // a select without from returns one row
    }
  }
}

/** A UUIDv7 (RFC 9562) of `at`, with random bits. */
const uuid7 = (at: string): string =>
  `overlay(overlay(gen_random_uuid()::text placing substr(millrace_uuid7_floor(${at})::text, 1, 13) from 1) placing '7' from 15)::uuid`;

/** One row for each execution of a batch, in order of time: a span is `$1` to `$2`, the batch `$3` to `$4` of `$5` in all. */
const ROWS = `n as materialized (
  select i, at, ${uuid7('at')} as delivery_id, ${uuid7(`at + interval '1 ms'`)} as id, o.tenant_id, o.workflow_id
  from (select i, to_timestamp(($1::float8 + ($2::float8 - $1::float8) * i / $5::float8) / 1000) as at
        from generate_series($3::int, $4::int - 1) i) at
  join (select tenant_id, workflow_id, ordinality - 1 as k
        from unnest($6::uuid[], $7::uuid[]) with ordinality as o(tenant_id, workflow_id, ordinality)) o
    on o.k = i % cardinality($6::uuid[])
  order by at
), d as (
  insert into delivery (id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, method, query, headers, body,
    body_size, execution_id, received_at)
  select delivery_id, tenant_id, workflow_id, 'made', 'in', 'accepted', 'POST', '', $8::json, $9::bytea, length($9::bytea), id, at
  from n
)`;

async function inBatches(
  db: Admin,
  rows: Rows,
  insert: string,
  more: readonly unknown[] = [],
): Promise<void> {
  const { owners, executions, request = SAMPLE } = rows;
  await makePartitions(db, rows);
  for (let from = 0; from < executions; from += BATCH) {
    await db.query(`with ${ROWS}, ${insert}`, [
      rows.fromMs,
      rows.toMs,
      from,
      Math.min(executions, from + BATCH),
      executions,
      owners.map((owner) => owner.tenantId),
      owners.map((owner) => owner.workflowId),
      request.headersJson,
      request.body,
      ...more,
    ]);
  }
}

const OUTPUT = `json_build_object('n', i, 'text', 'what a step gave')`;

/** Executions that have ended, one of twenty as failed, each with its delivery and `steps` recorded steps. */
export async function insertHistory(db: Admin, rows: Rows & { readonly steps: number }): Promise<void> {
  await inBatches(
    db,
    rows,
    `e as (
       insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id,
         dispatch_number, output, error, created_at, started_at, finished_at)
       select id, tenant_id, workflow_id, 1, ${EXECUTION_FORMAT}, case when i % 20 = 0 then 'failed' else 'succeeded' end,
         'webhook', 'in', delivery_id, 1, case when i % 20 <> 0 then ${OUTPUT} end,
         case when i % 20 = 0 then '{"code":"http_status","message":"made"}'::json end,
         at, at + interval '2 ms', at + interval '9 ms'
       from n
     )
     insert into step_run (execution_id, step_id, attempt, tenant_id, state, output, started_at, finished_at)
     select id, 'step' || s, 1, tenant_id, 'succeeded', ${OUTPUT}, at + interval '3 ms', at + interval '4 ms'
     from n, generate_series(1, $10::int) s`,
    [rows.steps],
  );
}

/** Executions that wait for a worker since they were accepted, each with its delivery. */
export async function insertBacklog(db: Admin, rows: Rows): Promise<void> {
  await inBatches(
    db,
    rows,
    `e as (
       insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id,
         next_dispatch_at, created_at)
       select id, tenant_id, workflow_id, 1, ${EXECUTION_FORMAT}, 'queued', 'webhook', 'in', delivery_id, at, at from n
     )
     select 1`,
  );
}
