import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import { makeId } from '../../../src/core/db/ids.ts';
import { HOUR_MS } from '../../../src/core/definition/duration.ts';
import {
  checkLeases,
  claimByIds,
  claimDue,
  heartbeat,
  queueDepth,
  tenantsWithDueWork,
  type HeldLease,
} from '../../../src/core/executions/claims.ts';
import { readJournal, writeJournal } from '../../../src/core/executions/journal-store.ts';
import { outboxAge } from '../../../src/core/executions/outbox.ts';
import { createTestDatabase } from '../../support/database.ts';
import { insertBacklog, insertHistory, makeOwners, makePartitions } from '../../support/history.ts';
import { tracePlans, withWork, type Work } from '../../support/plans.ts';

/**
 * A partition is new every few days, and PostgreSQL knows nothing of it until autovacuum has been there: what the engine
 * does must not depend on that. Plans are made once for a connection, at the worst moment as well as at the best.
 */
const TENANTS = 100;
const QUEUED = 60_000;
const TAKEN = 10;
/** From 50 changes on, autovacuum looks at a table. */
const FEW = 60;
const LEASE_MS = 45_000;
const NOW = Date.now();
const LAST_HOUR = { fromMs: NOW - HOUR_MS, toMs: NOW };

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function makeDatabase() {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  closers.push(() => admin.end());
  const owners = await makeOwners(admin, TENANTS);
  await makePartitions(admin, LAST_HOUR, 5);
  const { rows } = await admin.query<{ name: string }>(`select name from millrace_partition`);
  for (const { name } of rows) await admin.query(`alter table ${name} set (autovacuum_enabled = off)`);
  await tracePlans(admin);
  const engine = openDatabase({
    url: database.url,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 1,
    queryTimeoutMs: 30_000,
    acquireTimeoutMs: 2000,
    lookUpsOnly: true,
    onError: () => {},
  });
  closers.push(() => engine.end());
  const [large] = owners;
  const shares = [...owners, ...Array.from({ length: TENANTS }, () => large!)]; // there are owners
  return { admin, engine, tenantId: large!.tenantId, shares };
}

/** Leases of executions that are not there: for a plan it is all the same. */
const NOBODYS: readonly HeldLease[] = Array.from({ length: 3 }, () => ({
  executionId: makeId(NOW),
  leaseId: randomUUID(),
}));

/** Everything that a worker says to the database again and again, with what each did. */
async function workOnce(
  engine: Database,
  tenantId: string,
  hinted: readonly string[],
): Promise<ReadonlyMap<string, Work>> {
  const works = new Map<string, Work>();
  await engine.withConnection(async (db) => {
    const note = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
      const { work, result } = await withWork(db, run);
      works.set(name, work);
      return result;
    };
    const write = (leases: readonly HeldLease[], isLast: boolean): Promise<readonly boolean[]> =>
      writeJournal(
        db,
        leases.map((lease) => ({
          ...lease,
          steps: [{ stepId: isLast ? 'b' : 'a', item: -1, attempt: 1, state: 'succeeded', outputJson: '1' }],
          logs: [],
          ...(isLast ? { leaving: { to: 'succeeded', outputJson: '1' } } : {}),
        })),
      );
    await note('tenants', () => tenantsWithDueWork(db));
    const { claims } = await note('claim', () => claimDue(db, [{ tenantId, limit: TAKEN }], LEASE_MS));
    const byHint = await note('claim by hint', () => claimByIds(db, hinted, [], LEASE_MS));
    const claimed = [...claims, ...byHint.claims].map(({ id, leaseId }) => ({ executionId: id, leaseId }));
    const leases = claimed.length > 0 ? claimed : NOBODYS;
    await note('heartbeat', () => heartbeat(db, leases, LEASE_MS));
    await note('check', () => checkLeases(db, leases));
    await note('write', () => write(leases, false));
    await note('write one', () => write(leases.slice(0, 1), false));
    await note('read', () => readJournal(db, leases[0]!.executionId));
    await note('end one', () => write(leases.slice(0, 1), true));
    await note('end', () => write(leases.slice(1), true));
    await note('depth', () => queueDepth(db, TAKEN));
    await note('outbox', () => outboxAge(db));
  });
  return works;
}

test.each([
  'while there was nothing',
  'when none had been counted',
  'when a few had been counted',
  'over what nobody has counted',
  'when all had ended',
] as const)('the engine looks rows up with plans that were made %s', async (when) => {
  const { admin, engine, tenantId, shares } = await makeDatabase();
  const rows = { owners: shares, executions: QUEUED, ...LAST_HOUR };
  if (when === 'when all had ended') {
    await insertHistory(admin, { ...rows, steps: 1 });
    await admin.query('analyze');
  }
  if (when === 'when a few had been counted') {
    await insertBacklog(admin, { ...rows, owners: shares.slice(-1), executions: FEW });
    await admin.query('analyze');
  }
  if (when === 'when none had been counted') await admin.query('analyze');
  if (when !== 'over what nobody has counted') await workOnce(engine, tenantId, [makeId(NOW)]);
  await insertBacklog(admin, rows);
  const { rows: last } = await admin.query<{ id: string }>(
    `select id from execution where state = 'queued' order by id desc limit ${TAKEN}`,
  );
  const works = await workOnce(
    engine,
    tenantId,
    last.map(({ id }) => id),
  );
  for (const [name, work] of works) {
    const perTenant = ['tenants', 'depth', 'outbox'].includes(name) ? TENANTS : 1;
    const told = `${name}: ${JSON.stringify(work.plans)}`.slice(0, 200_000);
    expect.soft(work.readWhole, told).toEqual([]);
    // Of each, in three partitions, and a few that are looked at twice.
    expect.soft(work.tableRows, told).toBeLessThanOrEqual(20 * TAKEN + 60 * perTenant);
    expect.soft(work.sortedRows, told).toBeLessThanOrEqual(20 * TAKEN + 60 * perTenant);
    expect.soft(work.indexSearches, told).toBeLessThanOrEqual(20 * TAKEN + 12 * perTenant);
  }
});
