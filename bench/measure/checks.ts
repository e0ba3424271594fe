import type { Installation } from '../platform/installation.ts';

/** Every 202 is a delivery and an execution, and nothing else is. @throws when it is not so */
export async function requireRows({ db }: Installation, accepted: number): Promise<void> {
  const { rows } = await db.query<{ what: string; count: number }>(`
    select 'deliveries' as what, count(*)::int as count from delivery where verdict = 'accepted'
    union all select 'other deliveries', (select count(*)::int from delivery where verdict <> 'accepted') + ${accepted}
    union all select 'executions', count(*)::int from execution
    union all select 'delivery keys', count(*)::int from delivery_key`);
  const wrong = rows.filter(({ count }) => count !== accepted);
  if (wrong.length > 0) {
    throw new Error(
      `${accepted} requests were answered with 202, but there are ${wrong.map((row) => `${row.count} ${row.what}`).join(', ')}`,
    );
  }
}

/** @throws when an execution did not succeed, or has not `steps` recorded steps */
export async function requireAllSucceeded(
  { db }: Installation,
  executions: number,
  steps: number,
): Promise<void> {
  const { rows } = await db.query<{ state: string; count: number }>(
    `select state, count(*)::int as count from execution group by state`,
  );
  const [only] = rows;
  if (rows.length !== 1 || only?.state !== 'succeeded' || only.count !== executions) {
    throw new Error(
      `${executions} executions were to succeed, but they are: ${rows.map((row) => `${row.count} ${row.state}`).join(', ')}`,
    );
  }
  const recorded = (
    await db.query<{ count: number }>(
      `select count(*)::int as count from step_run where state = 'succeeded' and attempt = 1`,
    )
  ).rows[0]!.count; // an aggregate gives one row
  if (recorded !== executions * steps) {
    throw new Error(`${executions * steps} steps were to be recorded as succeeded, ${recorded} are`);
  }
}
