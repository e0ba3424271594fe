import { maybeOne, type Queryable } from '../db/database.ts';

export interface Tenant {
  readonly id: string;
  readonly name: string;
}

/** The tenant that the transaction acts for. @param db within a tenant */
export async function currentTenant(db: Queryable): Promise<Tenant | undefined> {
  return maybeOne(await db.query<Tenant>(`select id, name from tenant where id = millrace_tenant()`));
}
