import type { Queryable } from '../db/database.ts';
import type { Standing } from './changes.ts';
import { foldJournal, NO_ITEM, type StepRun } from './journal.ts';
import type { ExecutionState, StepState } from './status.ts';

interface StandingRow {
  readonly execution_id: string;
  readonly step_id: string;
  readonly item: number;
  readonly attempt: number;
  readonly state: Exclude<StepState, 'pending'>;
  readonly repeats: boolean;
}

/** Looks at several executions at once; what does not exist is missing. @param db within a tenant */
export async function readStandings(
  db: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Standing>> {
  const executions = await db.query<{ id: string; state: ExecutionState }>({
    name: 'read-standings',
    text: `select id, state from execution where id = any($1::uuid[]) and tenant_id = millrace_tenant()`,
    values: [ids],
  });
  // The items of a forEach, of which there may be thousands, count as one.
  const { rows } = await db.query<StandingRow>({
    name: 'read-step-standings',
    text: `select execution_id, step_id, item, attempt, state, retry_at is not null as repeats
        from step_run where execution_id = any($1::uuid[]) and item = ${NO_ITEM}
      union all
      select execution_id, step_id, 0, max(attempt), 'succeeded', false
        from step_run where execution_id = any($1::uuid[]) and item <> ${NO_ITEM}
        group by execution_id, step_id`,
    values: [ids],
  });
  const runs = Map.groupBy(rows, (row) => row.execution_id);
  return new Map(
    executions.rows.map(({ id, state }) => [
      id,
      { id, state, steps: foldJournal((runs.get(id) ?? []).map(toStepRun)) },
    ]),
  );
}

const toStepRun = (row: StandingRow): StepRun => ({
  stepId: row.step_id,
  item: row.item,
  attempt: row.attempt,
  state: row.state,
  ...(row.repeats && { dueAtMs: 0 }),
});
