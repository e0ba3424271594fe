import type { OpenLoopResult } from '../load/shapes.ts';
import type { Installation } from '../platform/installation.ts';

/** Of one execution, from the commit's transaction of its delivery, by the database's clock. */
export interface StoredDurations {
  readonly claimed_ms: number;
  readonly finished_ms: number;
}

/** What became of all that a load sent to `url` in its measured phase. @throws when some of it has not ended, or is missing */
export async function storedDurations(
  { db }: Installation,
  url: string,
  { startedAtMs, endedAtMs, sent }: OpenLoopResult,
): Promise<readonly StoredDurations[]> {
  const endpointId = new URL(url).pathname.split('/').at(-1);
  const { rows } = await db.query<StoredDurations>(
    `select extract(epoch from e.started_at - d.received_at)::float8 * 1000 as claimed_ms,
       extract(epoch from e.finished_at - d.received_at)::float8 * 1000 as finished_ms
     from execution e join delivery d on d.id = e.delivery_id
     where d.endpoint_id = $1 and d.received_at between to_timestamp($2 / 1000.0) and to_timestamp($3 / 1000.0)
       and e.finished_at is not null`,
    [endpointId, startedAtMs, endedAtMs],
  );
  if (rows.length !== sent)
    throw new Error(`${sent} webhooks were sent, ${rows.length} durations are stored`);
  return rows;
}
