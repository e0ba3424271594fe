import { one, type Queryable } from '../db/database.ts';
import { FIRST_DUE } from './claims.ts';

/** Due executions of each tenant that are looked at, the longest due ones first. */
const LOOKED_AT = 50;

/**
 * For how many seconds the oldest execution has been due that no worker has ever claimed; 0 when there is none among the
 * longest due ones of each tenant. Reads at most 50 rows of a tenant, however long the backlog.
 */
export async function outboxAge(db: Queryable): Promise<number> {
  const { age_s: age } = one(
    await db.query<{ age_s: number }>({
      name: 'outbox-age',
      text: `${FIRST_DUE},
        tenants as materialized (select tenant_id from first_due where due_at <= now())
        select coalesce(extract(epoch from now() - min(due.next_dispatch_at)), 0)::float8 as age_s
        from tenants t cross join lateral (
          select next_dispatch_at, dispatch_number from execution e
          where e.tenant_id = t.tenant_id and e.next_dispatch_at <= now()
          order by e.next_dispatch_at limit ${LOOKED_AT}) due
        where due.dispatch_number = 0`,
    }),
  );
  return age;
}
