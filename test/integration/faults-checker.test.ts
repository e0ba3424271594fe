import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeId } from '../../src/core/db/ids.ts';
import { EXECUTION_FORMAT } from '../../src/core/executions/status.ts';
import { check, type CheckOptions, type Counts } from '../faults/harness/checker.ts';
import type { Sent } from '../faults/harness/load.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createOwner, type Owner } from '../support/executions.ts';

/** The checker that judges the rows of the matrix of faults is shown one fault of each kind, on a real database. */
const HEALTHY = 30;
const STEPS = ['one', 'two', 'three'];
const PATH = '/checked/';

let testDatabase: TestDatabase;
let sql: pg.Pool;
let owner: Owner;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  sql = new pg.Pool({ connectionString: testDatabase.url, max: 2 });
  owner = await createOwner(testDatabase.url);
});

afterAll(async () => {
  await sql.end();
  await testDatabase.drop();
});

/** What a run left: deliveries in the database, calls in the ledger, answers in the client's book. */
interface Run {
  readonly endpointId: string;
  readonly sent: Sent[];
  readonly times: Map<string, number[]>;
  readonly calls: { readonly step: string; readonly key: string }[];
}

interface Planted {
  readonly deliveryId: string;
  readonly executionId: string;
}

const toSent = (id: string, outcome: Sent['outcome']): Sent => ({
  id,
  outcome,
  answer: { ok: 202, fail: 422, info: 503 }[outcome],
  retryAfter: undefined,
  executionId: undefined,
  duplicate: undefined,
  sentAtMs: 0,
  tookMs: 1,
});

async function plantExecution(run: Run, deliveryId: string, state = 'succeeded'): Promise<string> {
  const id = makeId(Date.now());
  await sql.query(
    `insert into execution (id, tenant_id, workflow_id, version, format, state, trigger_type, trigger_name, delivery_id,
       next_dispatch_at, finished_at)
     values ($1, $2, $3, 1, $4, $5::text, 'webhook', 'push', $6,
       case when $5 = 'queued' then now() end, case when $5 <> 'queued' then now() end)`,
    [id, owner.tenantId, owner.workflowId, EXECUTION_FORMAT, state, deliveryId],
  );
  return id;
}

/** One delivery that went as it should: accepted, executed, every step called once and recorded afterwards. */
async function plant(run: Run, key: string = randomUUID(), state = 'succeeded'): Promise<Planted> {
  const deliveryId = makeId(Date.now());
  const executionId = await plantExecution(run, deliveryId, state);
  await sql.query(
    `insert into delivery (id, tenant_id, workflow_id, endpoint_id, trigger_name, verdict, method, query, headers, body,
       body_size, dedupe_key, execution_id)
     values ($1, $2, $3, $4, 'push', 'accepted', 'POST', '', '{}', '', 0, $5, $6)`,
    [deliveryId, owner.tenantId, owner.workflowId, run.endpointId, key, executionId],
  );
  await sql.query(
    `insert into step_run (execution_id, step_id, attempt, tenant_id, state, started_at, finished_at)
     select $1, id, 1, $2, 'succeeded', now(), now() from unnest($3::text[]) id`,
    [executionId, owner.tenantId, STEPS],
  );
  for (const step of STEPS) {
    const key = `${executionId}.${step}`;
    run.times.set(key, [Date.now() - 1000]);
    run.calls.push({ step, key });
  }
  return { deliveryId, executionId };
}

async function plantAccepted(run: Run): Promise<Planted> {
  const key = randomUUID();
  run.sent.push(toSent(key, 'ok'));
  return plant(run, key);
}

async function startRun(): Promise<Run> {
  const run: Run = { endpointId: randomUUID(), sent: [], times: new Map(), calls: [] };
  await sql.query('insert into endpoint (id, tenant_id, workflow_id, trigger_name) values ($1, $2, $3, $1)', [
    run.endpointId,
    owner.tenantId,
    owner.workflowId,
  ]);
  for (let n = 0; n < HEALTHY; n++) await plantAccepted(run);
  return run;
}

const judge = (run: Run, extra: Partial<CheckOptions> = {}): Promise<Counts> =>
  check({
    sql,
    ledger: {
      timesOf: (key) => run.times.get(key) ?? [],
      keysBelow: () => run.calls.map(({ step, key }) => ({ path: PATH + step, keys: new Set([key]) })),
    },
    endpointId: run.endpointId,
    path: PATH,
    stepsEach: STEPS.length,
    sent: run.sent,
    boundMs: 300,
    ...extra,
  });

const NOTHING = { lost: 0, phantom: 0, duplicates: 0, stuck: 0, reRun: 0, strayCalls: 0 };

async function expectFault(run: Run, fault: Partial<typeof NOTHING>): Promise<void> {
  await expect(judge(run)).rejects.toMatchObject({
    name: 'AssertionError',
    actual: { ...NOTHING, ...fault },
  });
}

test('a run in which all went well is counted and passes', async () => {
  const counts = await judge(await startRun());
  expect(counts).toMatchObject({ ...NOTHING, ok: HEALTHY, executions: HEALTHY, repeatedInFlight: 0 });
});

test('an accepted delivery without a row is lost', async () => {
  const run = await startRun();
  run.sent.push(toSent(randomUUID(), 'ok'));
  await expectFault(run, { lost: 1 });
});

test('an accepted delivery whose execution failed is lost, unless the row is about failures', async () => {
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  await sql.query(`update execution set state = 'failed' where id = $1`, [executionId]);
  await expectFault(run, { lost: 1 });
  expect(await judge(run, { mayFail: true })).toMatchObject(NOTHING);
});

test('a delivery that nobody sent, and one that was refused, are phantoms', async () => {
  const run = await startRun();
  await plant(run);
  const refused = randomUUID();
  run.sent.push(toSent(refused, 'fail'));
  await plant(run, refused);
  await expectFault(run, { phantom: 2 });
});

test('a delivery whose answer is unknown may be there or not', async () => {
  const run = await startRun();
  const there = randomUUID();
  run.sent.push(toSent(there, 'info'), toSent(randomUUID(), 'info'));
  await plant(run, there);
  expect(await judge(run)).toMatchObject({ ...NOTHING, info: 2 });
});

test('a second execution of a delivery is a duplicate', async () => {
  const run = await startRun();
  const { deliveryId } = await plantAccepted(run);
  await plantExecution(run, deliveryId);
  await expectFault(run, { duplicates: 1 });
});

test('a second delivery of a key is a duplicate, though its execution did nothing yet that could be seen', async () => {
  const run = await startRun();
  const key = run.sent[0]!.id;
  const { executionId } = await plant(run, key);
  await sql.query('delete from step_run where execution_id = $1', [executionId]);
  run.calls.splice(-STEPS.length);
  await expectFault(run, { duplicates: 1 });
});

test('an execution that does not end is stuck', async () => {
  const run = await startRun();
  const key = randomUUID();
  run.sent.push(toSent(key, 'info'));
  await plant(run, key, 'queued');
  await expectFault(run, { stuck: 1 });
});

test('a call after its step was recorded is a re-run, even when a lease was lost', async () => {
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  await sql.query('update execution set lost_leases = 1 where id = $1', [executionId]);
  run.times.get(`${executionId}.two`)?.push(Date.now() + 5000);
  await expectFault(run, { reRun: 1 });
});

test('a call that came twice though no lease was lost is a re-run', async () => {
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  run.times.get(`${executionId}.one`)?.push(Date.now() - 500);
  await expectFault(run, { reRun: 1 });
  expect(await judge(run, { claimsMayVanish: true })).toMatchObject({ ...NOTHING, repeatedInFlight: 1 });
});

test('a call that came twice because a lease was lost is allowed, and counted', async () => {
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  await sql.query('update execution set lost_leases = 1 where id = $1', [executionId]);
  run.times.get(`${executionId}.one`)?.push(Date.now() - 500);
  expect(await judge(run)).toMatchObject({ ...NOTHING, repeatedInFlight: 1, lostLeases: 1 });
});

test('a step that is recorded but never reached the ledger, or is not recorded at all, is counted', async () => {
  const run = await startRun();
  const unseen = await plantAccepted(run);
  run.times.delete(`${unseen.executionId}.three`);
  const unrecorded = await plantAccepted(run);
  await sql.query(`delete from step_run where execution_id = $1 and step_id = 'two'`, [
    unrecorded.executionId,
  ]);
  run.calls.splice(-2, 1);
  await expectFault(run, { reRun: 2 });
});

test.each([
  ['of a step that is not recorded', (id: string) => `${id}.two.1`],
  ['of another step', (id: string) => `${id}.one`],
  ['of an execution that is not there', () => `${randomUUID()}.two`],
  ['of nothing', () => 'undefined'],
])('a call under a key %s is a stray', async (_what, keyOf) => {
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  run.calls.push({ step: 'two', key: keyOf(executionId) });
  await expectFault(run, { strayCalls: 1 });
});

test.each([
  ['the same name is not', 'test', 0],
  ['another name is', 'other', 3],
])("a call of another tenant's workflow of %s a stray", async (_what, name, strayCalls) => {
  const other = await createOwner(testDatabase.url);
  await sql.query('update workflow set name = $2 where id = $1', [other.workflowId, name]);
  const run = await startRun();
  const { executionId } = await plantAccepted(run);
  await sql.query('update execution set tenant_id = $2, workflow_id = $3 where id = $1', [
    executionId,
    other.tenantId,
    other.workflowId,
  ]);
  if (strayCalls > 0) await expectFault(run, { strayCalls });
  else await judge(run);
});

test('a run in which little was accepted does not pass, though nothing was lost', async () => {
  const run = await startRun();
  for (let n = 0; n < HEALTHY / 5; n++) run.sent.push(toSent(randomUUID(), 'info'));
  await expect(judge(run)).rejects.toThrow(/fewer than 90 % were accepted/);
});
