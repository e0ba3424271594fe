import { one, type Queryable } from '../db/database.ts';

/** How long a worker that reports no more counts as alive. */
export const WORKER_ALIVE_MS = 30_000;

/** Says that this worker lives. @param db of millrace_engine */
export async function reportWorker(db: Queryable, id: string): Promise<void> {
  await db.query({
    name: 'report-worker',
    text: `insert into worker (id) values ($1) on conflict (id) do update set seen_at = now()`,
    values: [id],
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

/** Workers that live. */
export async function countWorkers(db: Queryable): Promise<number> {
  const { workers } = one(
    await db.query<{ workers: number }>({
      name: 'count-workers',
      text: `select count(*)::int as workers from worker where seen_at > now() - $1::float8 * interval '1 millisecond'`,
      values: [WORKER_ALIVE_MS],
    }),
  );
  return workers;
}
