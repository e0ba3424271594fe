import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database, type DatabaseRole } from '../../../src/core/db/database.ts';
import { leaveDuty, takeDuty } from '../../../src/core/db/duties.ts';
import { removeWorker, reportWorker, surveyWorkers } from '../../../src/core/executions/workers.ts';
import { createMeasurements, type Measurements } from '../../../src/core/telemetry/measurements.ts';
import { createMetrics, type Metrics } from '../../../src/core/telemetry/metrics.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createOwner, queueExecution } from '../../support/executions.ts';
import { waitFor } from '../../support/wait-for.ts';

const EVERY_MS = 300;

let database: TestDatabase;
let engine: Database;
let ingest: Database;

const open = (role: DatabaseRole): Database =>
  openDatabase({
    url: database.url,
    role,
    name: 'test',
    maxConnections: 3,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 5000,
    lookUpsOnly: true,
    onError: () => {},
  });

beforeAll(async () => {
  database = await createTestDatabase();
  engine = open('millrace_engine');
  ingest = open('millrace_ingest');
});
afterAll(async () => {
  await Promise.all([engine.end(), ingest.end()]);
  await database.drop();
});

const NO_CLAIMS = { javascript: 0, python: 0 };

describe('a duty', () => {
  test('is one process’s at a time, for as long as that one asks for it', async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    expect(await takeDuty(engine, 'test', a, 60_000)).toBe(true);
    expect(await takeDuty(ingest, 'test', b, 60_000)).toBe(false);
    expect(await takeDuty(engine, 'test', a, 60_000)).toBe(true);
    expect(await takeDuty(engine, 'another', b, 60_000)).toBe(true);
    await leaveDuty(ingest, 'test', b);
    expect(await takeDuty(ingest, 'test', b, 60_000)).toBe(false);
    await leaveDuty(engine, 'test', a);
    expect(await takeDuty(ingest, 'test', b, 1)).toBe(true);
    await waitFor(() => takeDuty(engine, 'test', a, 60_000), { what: 'the duty of one who asks no more' });
  });
});

describe('workers', () => {
  test('count as long as they report, with what they claimed', async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    await reportWorker(engine, a, { javascript: 9, python: 9 });
    await reportWorker(engine, a, { javascript: 1, python: 2 });
    await reportWorker(engine, b, { javascript: 10, python: 20 });
    expect(await surveyWorkers(ingest)).toEqual({ workers: 2, claims: { javascript: 11, python: 22 } });
    await engine.query(`update worker set seen_at = now() - interval '31 s' where id = $1`, [a]);
    expect(await surveyWorkers(ingest)).toEqual({ workers: 1, claims: { javascript: 10, python: 20 } });
    await removeWorker(engine, b);
    expect(await surveyWorkers(ingest)).toEqual({ workers: 0, claims: NO_CLAIMS });
  });
});

describe('measuring', () => {
  const started: Measurements[] = [];
  afterEach(async () => {
    await Promise.all(started.splice(0).map((measurements) => measurements.stop()));
  });

  const measure = (db: Database, onlyWithoutWorkers = false) => {
    const metrics = createMetrics();
    const errors: Error[] = [];
    const holder = randomUUID();
    const measurements = createMeasurements({
      db,
      metrics,
      holder,
      everyMs: EVERY_MS,
      onlyWithoutWorkers,
      onError: (error) => void errors.push(error),
    });
    measurements.start();
    started.push(measurements);
    return { metrics, measurements, errors, holder };
  };
  const samples = async (metrics: Metrics, name: string): Promise<readonly string[]> =>
    (await metrics.registry.page(undefined)).body
      .split('\n')
      .filter((line) => line.startsWith(`millrace_${name}`));
  const isMeasured = async (metrics: Metrics): Promise<boolean> =>
    (await samples(metrics, 'queue_depth ')).length === 1;

  const holderOf = async (): Promise<string | undefined> => {
    const { rows } = await engine.query<{ holder: string }>(
      `select holder from duty where name = 'measure' and until > now()`,
    );
    return rows[0]?.holder;
  };

  test('is done by one process at a time, and all show what that one found', async () => {
    const first = measure(engine);
    await waitFor(() => isMeasured(first.metrics), { what: 'the first to measure' });
    expect(await holderOf()).toBe(first.holder);
    const second = measure(engine);
    await waitFor(() => isMeasured(second.metrics), { what: 'the second to show it' });
    expect(await holderOf()).toBe(first.holder);
    expect(await samples(second.metrics, 'database_bytes ')).toEqual(
      await samples(first.metrics, 'database_bytes '),
    );
    await first.measurements.stop();
    expect(await isMeasured(first.metrics)).toBe(false);
    await waitFor(async () => (await holderOf()) === second.holder, { what: 'the second to go on' });
    expect(await isMeasured(second.metrics)).toBe(true);
    expect([first.errors, second.errors]).toEqual([[], []]);
  });

  test('says nothing rather than what is long past', async () => {
    await engine.query(
      `update duty set until = now() + interval '1 hour', done_at = now() - interval '1 hour'`,
    );
    const { metrics } = measure(engine);
    for (let round = 0; round < 2; round++) {
      expect(await isMeasured(metrics)).toBe(false);
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
    await engine.query(`update duty set until = now()`);
    await waitFor(() => isMeasured(metrics), { what: 'the queue to be measured' });
  });

  test('tells of what waits, of workers and of sizes', async () => {
    const id = await queueExecution(engine, await createOwner(database.url));
    await engine.query(`update execution set next_dispatch_at = now() - interval '100 s' where id = $1`, [
      id,
    ]);
    await reportWorker(engine, randomUUID(), { javascript: 3, python: 4 });
    const { metrics } = measure(engine);
    await waitFor(() => isMeasured(metrics), { what: 'the queue to be measured' });
    const valueOf = async (name: string): Promise<number> => {
      const [line = ''] = await samples(metrics, name);
      return Number(line.slice(line.lastIndexOf(' ') + 1));
    };
    expect(await valueOf('queue_depth')).toBe(1);
    expect(await valueOf('queue_oldest_age_seconds')).toBeGreaterThanOrEqual(100);
    expect(await valueOf('outbox_oldest_age_seconds')).toBeGreaterThanOrEqual(100);
    expect(await valueOf('workers')).toBe(1);
    expect(await valueOf('sandbox_javascript_claims_per_minute')).toBe(3);
    expect(await valueOf('sandbox_python_claims_per_minute')).toBe(4);
    await waitFor(async () => (await samples(metrics, 'table_partitions')).length === 4, {
      what: 'the sizes',
    });
    expect(await valueOf('database_bytes')).toBeGreaterThan(1_000_000);
    expect(await valueOf('table_partition_bytes{table="execution"')).toBeGreaterThan(0);
    expect(await valueOf('table_partitions{table="delivery"')).toBeGreaterThan(1);

    // Claimed once, and due again: it waits, and is none that nobody has found.
    await engine.query(`update execution set dispatch_number = 1 where id = $1`, [id]);
    await waitFor(async () => (await valueOf('outbox_oldest_age_seconds')) === 0, {
      what: 'the outbox to be empty',
    });
    expect(await valueOf('queue_depth')).toBe(1);
    await engine.query(`delete from execution where id = $1`, [id]);
    await engine.query(`delete from worker`);
  });

  test('is the API’s as long as there is no worker, which then is the news', async () => {
    const api = measure(ingest, true);
    await waitFor(async () => (await holderOf()) === api.holder, { what: 'the API to measure' });
    await waitFor(() => isMeasured(api.metrics), { what: 'the API to show it' });
    expect(await samples(api.metrics, 'workers')).toEqual(['millrace_workers 0']);
    await reportWorker(engine, randomUUID(), NO_CLAIMS);
    const worker = measure(engine);
    await waitFor(async () => (await holderOf()) === worker.holder, { what: 'the worker to measure' });
    await waitFor(async () => (await samples(api.metrics, 'workers')).join() === 'millrace_workers 1', {
      what: 'the API to show what the worker found',
    });
    await engine.query(`delete from worker`);
    expect(api.errors).toEqual([]);
  });
});
