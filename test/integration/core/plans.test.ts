import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, withTenant, type Database, type DatabaseRole } from '../../../src/core/db/database.ts';
import { DAY_MS, HOUR_MS } from '../../../src/core/definition/duration.ts';
import { getDelivery, listDeliveries, type DeliveryFilter } from '../../../src/core/deliveries/store.ts';
import {
  checkLeases,
  claimByIds,
  claimDue,
  heartbeat,
  queueDepth,
  tenantsWithDueWork,
  type Claim,
} from '../../../src/core/executions/claims.ts';
import { readJournal, writeJournal } from '../../../src/core/executions/journal-store.ts';
import { cancelExecutionsOfWorkflow } from '../../../src/core/executions/lifecycle.ts';
import { outboxAge } from '../../../src/core/executions/outbox.ts';
import { getExecution, listExecutions, type ExecutionFilter } from '../../../src/core/executions/read.ts';
import { executionStats } from '../../../src/core/executions/stats.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import type { Owner } from '../../support/executions.ts';
import { insertBacklog, insertHistory, makeOwners, makePartitions } from '../../support/history.ts';
import { tracePlans, withWork, type Watched, type Work } from '../../support/plans.ts';

/**
 * What statements do when there is a lot of everything, by the rows that PostgreSQL counted in the plans it used: half of
 * all is one tenant's. Nothing may grow with history or backlog, but for what reads indexes alone and says so.
 */
const TENANTS = 50;
const QUEUED = 50_000;
const ENDED = 120_000;
const LEASE_MS = 45_000;
const NOW = Date.now();
const OLDEST = NOW - 20 * DAY_MS;

let testDatabase: TestDatabase;
let engine: Database;
let api: Database;
let admin: pg.Client;
let owners: readonly Owner[];
let large: Owner;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  admin = new pg.Client({ connectionString: testDatabase.url });
  await admin.connect();
  owners = await makeOwners(admin, TENANTS);
  large = owners[0]!;
  const shares = [...owners, ...Array.from({ length: TENANTS - 2 }, () => large)];
  await makePartitions(admin, { fromMs: OLDEST, toMs: NOW }, 5);
  await insertHistory(admin, {
    owners: shares,
    executions: ENDED,
    steps: 1,
    fromMs: OLDEST,
    toMs: NOW - HOUR_MS,
  });
  await insertBacklog(admin, { owners: shares, executions: QUEUED, fromMs: NOW - HOUR_MS, toMs: NOW });
  await admin.query(`vacuum analyze`);
  await tracePlans(admin);
  engine = open('millrace_engine', true);
  api = open('millrace_api', false);
}, 180_000);

afterAll(async () => {
  await Promise.all([engine.end(), api.end(), admin.end()]);
  await testDatabase.drop();
});

const open = (role: DatabaseRole, lookUpsOnly: boolean): Database =>
  openDatabase({
    url: testDatabase.url,
    role,
    name: 'test',
    maxConnections: 2,
    queryTimeoutMs: 30_000,
    acquireTimeoutMs: 2000,
    lookUpsOnly,
    onError: () => {},
  });

const ofEngine = <T>(run: (db: pg.PoolClient) => Promise<T>): Promise<Watched<T>> =>
  engine.withConnection((client) => withWork(client, () => run(client)));

/** As the API does it: within the large tenant. */
const ofApi = <T>(run: (db: pg.PoolClient) => Promise<T>): Promise<Watched<T>> =>
  withTenant(api, large.tenantId, (client) => withWork(client, () => run(client)));

interface Bounds {
  readonly tableRows: number;
  readonly indexOnlyRows?: number;
  readonly sortedRows?: number;
}

function expectBounded(work: Work, { tableRows, indexOnlyRows = tableRows, sortedRows = tableRows }: Bounds) {
  const plans = JSON.stringify(work.plans).slice(0, 200_000);
  expect(work.readWhole, plans).toEqual([]);
  expect(work.tableRows, plans).toBeLessThanOrEqual(tableRows);
  expect(work.indexOnlyRows, plans).toBeLessThanOrEqual(indexOnlyRows);
  expect(work.sortedRows, plans).toBeLessThanOrEqual(sortedRows);
}

describe('a worker, over a long backlog and history', () => {
  let claims: readonly Claim[] = [];
  let byHint: readonly Claim[] = [];

  test('finds the tenants with due work by a look-up or two for each', async () => {
    const { work, result } = await ofEngine(tenantsWithDueWork);
    expect(result).toHaveLength(TENANTS);
    expectBounded(work, { tableRows: TENANTS * 8 });
  });

  test('claims of each tenant what has been due the longest', async () => {
    const quotas = owners.slice(0, 10).map(({ tenantId }) => ({ tenantId, limit: 2 }));
    const { work, result } = await ofEngine((db) => claimDue(db, quotas, LEASE_MS));
    claims = result.claims;
    expect(claims).toHaveLength(20);
    expectBounded(work, { tableRows: 200 });
  });

  test('claims what hints name', async () => {
    const { rows } = await admin.query<{ id: string }>(
      `select id from execution where state = 'queued' order by id desc limit 20`,
    );
    const ids = rows.map(({ id }) => id);
    const { work, result } = await ofEngine((db) => claimByIds(db, ids, [], LEASE_MS));
    byHint = result.claims;
    expect(byHint).toHaveLength(20);
    expectBounded(work, { tableRows: 200 });
  });

  test('extends and checks its leases', async () => {
    const leases = claims.map(({ id, leaseId }) => ({ executionId: id, leaseId }));
    const extended = await ofEngine((db) => heartbeat(db, leases, LEASE_MS));
    expect(extended.result.held.size).toBe(20);
    expectBounded(extended.work, { tableRows: 100 });
    const checked = await ofEngine((db) => checkLeases(db, leases));
    expect(checked.result.held.size).toBe(20);
    expectBounded(checked.work, { tableRows: 100 });
  });

  test('writes and reads its journal', async () => {
    const written = await ofEngine((db) =>
      writeJournal(
        db,
        claims.map(({ id, leaseId }) => ({
          executionId: id,
          leaseId,
          steps: [{ stepId: 'a', item: -1, attempt: 1, state: 'succeeded', outputJson: '1' }],
          logs: [],
          leaving: { to: 'succeeded', outputJson: '1' },
        })),
      ),
    );
    expect(written.result.every(Boolean)).toBe(true);
    expectBounded(written.work, { tableRows: 200 });
    const [hinted] = byHint;
    const one = await ofEngine((db) =>
      writeJournal(db, [
        {
          executionId: hinted!.id, // 20 were claimed
          leaseId: hinted!.leaseId,
          steps: [{ stepId: 'a', item: -1, attempt: 1, state: 'succeeded', outputJson: '1' }],
          logs: [],
        },
      ]),
    );
    expect(one.result).toEqual([true]);
    expectBounded(one.work, { tableRows: 10 });
    const read = await ofEngine((db) => readJournal(db, claims[0]!.id));
    expect(read.result).toHaveLength(1);
    expectBounded(read.work, { tableRows: 10 });
  });

  test('measures the queue by as many entries as the cap says', async () => {
    const cap = 1000;
    const { work, result } = await ofEngine((db) => queueDepth(db, cap));
    expect(result.depth).toBe(cap);
    expect(result.oldestAgeS).toBeGreaterThan(HOUR_MS / 1000 / 2);
    expect(work.readWhole).toEqual([]);
    expect(work.tableRows + work.indexOnlyRows).toBeLessThanOrEqual(cap + TENANTS * 20);
  });

  test('finds the oldest that nobody has claimed among the longest due of each tenant', async () => {
    const { work, result } = await ofEngine(outboxAge);
    expect(result).toBeGreaterThan(HOUR_MS / 1000 / 2);
    expectBounded(work, { tableRows: TENANTS * (50 + 20), indexOnlyRows: TENANTS * 20 });
  });

  test('counts the whole queue when the cap is larger', async () => {
    const { work, result } = await ofEngine((db) => queueDepth(db, 10 * QUEUED));
    const { rows } = await admin.query<{ n: number }>(
      `select count(*)::int as n from execution where next_dispatch_at <= now()`,
    );
    expect(result.depth).toBe(rows[0]!.n);
    expect(work.readWhole).toEqual([]);
    expect(work.tableRows + work.indexOnlyRows).toBeLessThanOrEqual(QUEUED + TENANTS * 20);
  });
});

const LIMIT = 51;
/** A page, and what else of the same partition or of another state lies between its rows. */
const PAGE_ROWS = LIMIT * 50;

describe('a page of executions, over a long backlog and history', () => {
  const middle = new Date((OLDEST + NOW) / 2);
  const filters: readonly (readonly [string, ExecutionFilter])[] = [
    ['all', {}],
    ['queued', { state: 'queued' }],
    ['running', { state: 'running' }],
    ['waiting, of which there are none', { state: 'waiting' }],
    ['succeeded', { state: 'succeeded' }],
    ['failed', { state: 'failed' }],
    ['cancelled, of which there are none', { state: 'cancelled' }],
    ['of a workflow', { workflow: 'copy' }],
    ['failed of a workflow', { workflow: 'copy', state: 'failed' }],
    ['cancelled of a workflow, of which there are none', { workflow: 'copy', state: 'cancelled' }],
    ['running of a workflow', { workflow: 'copy', state: 'running' }],
    ['before a time', { to: middle }],
    ['failed, after a time', { from: middle, state: 'failed' }],
    ['of a day', { from: middle, to: new Date(middle.getTime() + DAY_MS) }],
  ];

  test.each(filters)('%s', async (_name, filter) => {
    const { work } = await ofApi((db) => listExecutions(db, filter, { limit: LIMIT }));
    expectBounded(work, { tableRows: PAGE_ROWS });
  });

  test.each(filters)('%s, after a cursor far back', async (_name, filter) => {
    const { rows } = await admin.query<{ id: string }>(
      `select id from execution where tenant_id = $1 order by id offset 12000 limit 1`,
      [large.tenantId],
    );
    const { work } = await ofApi((db) => listExecutions(db, filter, { limit: LIMIT, beforeId: rows[0]!.id }));
    expectBounded(work, { tableRows: PAGE_ROWS });
  });

  test('and one execution with its steps', async () => {
    const [{ id } = { id: '' }] = await withTenant(api, large.tenantId, (db) =>
      listExecutions(db, { state: 'failed' }, { limit: 1 }),
    );
    const { work, result } = await ofApi((db) => getExecution(db, id));
    expect(result?.id).toBe(id);
    expectBounded(work, { tableRows: 20 });
  });
});

describe('a page of deliveries, over a long history', () => {
  const middle = new Date((OLDEST + NOW) / 2);
  const filters: readonly (readonly [string, DeliveryFilter])[] = [
    ['all', {}],
    ['accepted', { verdict: 'accepted' }],
    ['rejected, of which there are none', { verdict: 'rejected' }],
    ['of a workflow', { workflow: 'copy' }],
    ['of an endpoint', { endpointId: 'made' }],
    ['of an endpoint that is not there', { endpointId: 'nowhere' }],
    ['before a time', { to: middle }],
    ['rejected, after a time', { from: middle, verdict: 'rejected' }],
  ];

  test.each(filters)('%s', async (_name, filter) => {
    const { work } = await ofApi((db) => listDeliveries(db, filter, { limit: LIMIT }));
    expectBounded(work, { tableRows: PAGE_ROWS });
  });

  test('and one of them', async () => {
    const [{ id } = { id: '' }] = await withTenant(api, large.tenantId, (db) =>
      listDeliveries(db, { to: middle }, { limit: 1 }),
    );
    const { work, result } = await ofApi((db) => getDelivery(db, id));
    expect(result?.id).toBe(id);
    expectBounded(work, { tableRows: 20 });
  });
});

describe('statistics, over a long backlog and history', () => {
  const SAMPLE_ROWS = 20_000;
  const day = NOW - 10 * DAY_MS;

  test.each([
    ['of everything', {}],
    ['of a workflow', { workflow: 'copy' }],
    ['since a time', { from: new Date(day) }],
    ['of some days', { from: new Date(day), to: new Date(day + 3 * DAY_MS) }],
    ['of an hour', { from: new Date(day), to: new Date(day + HOUR_MS) }],
  ])('%s: count in indexes alone, and look at some rows for durations', async (_name, filter) => {
    const { work, result } = await ofApi((db) => executionStats(db, filter));
    // Around the ends of a range, two hours of rows each.
    const nearEnds = (2 * 2 * ENDED) / (20 * 24);
    expectBounded(work, {
      // PostgreSQL may read them in order of the primary key, where half of the rows are another tenant's.
      tableRows: 2 * SAMPLE_ROWS + 2 * nearEnds + 2000,
      indexOnlyRows: 2 * (ENDED + QUEUED),
      sortedRows: 2 * SAMPLE_ROWS,
    });
    const { rows } = await admin.query<{ total: number; failed: number; queued: number; succeeded: number }>(
      `select count(*)::int as total, count(*) filter (where state = 'failed')::int as failed,
         count(*) filter (where state = 'queued')::int as queued, count(*) filter (where state = 'succeeded')::int as succeeded
       from execution where tenant_id = $1 and ($2::timestamptz is null or created_at >= $2)
         and ($3::timestamptz is null or created_at < $3)`,
      [large.tenantId, 'from' in filter ? filter.from : null, 'to' in filter ? filter.to : null],
    );
    const { failed, queued, succeeded } = result.counts;
    expect({ total: result.total, failed, queued, succeeded }).toEqual(rows[0]);
    expect(result.total).toBeGreaterThan(100);
    expect(result.durationMs).toMatchObject({ p50: 7, p90: 7, p95: 7, p99: 7 });
  });
});

// The last, because it leaves rows behind that only a vacuum removes.
test('cancelling what has not ended of a workflow reads no history', async () => {
  await expect(
    withTenant(api, large.tenantId, async (db) => {
      const { work, result } = await withWork(db, () =>
        cancelExecutionsOfWorkflow(db, large.workflowId, 'no longer wanted'),
      );
      expect(result).toBeGreaterThan(QUEUED / 3);
      // PostgreSQL may read the newest partition whole, as most of it is to be cancelled.
      expect(work.tableRows).toBeLessThanOrEqual(1.5 * QUEUED);
      throw new Error('taken back');
    }),
  ).rejects.toThrow('taken back');
});
