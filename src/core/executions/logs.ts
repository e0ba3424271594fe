import type { Queryable } from '../db/database.ts';
import { NO_ITEM } from './journal.ts';
import type { StepLogLine } from './journal-store.ts';

/** Lines that {@link LogReader.next} gives at most. */
export const LOG_PAGE = 1000;

/**
 * Reads the log of an execution, or of one of its steps, page by page, each line once.
 *
 * Its place is no point in time: steps run side by side and are recorded in batches, so a line may be committed after one
 * that is younger. It is the number of the last line of each attempt; those are written in their order.
 */
export interface LogReader {
  /** The next lines, in order of time. @param db within a tenant */
  next(db: Queryable): Promise<readonly StepLogLine[]>;
  /** Skips to the last `count` lines there are now, and gives them. @param db within a tenant */
  skipToLast(db: Queryable, count: number): Promise<readonly StepLogLine[]>;
}

interface LogRow {
  readonly step_id: string;
  readonly item: number;
  readonly attempt: number;
  readonly seq: number;
  readonly at_ms: number;
  readonly level: StepLogLine['level'];
  readonly message: string;
  readonly truncated: boolean;
}

/** As {@link LogRow}; without a level: the last line of an attempt. */
type TailRow = LogRow | (Omit<LogRow, 'level'> & { readonly level: null });

type Mark = Pick<StepLogLine, 'stepId' | 'item' | 'attempt' | 'seq'>;

const LINE_COLUMNS = `step_id, item, attempt, seq, (extract(epoch from at) * 1000)::float8 as at_ms, level, message, truncated`;

const NEXT = `select ${LINE_COLUMNS} from (
    select l.* from step_log l
    left join unnest($3::text[], $4::int[], $5::int[], $6::int[]) as m(step_id, item, attempt, seq)
      on m.step_id = l.step_id and m.item = l.item and m.attempt = l.attempt
    where l.execution_id = $1 and l.tenant_id = millrace_tenant() and ($2::text is null or l.step_id = $2)
      and (m.seq is null or l.seq > m.seq)
  ) unread order by at, step_id, item, attempt, seq limit ${LOG_PAGE}`;

// One statement, so that lines and places are of the same moment.
const SKIP_TO_LAST = `with lines as materialized (
    select * from step_log
    where execution_id = $1 and tenant_id = millrace_tenant() and ($2::text is null or step_id = $2)
  )
  (select ${LINE_COLUMNS} from lines order by at desc, step_id desc, item desc, attempt desc, seq desc limit $3)
  union all
  select step_id, item, attempt, max(seq), 0, null, '', false from lines group by step_id, item, attempt`;

export function createLogReader(executionId: string, step: string | undefined): LogReader {
  const marks = new Map<string, Mark>();
  const markRead = ({ stepId, item, attempt, seq }: Mark): void => {
    const key = `${stepId} ${item} ${attempt}`;
    const mark = marks.get(key);
    if (mark === undefined || mark.seq < seq) marks.set(key, { stepId, item, attempt, seq });
  };
  return {
    async next(db) {
      const known = [...marks.values()];
      const { rows } = await db.query<LogRow>(NEXT, [
        executionId,
        step ?? null,
        known.map((mark) => mark.stepId),
        known.map((mark) => mark.item),
        known.map((mark) => mark.attempt),
        known.map((mark) => mark.seq),
      ]);
      const lines = rows.map(toLine);
      lines.forEach(markRead);
      return lines;
    },
    async skipToLast(db, count) {
      const { rows } = await db.query<TailRow>(SKIP_TO_LAST, [executionId, step ?? null, count]);
      for (const row of rows) markRead({ ...row, stepId: row.step_id });
      return rows.flatMap((row) => (row.level === null ? [] : [toLine(row)])).reverse();
    },
  };
}

const toLine = (row: LogRow): StepLogLine => ({
  stepId: row.step_id,
  item: row.item,
  attempt: row.attempt,
  seq: row.seq,
  atMs: row.at_ms,
  level: row.level,
  message: row.message,
  truncated: row.truncated,
});

/** A line as callers see it. */
export const showLogLine = (line: StepLogLine) => ({
  time: new Date(line.atMs).toISOString(),
  level: line.level,
  step: line.stepId,
  item: line.item === NO_ITEM ? null : line.item,
  attempt: line.attempt,
  message: line.message,
  ...(line.truncated ? { truncated: true } : {}),
});
