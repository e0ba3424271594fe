import type { Queryable } from '../db/database.ts';
import type { JsonValue } from '../json.ts';
import type { Span } from '../telemetry/tracing.ts';
import type { RecordedError, StepRun } from './journal.ts';
import type { StepState } from './status.ts';

/** A line of a step's log. */
export interface StepLogLine {
  readonly stepId: string;
  readonly item: number;
  readonly attempt: number;
  readonly seq: number;
  readonly atMs: number;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  /** It stands for lines that were left out. */
  readonly truncated: boolean;
}

/** How a holder gives up its lease together with what it records. */
export type Leaving =
  | { readonly to: 'succeeded'; readonly outputJson: string }
  | { readonly to: 'failed' | 'cancelled'; readonly error: RecordedError }
  /** Goes on at `dueAtMs`, by the database's clock. */
  | { readonly to: 'waiting'; readonly dueAtMs: number }
  /** Another worker may go on after `delayMs`. */
  | { readonly to: 'queued'; readonly delayMs: number };

/** A journal row to be written; its values are JSON text already, because they were measured on the way. */
export type StepRunWrite = Omit<StepRun, 'input' | 'output'> & {
  readonly inputJson?: string | undefined;
  readonly outputJson?: string | undefined;
};

/** What a holder records about one execution; all of it or nothing, and only while the lease is its own. */
export interface JournalWrite {
  readonly executionId: string;
  readonly leaseId: string;
  readonly steps: readonly StepRunWrite[];
  readonly logs: readonly StepLogLine[];
  /** What a `respond` step said; the first one counts. */
  readonly response?: JsonValue;
  readonly leaving?: Leaving;
  /** What the writing is part of, where that is recorded. */
  readonly span?: Span | undefined;
}

/**
 * Records the outcomes of several executions in one commit.
 *
 * Every write happens only where the lease still is the writer's own: the row is locked (or moved) under its lease id in
 * the same statement, so that a worker that lost its lease writes nothing. A recorded outcome is never overwritten: only
 * a row that says `running` is.
 *
 * Repeating a write whose outcome is unknown is safe.
 *
 * @param writes at most one of each execution
 * @returns for each write whether it was made; false: the lease is lost ("fenced")
 */
export async function writeJournal(
  db: Queryable,
  writes: readonly JournalWrite[],
): Promise<readonly boolean[]> {
  const steps = writes.flatMap((write) => write.steps.map((step) => ({ id: write.executionId, step })));
  const logs = writes.flatMap((write) => write.logs.map((log) => ({ id: write.executionId, log })));
  const parts = partsOf(writes);
  const { rows } = await db.query<{ id: string }>({
    name: nameOf(parts),
    text: statementFor(parts),
    values: [
      writes.map((write) => write.executionId),
      writes.map((write) => write.leaseId),
      writes.map((write) => write.leaving?.to ?? null),
      writes.map(dueAtMs),
      writes.map((write) => (write.leaving?.to === 'queued' ? write.leaving.delayMs : null)),
      writes.map((write) => toJson(write.response)),
      writes.map((write) => (write.leaving?.to === 'succeeded' ? write.leaving.outputJson : null)),
      writes.map((write) =>
        write.leaving !== undefined && 'error' in write.leaving ? toJson(write.leaving.error) : null,
      ),
      steps.map(({ id }) => id),
      steps.map(({ step }) => step.stepId),
      steps.map(({ step }) => step.item),
      steps.map(({ step }) => step.attempt),
      steps.map(({ step }) => step.state),
      steps.map(({ step }) => step.inputJson ?? null),
      steps.map(({ step }) => step.outputJson ?? null),
      steps.map(({ step }) => toJson(step.error)),
      steps.map(({ step }) => step.dueAtMs ?? null),
      steps.map(({ step }) => step.startedAtMs ?? null),
      steps.map(({ step }) => step.finishedAtMs ?? null),
      ...(logs.length > 0
        ? [
            logs.map(({ id }) => id),
            logs.map(({ log }) => log.stepId),
            logs.map(({ log }) => log.item),
            logs.map(({ log }) => log.attempt),
            logs.map(({ log }) => log.seq),
            logs.map(({ log }) => log.atMs),
            logs.map(({ log }) => log.level),
            logs.map(({ log }) => log.message),
            logs.map(({ log }) => log.truncated),
          ]
        : []),
    ],
  });
  const made = new Set(rows.map((row) => row.id));
  return writes.map((write) => made.has(write.executionId));
}

const dueAtMs = (write: JournalWrite): number | null =>
  write.leaving?.to === 'waiting' ? write.leaving.dueAtMs : null;

// `json` columns take the text as it is: \u0000 and lone surrogates are escapes in it, which `jsonb` would refuse.
function toJson(value: JsonValue | RecordedError | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

const timestamp = (ms: string): string => `to_timestamp(${ms} / 1000.0)`;

/** What a batch holds; each part of the statement that is not there is work that PostgreSQL need not even prepare. */
interface Parts {
  /** Some give up their lease. */
  readonly leaving: boolean;
  /** Some only say what a `respond` step said. */
  readonly answering: boolean;
  /** Some do neither. */
  readonly staying: boolean;
  readonly logs: boolean;
}

const partsOf = (writes: readonly JournalWrite[]): Parts => ({
  leaving: writes.some((write) => write.leaving !== undefined),
  answering: writes.some((write) => write.leaving === undefined && write.response !== undefined),
  staying: writes.some((write) => write.leaving === undefined && write.response === undefined),
  logs: writes.some((write) => write.logs.length > 0),
});

const nameOf = (parts: Parts): string =>
  `write-journal:${(['leaving', 'answering', 'staying', 'logs'] as const).filter((part) => parts[part]).join('+')}`;

const IS_MINE = `e.id = w.id and e.lease_id = w.lease_id and e.state = 'running'`;

const MOVED = `moved as (
  update execution e set
    state = w.to_state,
    lease_id = null,
    claimed_at = null,
    active_ms = e.active_ms + coalesce(extract(epoch from now() - e.claimed_at) * 1000, 0)::bigint,
    next_dispatch_at = case w.to_state
      when 'waiting' then ${timestamp('w.due_ms')}
      when 'queued' then now() + w.delay_ms * interval '1 millisecond' end,
    response = coalesce(e.response, w.response),
    output = w.output,
    error = w.error,
    finished_at = case when w.to_state in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end
  from w where ${IS_MINE} and w.to_state is not null
  returning e.id, e.tenant_id
)`;

const ANSWERED = `answered as (
  update execution e set response = coalesce(e.response, w.response)
  from w where ${IS_MINE} and w.to_state is null and w.response is not null
  returning e.id, e.tenant_id
)`;

const LOCKED = `locked as materialized (
  select e.id, e.tenant_id from w join execution e on ${IS_MINE}
  where w.to_state is null and w.response is null
  for no key update of e
)`;

const RECORDED = `recorded as (
  insert into step_run as s (execution_id, step_id, item, attempt, tenant_id, state, input, output, error, retry_at, started_at, finished_at)
  select r.id, r.step_id, r.item, r.attempt, mine.tenant_id, r.state, r.input, r.output, r.error,
    ${timestamp('r.due_ms')}, ${timestamp('r.started_ms')}, ${timestamp('r.finished_ms')}
  from unnest($9::uuid[], $10::text[], $11::int[], $12::int[], $13::text[], $14::json[], $15::json[], $16::json[], $17::float8[], $18::float8[], $19::float8[])
    as r(id, step_id, item, attempt, state, input, output, error, due_ms, started_ms, finished_ms)
  join mine on mine.id = r.id
  on conflict (execution_id, step_id, item, attempt) do update set
    state = excluded.state, input = coalesce(excluded.input, s.input), output = excluded.output, error = excluded.error,
    retry_at = excluded.retry_at, started_at = coalesce(s.started_at, excluded.started_at), finished_at = excluded.finished_at
    where s.state = 'running'
)`;

const LOGGED = `logged as (
  insert into step_log (execution_id, step_id, item, attempt, seq, tenant_id, at, level, message, truncated)
  select l.id, l.step_id, l.item, l.attempt, l.seq, mine.tenant_id, ${timestamp('l.at_ms')}, l.level, l.message, l.truncated
  from unnest($20::uuid[], $21::text[], $22::int[], $23::int[], $24::int[], $25::float8[], $26::text[], $27::text[], $28::bool[])
    as l(id, step_id, item, attempt, seq, at_ms, level, message, truncated)
  join mine on mine.id = l.id
  on conflict do nothing
)`;

const WRITES = `w as materialized (
  select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::float8[], $6::json[], $7::json[], $8::json[])
    as w(id, lease_id, to_state, due_ms, delay_ms, response, output, error)
)`;

function statementFor(parts: Parts): string {
  const sources = [
    { name: 'moved', text: MOVED, used: parts.leaving },
    { name: 'answered', text: ANSWERED, used: parts.answering },
    { name: 'locked', text: LOCKED, used: parts.staying },
  ].filter(({ used }) => used);
  const mine = `mine as (${sources.map(({ name }) => `select * from ${name}`).join(' union all ')})`;
  const ctes = [WRITES, ...sources.map(({ text }) => text), mine, RECORDED, ...(parts.logs ? [LOGGED] : [])];
  return `with ${ctes.join(', ')} select id from mine`;
}

interface StepRunRow {
  step_id: string;
  item: number;
  attempt: number;
  state: Exclude<StepState, 'pending'>;
  input: string | null;
  output: string | null;
  error: string | null;
  due_ms: number | null;
  started_ms: number | null;
  finished_ms: number | null;
}

/** All recorded rows of an execution, from one partition, in no particular order. */
export async function readJournal(db: Queryable, executionId: string): Promise<readonly StepRun[]> {
  const { rows } = await db.query<StepRunRow>({
    name: 'read-journal',
    text: `select step_id, item, attempt, state, input, output, error,
        (extract(epoch from retry_at) * 1000)::float8 as due_ms,
        (extract(epoch from started_at) * 1000)::float8 as started_ms,
        (extract(epoch from finished_at) * 1000)::float8 as finished_ms
      from step_run where execution_id = $1`,
    values: [executionId],
  });
  return rows.map((row) => ({
    stepId: row.step_id,
    item: row.item,
    attempt: row.attempt,
    state: row.state,
    ...(row.input === null ? {} : { input: JSON.parse(row.input) as JsonValue }),
    ...(row.output === null ? {} : { output: JSON.parse(row.output) as JsonValue }),
    ...(row.error === null ? {} : { error: JSON.parse(row.error) as RecordedError }),
    ...(row.due_ms === null ? {} : { dueAtMs: row.due_ms }),
    ...(row.started_ms === null ? {} : { startedAtMs: row.started_ms }),
    ...(row.finished_ms === null ? {} : { finishedAtMs: row.finished_ms }),
  }));
}
