import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDatabaseClock } from '../../../src/core/db/clock.ts';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import {
  PARTITIONED_TABLES,
  PARTITION_DAYS_AHEAD,
  addPartitions,
  dropOldPartitions,
} from '../../../src/core/db/partitions.ts';
import { DAY_MS } from '../../../src/core/definition/duration.ts';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import { createMaintenance } from '../../../src/worker/maintenance.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import type { Owner } from '../../support/executions.ts';
import { insertHistory, makeOwners } from '../../support/history.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { mendingCommands, runCommand } from '../../support/runbook.ts';
import { waitFor } from '../../support/wait-for.ts';

const NEVER = new AbortController().signal;
const startOfDay = (ms: number): number => Math.floor(ms / DAY_MS) * DAY_MS;

let testDatabase: TestDatabase;
let admin: pg.Client;
let db: Database;
let owner: Owner;

beforeEach(async () => {
  testDatabase = await createTestDatabase();
  admin = new pg.Client({ connectionString: testDatabase.url });
  await admin.connect();
  db = openDatabase({
    url: testDatabase.url,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 4,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 5000,
    onError: () => {},
  });
  [owner] = (await makeOwners(admin, 1)) as [Owner];
});

afterEach(async () => {
  await Promise.all([db.end(), admin.end()]);
  await testDatabase.drop();
});

/**
 * Leaves the database as a week without a worker would: three executions, with two steps each and a line of their log, of a
 * day without partitions.
 */
async function makeStrays(day: number): Promise<readonly string[]> {
  const span = { fromMs: day, toMs: day + 3000 };
  await insertHistory(admin, { owners: [owner], executions: 3, steps: 2, ...span });
  await admin.query(
    `insert into step_log (execution_id, step_id, attempt, seq, tenant_id, at, level, message)
     select execution_id, step_id, attempt, 0, tenant_id, now(), 'info', 'made' from step_run where step_id = 'step1'`,
  );
  await admin.query(`do $$
    declare part record;
    begin
      for part in select name, parent from millrace_partition where ends_at > to_timestamp(${day / 1000}) loop
        execute format('alter table %I detach partition %I', part.parent, part.name);
        execute format('insert into %I select * from %I', part.parent, part.name);
        execute format('drop table %I', part.name);
      end loop;
    end $$`);
  const { rows } = await admin.query<{ id: string }>(`select id from execution_default order by id`);
  expect(rows).toHaveLength(3);
  return rows.map(({ id }) => id);
}

/** How many rows lie in the default partition of each table. */
async function strays(): Promise<Readonly<Record<string, number>>> {
  const counts = PARTITIONED_TABLES.map(
    (table) => `(select count(*)::int from ${table}_default) as ${table}`,
  );
  const { rows } = await admin.query<Record<string, number>>(`select ${counts.join(', ')}`);
  return rows[0]!;
}

async function measuredStrays(): Promise<number> {
  const metrics = createMetrics();
  const maintenance = createMaintenance({
    db,
    clock: createDatabaseClock(db),
    metrics,
    logger: pino({ level: 'silent' }),
    workerId: randomUUID(),
    sandboxClaims: () => ({ javascript: 0, python: 0 }),
    dedupeWindowMs: DAY_MS,
    retentionMs: undefined,
  });
  maintenance.start();
  try {
    return await waitFor(
      async () => (await metrics.defaultPartitionRows.get()).values[0]?.value || undefined,
      {
        what: 'the rows to be counted',
      },
    );
  } finally {
    await maintenance.stop();
  }
}

test('rows of today in the default partitions leave it to them, and the days after it get partitions', async () => {
  const today = startOfDay(Date.now());
  await makeStrays(today);
  const names = await addPartitions(db, 5, NEVER);
  const { rows } = await admin.query<{ parent: string; next_day: boolean; days: number }>(
    `select parent, min(starts_at - to_timestamp($1::float8)) = interval '1 day' as next_day,
       floor(extract(epoch from max(ends_at) - now()) / 86400)::int as days
     from millrace_partition where starts_at > to_timestamp($1::float8) group by 1 order by 1`,
    [today / 1000],
  );
  expect(rows.map(({ parent }) => parent)).toEqual([...PARTITIONED_TABLES].sort());
  for (const { next_day: isNextDay, days } of rows) {
    expect(isNextDay).toBe(true);
    expect(days).toBeGreaterThanOrEqual(PARTITION_DAYS_AHEAD - 2);
  }
  expect(names.length).toBeGreaterThanOrEqual(PARTITIONED_TABLES.length);
  expect(await addPartitions(db, 5, NEVER)).toEqual([]);
  expect(await strays()).toEqual({ delivery: 3, execution: 3, step_run: 6, step_log: 3 });
  expect(await measuredStrays()).toBe(15);
});

test('a partition ends where a day begins that has rows in the default one', async () => {
  const inTwoDays = startOfDay(Date.now()) + 2 * DAY_MS;
  await makeStrays(inTwoDays);
  await admin.query(`do $$
    declare part record;
    begin
      for part in select name from millrace_partition where ends_at > now() loop
        execute format('drop table %I', part.name);
      end loop;
    end $$`);
  await addPartitions(db, 5, NEVER);
  const { rows } = await admin.query<{ gap: boolean; before: boolean; after: boolean }>(
    `select bool_or(starts_at < to_timestamp($1::float8 + 86400) and ends_at > to_timestamp($1::float8)) as gap,
       bool_or(ends_at = to_timestamp($1::float8)) as before, bool_or(starts_at = to_timestamp($1::float8 + 86400)) as after
     from millrace_partition where parent = 'execution'`,
    [inTwoDays / 1000],
  );
  expect(rows).toEqual([{ gap: false, before: true, after: true }]);
});

test('steps, logs and deliveries of executions in the default partition are kept as long as these', async () => {
  const day = startOfDay(Date.now() - 40 * DAY_MS);
  await insertHistory(admin, { owners: [owner], executions: 2, steps: 1, fromMs: day, toMs: day + 3000 });
  const { rows } = await admin.query<{ name: string }>(
    `select name from millrace_partition where parent = 'execution' and starts_at = to_timestamp($1::float8)`,
    [day / 1000],
  );
  const [{ name }] = rows as [{ name: string }];
  await admin.query(`alter table execution detach partition ${name}; insert into execution select * from ${name};
    drop table ${name}`);
  expect(await dropOldPartitions(db, 30 * DAY_MS, NEVER)).toMatchObject({
    dropped: [],
    kept: ['step_run', 'step_log', 'delivery'].map((table) => expect.stringMatching(`^${table}_p`)),
  });
  await admin.query('delete from execution_default');
  expect((await dropOldPartitions(db, 30 * DAY_MS, NEVER)).kept).toEqual([]);
});

test('the runbook removes what has ended and is old, and nothing else', async () => {
  const [old, young, live] = await makeStrays(startOfDay(Date.now()));
  await admin.query(
    `update execution set created_at = now() - interval '31 days', finished_at = now() - interval '31 days' where id = $1`,
    [old],
  );
  await admin.query(
    `update execution set state = 'waiting', next_dispatch_at = now(), finished_at = null where id = $1`,
    [live],
  );
  // Of these, one is of an execution that lives.
  await admin.query(
    `update delivery set received_at = now() - interval '31 days' where execution_id = any($1::uuid[])`,
    [[old, live]],
  );
  const page = await readFile(join(PROJECT_ROOT, 'docs/runbooks/DefaultPartitionRows.md'), 'utf8');
  const [command, ...others] = mendingCommands(page);
  expect(others).toEqual([]);
  const printed = await runCommand(command!, {
    DATABASE_URL: testDatabase.url,
    PGOPTIONS: '-c role=millrace_engine',
  });
  expect(printed.split('\n')).toEqual(['DELETE 1', 'DELETE 2', 'DELETE 1', 'DELETE 1']);
  const { rows } = await admin.query<{ id: string }>(`select id from execution_default order by id`);
  expect(rows.map(({ id }) => id)).toEqual([young, live]);
  expect(await strays()).toEqual({ delivery: 2, execution: 2, step_run: 4, step_log: 2 });
});
