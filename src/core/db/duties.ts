import type { JsonValue } from '../json.ts';
import { maybeOne, type Queryable } from './database.ts';

/**
 * Takes a duty, or keeps it: of all processes that ask, one has it at a time, until it asks no more for `forMs`.
 *
 * @returns whether it is this process's for the next `forMs`
 */
export async function takeDuty(db: Queryable, name: string, holder: string, forMs: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: 'take-duty',
    text: `insert into duty as d (name, holder, until) values ($1, $2, now() + $3::float8 * interval '1 millisecond')
      on conflict (name) do update set holder = excluded.holder, until = excluded.until
      where d.holder = excluded.holder or d.until < now()`,
    values: [name, holder, forMs],
  });
  return rowCount === 1;
}

/** Lets another process take the duty at once. */
export async function leaveDuty(db: Queryable, name: string, holder: string): Promise<void> {
  await db.query(`update duty set until = now() where name = $1 and holder = $2`, [name, holder]);
}

/** Leaves what was found for all to read; nothing happens when the duty is another's by now. */
export async function reportDuty(
  db: Queryable,
  name: string,
  holder: string,
  result: JsonValue,
): Promise<void> {
  await db.query({
    name: 'report-duty',
    text: `update duty set result = $3, done_at = now() where name = $1 and holder = $2`,
    values: [name, holder, JSON.stringify(result)],
  });
}

/** What was found last, by whoever had the duty, unless that is longer ago than `maxAgeMs`. */
export async function dutyResult(
  db: Queryable,
  name: string,
  maxAgeMs: number,
): Promise<JsonValue | undefined> {
  const row = maybeOne(
    await db.query<{ result: string | null }>({
      name: 'duty-result',
      text: `select result from duty where name = $1 and done_at > now() - $2::float8 * interval '1 millisecond'`,
      values: [name, maxAgeMs],
    }),
  );
  const result = row?.result ?? undefined;
  return result === undefined ? undefined : (JSON.parse(result) as JsonValue);
}
