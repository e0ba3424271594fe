import pg from 'pg';
import { forwarding } from './forward.ts';
import type { Installation } from './installation.ts';
import type { Kubectl, Pod } from './kubectl.ts';
import { secretOf } from './secret.ts';

const podOf = ({ prefix }: Installation): string => `${prefix}-millrace-postgres-0`;

/** The database of an installation that has its own, as its administrator; a policy has to let this machine in. */
export async function openDatabase(kubectl: Kubectl, installation: Installation): Promise<pg.Pool> {
  const { status } = await kubectl.get<Pod>(installation.namespace, 'pod', podOf(installation));
  return connect(kubectl, installation, `${status.podIP}:5432`);
}

/** The same for as long as `work` takes, by way of kubectl, which no policy stops. */
export const withDatabase = <T>(
  kubectl: Kubectl,
  installation: Installation,
  work: (sql: pg.Pool) => Promise<T>,
): Promise<T> =>
  forwarding(kubectl, installation.namespace, `pod/${podOf(installation)}`, 5432, async (origin) => {
    const sql = await connect(kubectl, installation, new URL(origin).host);
    try {
      return await work(sql);
    } finally {
      await sql.end();
    }
  });

async function connect(kubectl: Kubectl, installation: Installation, at: string): Promise<pg.Pool> {
  const { 'postgres-password': password } = await secretOf(kubectl, installation);
  const sql = new pg.Pool({ connectionString: `postgres://millrace:${password}@${at}/millrace`, max: 2 });
  sql.on('error', () => undefined); // at the end, when its server goes
  return sql;
}
