import type pg from 'pg';
import type { Sent } from './load.ts';

/** Of what was sent to an endpoint: the execution of each delivery that is there, by the delivery's id. */
export async function executionsOf(
  sql: pg.Pool,
  endpointId: string,
  sent: readonly Sent[],
): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql.query<{ key: string; execution_id: string }>(
    `select k.key, e.id as execution_id from delivery_key k
       join delivery d on d.id = k.delivery_id join execution e on e.id = k.execution_id
     where k.endpoint_id = $1 and k.key = any($2)`,
    [endpointId, sent.map(({ id }) => id)],
  );
  return new Map(rows.map((row) => [row.key, row.execution_id]));
}

/** How many deliveries there are with these ids. */
export async function countDeliveries(sql: pg.Pool, ids: readonly string[]): Promise<number> {
  const { rows } = await sql.query<{ count: number }>(
    'select count(*)::int as count from delivery where dedupe_key = any($1)',
    [ids],
  );
  return rows[0]?.count ?? 0;
}
