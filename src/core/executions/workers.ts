import { one, type Queryable } from '../db/database.ts';

/** How long a worker that reports no more counts as alive. */
export const WORKER_ALIVE_MS = 30_000;

/** Sandboxes that became a workflow's in the last minute. */
export interface SandboxClaims {
  readonly javascript: number;
  readonly python: number;
}

/** Says that this worker lives, and what its workflows took. @param db of millrace_engine */
export async function reportWorker(db: Queryable, id: string, claims: SandboxClaims): Promise<void> {
  await db.query({
    name: 'report-worker',
    text: `insert into worker (id, javascript_claims, python_claims) values ($1, $2, $3)
      on conflict (id) do update set seen_at = now(),
        javascript_claims = excluded.javascript_claims, python_claims = excluded.python_claims`,
    values: [id, claims.javascript, claims.python],
  });
}

/** This worker stops. @param db of millrace_engine */
export async function removeWorker(db: Queryable, id: string): Promise<void> {
  await db.query(`delete from worker where id = $1`, [id]);
}

/** Forgets workers that were killed. @param db of millrace_engine */
export async function forgetDeadWorkers(db: Queryable): Promise<void> {
  await db.query(`delete from worker where seen_at < now() - interval '1 day'`);
}

/** How many workers live, and what all of them together reported. */
export interface WorkerSurvey {
  readonly workers: number;
  readonly claims: SandboxClaims;
}

/** Looks at the workers that live. @param db of millrace_engine or millrace_ingest */
export async function surveyWorkers(db: Queryable): Promise<WorkerSurvey> {
  const { workers, javascript, python } = one(
    await db.query<{ workers: number; javascript: number; python: number }>({
      name: 'survey-workers',
      text: `select count(*)::int as workers, coalesce(sum(javascript_claims), 0)::int as javascript,
          coalesce(sum(python_claims), 0)::int as python
        from worker where seen_at > now() - $1::float8 * interval '1 millisecond'`,
      values: [WORKER_ALIVE_MS],
    }),
  );
  return { workers, claims: { javascript, python } };
}
