import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/core/config/load.ts';
import { workerKeys } from '../../../src/core/config/worker-keys.ts';
import { createDatabaseClock } from '../../../src/core/db/clock.ts';
import { openDatabase, withTenant, type Database } from '../../../src/core/db/database.ts';
import { makeId } from '../../../src/core/db/ids.ts';
import {
  addPartitions,
  dropOldPartitions,
  partitionSpanDays,
  PARTITION_DAYS_AHEAD,
} from '../../../src/core/db/partitions.ts';
import { DAY_MS } from '../../../src/core/definition/duration.ts';
import { createIngest } from '../../../src/core/deliveries/ingest.ts';
import { claimDue } from '../../../src/core/executions/claims.ts';
import { writeJournal } from '../../../src/core/executions/journal-store.ts';
import { createRetry } from '../../../src/core/executions/lifecycle.ts';
import { listExecutions } from '../../../src/core/executions/read.ts';
import { createMetrics, type Metrics } from '../../../src/core/telemetry/metrics.ts';
import { insertContents, packVersion } from '../../../src/core/workflows/files.ts';
import { purgeDeletedWorkflows } from '../../../src/core/workflows/purge.ts';
import { insertVersion } from '../../../src/core/workflows/store.ts';
import { createMaintenance } from '../../../src/worker/maintenance.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import type { Owner } from '../../support/executions.ts';
import {
  insertBacklog,
  insertHistory,
  makeOwners,
  makePartitions,
  sampleDelivery,
} from '../../support/history.ts';
import { waitFor } from '../../support/wait-for.ts';

const RETENTION_MS = 30 * DAY_MS;
const NEVER = new AbortController().signal;
const NOW = Date.now();
const daysAgo = (days: number): number => NOW - days * DAY_MS;
const TABLES = ['delivery', 'execution', 'step_log', 'step_run'];

let testDatabase: TestDatabase;
let admin: pg.Client;
let db: Database;
let owner: Owner;

const open = (role: 'millrace_engine' | 'millrace_api' | 'millrace_ingest', maxConnections = 4): Database =>
  openDatabase({
    url: testDatabase.url,
    role,
    name: 'test',
    maxConnections,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 5000,
    onError: () => {},
  });

beforeEach(async () => {
  testDatabase = await createTestDatabase();
  admin = new pg.Client({ connectionString: testDatabase.url });
  await admin.connect();
  db = open('millrace_engine');
  [owner] = (await makeOwners(admin, 1)) as [Owner];
});

afterEach(async () => {
  await Promise.all([db.end(), admin.end()]);
  await testDatabase.drop();
});

/** History of one day, ten executions with two steps each; the tables' partitions span that day. */
async function historyOf(days: number): Promise<string> {
  const fromMs = Math.floor(daysAgo(days) / DAY_MS) * DAY_MS;
  const span = { fromMs, toMs: fromMs + DAY_MS - 1000 };
  await insertHistory(admin, { owners: [owner], executions: 10, steps: 2, ...span });
  return new Date(fromMs).toISOString().slice(0, 10).replaceAll('-', '');
}

async function partitionsOf(day: string): Promise<readonly string[]> {
  const { rows } = await admin.query<{ parent: string }>(
    `select parent from millrace_partition where name like '%' || $1 order by parent`,
    [day],
  );
  return rows.map(({ parent }) => parent);
}

describe('partitions', () => {
  test('span more days the longer history is kept, so that their number stays the same', () => {
    expect([1, 7, 30, 90].map((days) => partitionSpanDays(days * DAY_MS))).toEqual([1, 2, 5, 15]);
    expect(partitionSpanDays(3650 * DAY_MS)).toBe(31);
    expect(partitionSpanDays(undefined)).toBe(31);
  });

  test('are made ahead without gaps after those that are there, once, by several workers at once', async () => {
    const last = async (): Promise<readonly { gaps: number; days_ahead: number }[]> =>
      (
        await admin.query<{ gaps: number; days_ahead: number }>(
          `select count(*) filter (where before is not null and before <> first_id)::int as gaps,
             floor(extract(epoch from max(ends_at) - now()) / 86400)::int as days_ahead
           from (select parent, first_id, ends_at, lag(end_id) over (partition by parent order by first_id) as before
                 from millrace_partition) p group by parent`,
        )
      ).rows;
    await admin.query(
      `do $$ declare part record; begin
         for part in select name from millrace_partition where starts_at > now() loop execute format('drop table %I', part.name); end loop;
       end $$`,
    );
    const made = await Promise.all([1, 2, 3].map(() => addPartitions(db, 5, NEVER)));
    while ((await addPartitions(db, 5, NEVER)).length > 0);
    const names = made.flat();
    expect(new Set(names).size).toBe(names.length);
    const spans = await last();
    expect(spans).toHaveLength(TABLES.length);
    for (const { gaps, days_ahead: ahead } of spans) {
      expect(gaps).toBe(0);
      expect(ahead).toBeGreaterThanOrEqual(PARTITION_DAYS_AHEAD - 1);
    }
  });

  test('are filled where a day is missing between two others', async () => {
    await makePartitions(admin, { fromMs: daysAgo(12), toMs: daysAgo(12) });
    await makePartitions(admin, { fromMs: daysAgo(16), toMs: daysAgo(8) }, 5);
    const { rows } = await admin.query<{ days: number }>(
      `select (extract(epoch from ends_at - starts_at) / 86400)::int as days from millrace_partition
       where parent = 'execution' and starts_at < now() - interval '7 days' order by starts_at`,
    );
    expect(rows.map(({ days }) => days)).toEqual([4, 1, 5]);
  });
});

describe('retention', () => {
  test('drops whole what is older, and nothing else', async () => {
    const old = await historyOf(40);
    const young = await historyOf(29);
    const { dropped, kept } = await dropOldPartitions(db, RETENTION_MS, NEVER);
    expect([...dropped].sort()).toEqual(TABLES.map((table) => `${table}_p${old}`));
    expect(kept).toEqual([]);
    expect(await partitionsOf(young)).toEqual(TABLES);
    const { rows } = await admin.query(
      `select (select count(*)::int from execution) as executions, (select count(*)::int from delivery) as deliveries,
         (select count(*)::int from step_run) as steps`,
    );
    expect(rows).toEqual([{ executions: 10, deliveries: 10, steps: 20 }]);
    expect((await dropOldPartitions(db, RETENTION_MS, NEVER)).dropped).toEqual([]);
  });

  test.each(['queued', 'waiting', 'running'])(
    'keeps all of a span while an execution of it is %s',
    async (state) => {
      const old = await historyOf(40);
      await admin.query(
        `update execution set state = $1, next_dispatch_at = now(), finished_at = null,
           lease_id = case when $1 = 'running' then gen_random_uuid() end
         where id = (select min(id::text)::uuid from execution)`,
        [state],
      );
      const { dropped, kept } = await dropOldPartitions(db, RETENTION_MS, NEVER);
      expect(dropped).toEqual([]);
      expect([...kept].sort()).toEqual(TABLES.map((table) => `${table}_p${old}`));
      await admin.query(
        `update execution set state = 'cancelled', next_dispatch_at = null, lease_id = null where state = $1`,
        [state],
      );
      expect((await dropOldPartitions(db, RETENTION_MS, NEVER)).dropped).toHaveLength(TABLES.length);
    },
  );

  test('refuses by itself to drop what has not ended, whoever asks', async () => {
    const old = await historyOf(40);
    await admin.query(`update execution set state = 'queued', next_dispatch_at = now()`);
    const { rows } = await db.query(
      `select millrace_drop_partition($1, now()) as dropped, millrace_drop_partition('workflow', now()) as other`,
      [`execution_p${old}`],
    );
    expect(rows).toEqual([{ dropped: false, other: false }]);
  });

  test('keeps a delivery for a younger execution that it started and that has not ended', async () => {
    const old = await historyOf(40);
    const { rows } = await admin.query<{ id: string }>(`select id from execution limit 1`);
    const api = open('millrace_api');
    await withTenant(api, owner.tenantId, (client) =>
      createRetry(client, { id: makeId(NOW), of: rows[0]!.id, from: 'start' }),
    );
    await api.end();
    const first = await dropOldPartitions(db, RETENTION_MS, NEVER);
    expect(first.kept).toEqual([`delivery_p${old}`]);
    expect(await partitionsOf(old)).toEqual(['delivery']);
    await admin.query(`update execution set state = 'failed', next_dispatch_at = null`);
    expect((await dropOldPartitions(db, RETENTION_MS, NEVER)).dropped).toEqual([`delivery_p${old}`]);
  });

  test('leaves nothing to retry of a request that is gone', async () => {
    await historyOf(40);
    const young = await historyOf(5);
    await admin.query(
      `update execution set delivery_id = (select min(id::text)::uuid from delivery) where tableoid = $1::regclass`,
      [`execution_p${young}`],
    );
    const { rows } = await admin.query<{ id: string }>(`select max(id::text) as id from execution`);
    await dropOldPartitions(db, RETENTION_MS, NEVER);
    await expect(createRetry(db, { id: makeId(NOW), of: rows[0]!.id, from: 'start' })).rejects.toMatchObject({
      code: 'delivery_not_replayable',
    });
  });

  test('goes on where it was cut off', async () => {
    const old = await historyOf(40);
    await db.query(`select millrace_drop_partition($1, now())`, [`execution_p${old}`]);
    const { dropped } = await dropOldPartitions(db, RETENTION_MS, NEVER);
    expect([...dropped].sort()).toEqual([`delivery_p${old}`, `step_log_p${old}`, `step_run_p${old}`]);
  });

  test('gives way to a long read, lets others pass meanwhile, and gets on when it is over', async () => {
    await historyOf(40);
    const reader = new pg.Client({ connectionString: testDatabase.url });
    await reader.connect();
    await reader.query('begin; select count(*) from execution');
    const dropping = dropOldPartitions(db, RETENTION_MS, NEVER);
    let passed = 0;
    for (; passed < 10; passed++)
      await insertBacklog(admin, { owners: [owner], executions: 1, fromMs: NOW, toMs: NOW });
    await reader.query('commit');
    await reader.end();
    expect(passed).toBe(10);
    expect((await dropping).dropped).toHaveLength(TABLES.length);
  });

  test(
    'under load: nobody who takes in, claims, records or reads meets an error',
    { timeout: 60_000 },
    async () => {
      const days = [31, 32, 33, 34, 35, 36].map((n) => n + 1);
      for (const day of days) await historyOf(day);
      const ingestDb = open('millrace_ingest');
      const api = open('millrace_api');
      const ingest = createIngest({ db: ingestDb });
      const done = new AbortController();
      let accepted = 0;
      let finished = 0;
      let pages = 0;
      const whileDropping = async (work: () => Promise<void>): Promise<void> => {
        while (!done.signal.aborted) await work();
      };
      const load = Promise.all([
        ...Array.from({ length: 8 }, () =>
          whileDropping(async () => {
            await ingest.add(sampleDelivery(owner));
            accepted++;
          }),
        ),
        ...Array.from({ length: 2 }, () =>
          whileDropping(async () => {
            const { claims } = await claimDue(db, [{ tenantId: owner.tenantId, limit: 10 }], 45_000);
            if (claims.length === 0) {
              await delay(5);
              return;
            }
            const made = await writeJournal(
              db,
              claims.map(({ id, leaseId }) => ({
                executionId: id,
                leaseId,
                steps: [{ stepId: 'a', item: -1, attempt: 1, state: 'succeeded', outputJson: '1' }],
                logs: [],
                leaving: { to: 'succeeded', outputJson: '1' },
              })),
            );
            expect(made.every(Boolean)).toBe(true);
            finished += made.length;
          }),
        ),
        whileDropping(async () => {
          await withTenant(api, owner.tenantId, (client) => listExecutions(client, {}, { limit: 51 }));
          pages++;
        }),
      ]);
      const dropping = (async () => {
        const worker = open('millrace_engine');
        try {
          const { dropped, kept } = await dropOldPartitions(worker, RETENTION_MS, NEVER);
          const made = await addPartitions(worker, 5, NEVER);
          return { dropped, kept, made };
        } finally {
          await worker.end();
          done.abort();
        }
      })();
      // Whichever fails first ends the other.
      const [{ dropped, kept }] = await Promise.all([dropping, load.finally(() => done.abort())]);
      expect(dropped).toHaveLength(days.length * TABLES.length);
      expect(kept).toEqual([]);
      expect(Math.min(accepted, finished, pages)).toBeGreaterThan(10);
      const { rows } = await admin.query(
        `select (select count(*)::int from execution) as executions, (select count(*)::int from delivery) as deliveries,
         (select count(*)::int from execution where state = 'succeeded') as succeeded`,
      );
      expect(rows).toEqual([{ executions: accepted, deliveries: accepted, succeeded: finished }]);
      await Promise.all([ingestDb.end(), api.end()]);
    },
  );
});

describe('a worker', () => {
  const keptFor = (text: string): number | undefined =>
    loadConfig({ RETENTION: workerKeys.RETENTION }, { RETENTION: text }).RETENTION;

  /** What a worker's chores log of partitions until `isDone`. */
  async function chores(retentionMs: number | undefined, isDone: (metrics: Metrics) => Promise<boolean>) {
    const lines: string[] = [];
    const metrics = createMetrics();
    const maintenance = createMaintenance({
      db,
      clock: createDatabaseClock(db),
      metrics,
      logger: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
      workerId: randomUUID(),
      sandboxClaims: () => ({ javascript: 0, python: 0 }),
      dedupeWindowMs: 7 * DAY_MS,
      retentionMs,
    });
    maintenance.start();
    await waitFor(() => isDone(metrics), { what: 'the chores to be done' });
    await maintenance.stop();
    return lines.map((line) => JSON.parse(line) as { msg: string; partitions?: readonly string[] });
  }

  const valueOf = async (metric: { get(): Promise<{ values: readonly { value: number }[] }> }) =>
    (await metric.get()).values[0]?.value;

  test('drops old history by itself, counts it and says so', async () => {
    const live = await historyOf(50);
    await admin.query(`update execution set state = 'queued', next_dispatch_at = now()`);
    const old = await historyOf(40);
    const lines = await chores(
      keptFor('30d'),
      async (metrics) =>
        (await valueOf(metrics.partitionsDropped)) === TABLES.length &&
        (await valueOf(metrics.partitionsOverdue)) === TABLES.length,
    );
    const said = (msg: string) => lines.find((line) => line.msg.startsWith(msg))?.partitions?.toSorted();
    expect(said('old history was dropped')).toEqual(TABLES.map((table) => `${table}_p${old}`));
    expect(said('old history is kept')).toEqual(TABLES.map((table) => `${table}_p${live}`));
  });

  test('keeps all of it when RETENTION is off', async () => {
    const old = await historyOf(400);
    await chores(keptFor('off'), async (metrics) => ((await valueOf(metrics.clockSkew)) ?? 0) !== 0);
    expect(await partitionsOf(old)).toEqual(TABLES);
  });

  test('refuses a RETENTION that is none', () => {
    expect(keptFor('1d')).toBe(DAY_MS);
    for (const text of ['23h', '0d', '30', 'never']) {
      expect(() => keptFor(text)).toThrow(
        expect.objectContaining({
          problems: [
            expect.objectContaining({ message: expect.stringMatching(/at least 1d, such as 30d, or off/) }),
          ],
        }),
      );
    }
  });
});

describe('what deleted workflows leave', () => {
  /** A version with two files that are kept by their hash; one of them is `shared`. */
  async function saveVersion(workflowId: string, version: number, shared: string): Promise<void> {
    const content = packVersion(
      { 'a.bin': { base64: randomBytes(30).toString('base64') }, 'b.bin': { base64: shared } },
      new Map(),
    );
    await admin.query('begin');
    await insertVersion(admin, {
      tenantId: owner.tenantId,
      workflowId,
      version,
      contentHash: randomUUID(),
      format: 1,
      source: '',
      document: {},
      content,
      restoredFrom: null,
    });
    await admin.query('commit');
  }

  const shared = randomBytes(30).toString('base64');
  const files = async (): Promise<number> =>
    (await admin.query<{ n: number }>(`select count(*)::int as n from workflow_file`)).rows[0]!.n;
  const age = (): Promise<unknown> =>
    admin.query(`update workflow_file set created_at = now() - interval '2 days'`);

  test('goes with its versions, endpoints and files, but not what another version has too', async () => {
    const [other] = (
      await admin.query<{ id: string }>(
        `insert into workflow (tenant_id, name, current_version) values ($1, 'other', 1) returning id`,
        [owner.tenantId],
      )
    ).rows;
    await saveVersion(owner.workflowId, 2, shared);
    await saveVersion(other!.id, 1, shared);
    await admin.query(
      `insert into endpoint (id, tenant_id, workflow_id, trigger_name) values ('e', $1, $2, 'in')`,
      [owner.tenantId, owner.workflowId],
    );
    await age();
    expect(await purgeDeletedWorkflows(db, RETENTION_MS)).toEqual({ workflows: 0, files: 0 });
    await admin.query(`update workflow set deleted_at = now() - interval '31 days' where id = $1`, [
      owner.workflowId,
    ]);
    expect(await purgeDeletedWorkflows(db, RETENTION_MS)).toEqual({ workflows: 1, files: 1 });
    expect(await files()).toBe(2);
    const { rows } = await admin.query(`select id from workflow`);
    expect(rows).toEqual([{ id: other!.id }]);
  });

  test('stays while there is history of it, and as long as retention says', async () => {
    await admin.query(`update workflow set deleted_at = now() - interval '29 days'`);
    expect((await purgeDeletedWorkflows(db, RETENTION_MS)).workflows).toBe(0);
    await historyOf(5);
    await admin.query(`update workflow set deleted_at = now() - interval '31 days'`);
    expect((await purgeDeletedWorkflows(db, RETENTION_MS)).workflows).toBe(0);
  });

  test('is not taken from a version that is being saved', async () => {
    const content = packVersion({ 'b.bin': { base64: shared } }, new Map());
    await insertContents(admin, owner.tenantId, content.contents);
    await age();
    await admin.query('begin');
    await insertContents(admin, owner.tenantId, content.contents); // finds it there
    const purging = purgeDeletedWorkflows(db, RETENTION_MS);
    await delay(100);
    await saveVersion(owner.workflowId, 2, shared); // commits
    expect((await purging).files).toBe(0);
    expect(await files()).toBe(2);
  });
});
