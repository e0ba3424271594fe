import type { Queryable } from '../db/database.ts';
import type { JsonValue } from '../json.ts';
import type { Span } from '../telemetry/tracing.ts';
import type { RecordedError, StepRun } from './journal.ts';
import { stateOfRow, type StepState } from './status.ts';

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
  const form = writes.length <= 1 && steps.length <= 1 && logs.length <= 1 ? 'one' : 'many';
  const { rows } = await db.query<{ id: string }>({
    ...statementFor(parts, form),
    values: [
      ...parametersOf(WRITE, writes, form),
      ...parametersOf(STEP, steps, form),
      ...(parts.logs ? parametersOf(LOG, logs, form) : []),
    ],
  });
  const made = new Set(rows.map((row) => row.id));
  return writes.map((write) => made.has(write.executionId));
}

// `json` columns take the text as it is: \u0000 and lone surrogates are escapes in it, which `jsonb` would refuse.
function toJson(value: JsonValue | RecordedError | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

/** The rows of one kind that a statement takes: their columns with PostgreSQL's types, and where each value is from. */
type Rows<T> = readonly (readonly [name: string, type: string, valueOf: (row: T) => unknown])[];

const WRITE: Rows<JournalWrite> = [
  ['id', 'uuid', ({ executionId }) => executionId],
  ['lease_id', 'uuid', ({ leaseId }) => leaseId],
  ['to_state', 'text', ({ leaving }) => leaving?.to ?? null],
  ['due_ms', 'float8', ({ leaving }) => (leaving?.to === 'waiting' ? leaving.dueAtMs : null)],
  ['delay_ms', 'float8', ({ leaving }) => (leaving?.to === 'queued' ? leaving.delayMs : null)],
  ['response', 'json', ({ response }) => toJson(response)],
  ['output', 'json', ({ leaving }) => (leaving?.to === 'succeeded' ? leaving.outputJson : null)],
  ['error', 'json', ({ leaving }) => (leaving && 'error' in leaving ? toJson(leaving.error) : null)],
];

const STEP: Rows<{ readonly id: string; readonly step: StepRunWrite }> = [
  ['id', 'uuid', ({ id }) => id],
  ['step_id', 'text', ({ step }) => step.stepId],
  ['item', 'int', ({ step }) => step.item],
  ['attempt', 'int', ({ step }) => step.attempt],
  ['state', 'text', ({ step }) => step.state],
  ['input', 'json', ({ step }) => step.inputJson ?? null],
  ['output', 'json', ({ step }) => step.outputJson ?? null],
  ['error', 'json', ({ step }) => toJson(step.error)],
  ['due_ms', 'float8', ({ step }) => step.dueAtMs ?? null],
  ['traceparent', 'text', ({ step }) => step.traceparent ?? null],
  ['started_ms', 'float8', ({ step }) => step.startedAtMs ?? null],
  ['finished_ms', 'float8', ({ step }) => step.finishedAtMs ?? null],
];

const LOG: Rows<{ readonly id: string; readonly log: StepLogLine }> = [
  ['id', 'uuid', ({ id }) => id],
  ['step_id', 'text', ({ log }) => log.stepId],
  ['item', 'int', ({ log }) => log.item],
  ['attempt', 'int', ({ log }) => log.attempt],
  ['seq', 'int', ({ log }) => log.seq],
  ['at_ms', 'float8', ({ log }) => log.atMs],
  ['level', 'text', ({ log }) => log.level],
  ['message', 'text', ({ log }) => log.message],
  ['truncated', 'bool', ({ log }) => log.truncated],
];

/**
 * `many` rows are an array for each column. PostgreSQL runs a function for each of these, which takes longer than all the
 * rest of a write of `one` row: that is given value by value (0.13 ms instead of 0.21, of three rows and more the arrays win).
 */
type Form = 'one' | 'many';

const parametersOf = <T>(columns: Rows<T>, rows: readonly T[], form: Form): readonly unknown[] => {
  if (form === 'many') return columns.map(([, , valueOf]) => rows.map(valueOf));
  const [row] = rows;
  // Without an id it is joined with nothing.
  return columns.map(([, , valueOf]) => (row === undefined ? null : valueOf(row)));
};

/** @param before how many parameters come before its own */
function sourceOf<T>(alias: string, columns: Rows<T>, before: number, form: Form): string {
  const names = `${alias}(${columns.map(([name]) => name).join(', ')})`;
  const parameters = columns.map(
    ([, type], index) => `$${before + index + 1}::${type}${form === 'many' ? '[]' : ''}`,
  );
  return form === 'many'
    ? `unnest(${parameters.join(', ')}) as ${names}`
    : `(values (${parameters.join(', ')})) as ${names}`;
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

const PARTS = ['leaving', 'answering', 'staying', 'logs'] as const satisfies readonly (keyof Parts)[];

const partsOf = (writes: readonly JournalWrite[]): Parts => ({
  leaving: writes.some((write) => write.leaving !== undefined),
  answering: writes.some((write) => write.leaving === undefined && write.response !== undefined),
  staying: writes.some((write) => write.leaving === undefined && write.response === undefined),
  logs: writes.some((write) => write.logs.length > 0),
});

/**
 * The second naming of the ids bounds every plan: to read a table that has been counted while it was tiny, PostgreSQL prefers
 * reading all of it and comparing, and goes on to when it is not tiny any more.
 */
const IS_MINE = `e.id = w.id and e.lease_id = w.lease_id and ${stateOfRow('e')} = 'running' and e.id = any(array(select id from w))`;

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

const recorded = (form: Form): string => `recorded as (
  insert into step_run as s (execution_id, step_id, item, attempt, tenant_id, state, input, output, error, retry_at, traceparent, started_at, finished_at)
  select r.id, r.step_id, r.item, r.attempt, mine.tenant_id, r.state, r.input, r.output, r.error,
    ${timestamp('r.due_ms')}, r.traceparent, ${timestamp('r.started_ms')}, ${timestamp('r.finished_ms')}
  from ${sourceOf('r', STEP, WRITE.length, form)}
  join mine on mine.id = r.id
  on conflict (execution_id, step_id, item, attempt) do update set
    state = excluded.state, input = coalesce(excluded.input, s.input), output = excluded.output, error = excluded.error,
    retry_at = excluded.retry_at, traceparent = excluded.traceparent,
    started_at = coalesce(s.started_at, excluded.started_at), finished_at = excluded.finished_at
    where s.state = 'running'
)`;

const logged = (form: Form): string => `logged as (
  insert into step_log (execution_id, step_id, item, attempt, seq, tenant_id, at, level, message, truncated)
  select l.id, l.step_id, l.item, l.attempt, l.seq, mine.tenant_id, ${timestamp('l.at_ms')}, l.level, l.message, l.truncated
  from ${sourceOf('l', LOG, WRITE.length + STEP.length, form)}
  join mine on mine.id = l.id
  on conflict do nothing
)`;

const written = (form: Form): string => `w as materialized (select * from ${sourceOf('w', WRITE, 0, form)})`;

interface Statement {
  readonly name: string;
  readonly text: string;
}

function textOf(used: readonly (keyof Parts)[], form: Form): string {
  const sources = [
    { name: 'moved', text: MOVED, part: 'leaving' },
    { name: 'answered', text: ANSWERED, part: 'answering' },
    { name: 'locked', text: LOCKED, part: 'staying' },
  ].filter(({ part }) => used.some((one) => one === part));
  const mine = `mine as (${sources.map(({ name }) => `select * from ${name}`).join(' union all ')})`;
  const ctes = [
    written(form),
    ...sources.map(({ text }) => text),
    mine,
    recorded(form),
    ...(used.includes('logs') ? [logged(form)] : []),
  ];
  return `with ${ctes.join(', ')} select id from mine`;
}

const nameOf = (used: readonly (keyof Parts)[], form: Form): string =>
  `write-journal:${form}:${used.join('+')}`;

/** All there can be, by their names. */
const STATEMENTS: ReadonlyMap<string, Statement> = new Map(
  PARTS.reduce<readonly (readonly (keyof Parts)[])[]>(
    (sets, part) => [...sets, ...sets.map((set) => [...set, part])],
    [[]],
  ).flatMap((used) =>
    (['one', 'many'] as const).map((form) => {
      const name = nameOf(used, form);
      return [name, { name, text: textOf(used, form) }] as const;
    }),
  ),
);

const statementFor = (parts: Parts, form: Form): Statement =>
  STATEMENTS.get(
    nameOf(
      PARTS.filter((part) => parts[part]),
      form,
    ),
  )!; // every set of parts is there

interface StepRunRow {
  step_id: string;
  item: number;
  attempt: number;
  state: Exclude<StepState, 'pending'>;
  input: string | null;
  output: string | null;
  error: string | null;
  due_ms: number | null;
  traceparent: string | null;
  started_ms: number | null;
  finished_ms: number | null;
}

/** All recorded rows of an execution, from one partition, in no particular order. */
export async function readJournal(db: Queryable, executionId: string): Promise<readonly StepRun[]> {
  const { rows } = await db.query<StepRunRow>({
    name: 'read-journal',
    text: `select step_id, item, attempt, state, input, output, error,
        (extract(epoch from retry_at) * 1000)::float8 as due_ms, traceparent,
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
    ...(row.traceparent === null ? {} : { traceparent: row.traceparent }),
    ...(row.started_ms === null ? {} : { startedAtMs: row.started_ms }),
    ...(row.finished_ms === null ? {} : { finishedAtMs: row.finished_ms }),
  }));
}
