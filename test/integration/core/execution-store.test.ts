import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import { makeId } from '../../../src/core/db/ids.ts';
import {
  checkLeases,
  claimByIds,
  claimDue,
  heartbeat,
  queueDepth,
  tenantsWithDueWork,
  type Claim,
} from '../../../src/core/executions/claims.ts';
import { readJournal, writeJournal, type JournalWrite } from '../../../src/core/executions/journal-store.ts';
import { NO_ITEM } from '../../../src/core/executions/journal.ts';
import { cancelExecution, createRetry } from '../../../src/core/executions/lifecycle.ts';
import { transition, type ExecutionEvent, type ExecutionLife } from '../../../src/core/executions/machine.ts';
import { MAX_LOST_LEASES } from '../../../src/core/executions/status.ts';
import { createJournalWriter } from '../../../src/worker/engine/journal-writer.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createOwner, queueExecution, type Owner } from '../../support/executions.ts';

const LEASE_MS = 45_000;
let testDatabase: TestDatabase;
let db: Database;
let owner: Owner;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  db = openDatabase({
    url: testDatabase.url,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 5,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 2000,
    lookUpsOnly: true,
    onError: () => {},
  });
  owner = await createOwner(testDatabase.url);
});

afterAll(async () => {
  await db.end();
  await testDatabase.drop();
});

async function claimOne(id: string, leaseMs = LEASE_MS): Promise<Claim> {
  const { claims } = await claimByIds(db, [id], [], leaseMs);
  expect(claims).toHaveLength(1);
  return claims[0]!;
}

const entry = (claim: Claim, rest: Partial<JournalWrite> = {}): JournalWrite => ({
  executionId: claim.id,
  leaseId: claim.leaseId,
  steps: [],
  logs: [],
  ...rest,
});

async function stateOf(id: string): Promise<Record<string, unknown>> {
  const { rows } = await db.query(`select * from execution where id = $1`, [id]);
  return rows[0] as Record<string, unknown>;
}

/** Lets the lease run out, as the passing of time would. */
const expire = (id: string): Promise<unknown> =>
  db.query(`update execution set next_dispatch_at = now() - interval '1 ms' where id = $1`, [id]);

describe('claims', () => {
  test('of several workers at once: exactly one gets the execution', async () => {
    const id = await queueExecution(db, owner);
    const results = await Promise.all(Array.from({ length: 5 }, () => claimByIds(db, [id], [], LEASE_MS)));
    expect(results.flatMap((result) => result.claims)).toHaveLength(1);
  });

  test('bring what the first step needs', async () => {
    const id = await queueExecution(db, owner, { n: 1 });
    expect(await claimOne(id)).toMatchObject({
      id,
      tenantId: owner.tenantId,
      workflowId: owner.workflowId,
      version: 1,
      triggerType: 'manual',
      inputJson: '{"n":1}',
      dispatchNumber: 1,
      hasJournal: false,
    });
  });

  test('pass over what is held, not due, excluded, unknown, or of another format', async () => {
    const held = await queueExecution(db, owner);
    await claimOne(held);
    const later = await queueExecution(db, owner);
    await db.query(`update execution set next_dispatch_at = now() + interval '1 h' where id = $1`, [later]);
    const foreign = await queueExecution(db, owner);
    await db.query(`update execution set format = 99 where id = $1`, [foreign]);
    const ids = [held, later, foreign, randomUUID()];
    expect((await claimByIds(db, ids, [], LEASE_MS)).claims).toEqual([]);
    const excluded = await queueExecution(db, owner);
    expect((await claimByIds(db, [excluded], [owner.tenantId], LEASE_MS)).claims).toEqual([]);
  });

  test('of a lost lease are counted, and the fifth loss ends the execution as worker_lost', async () => {
    const id = await queueExecution(db, owner);
    await claimOne(id);
    for (let lost = 1; lost < MAX_LOST_LEASES; lost++) {
      await expire(id);
      const result = await claimByIds(db, [id], [], LEASE_MS);
      expect(result).toMatchObject({ lostLeases: 1, gaveUp: [] });
      expect(result.claims[0]).toMatchObject({ lostLeases: lost, hasJournal: true });
    }
    await expire(id);
    expect(await claimByIds(db, [id], [], LEASE_MS)).toMatchObject({ claims: [], gaveUp: [{ id }] });
    const row = await stateOf(id);
    expect(row['state']).toBe('failed');
    expect(JSON.parse(row['error'] as string)).toMatchObject({ code: 'worker_lost' });
    expect(row['finished_at']).not.toBeNull();
  });

  test('by tenant are fair: each quota is kept, the longest due first', async () => {
    const other = await createOwner(testDatabase.url);
    const mine = [
      await queueExecution(db, other),
      await queueExecution(db, other),
      await queueExecution(db, other),
    ];
    await db.query(`update execution set next_dispatch_at = now() - interval '1 h' where id = $1`, [mine[2]]);
    expect(await tenantsWithDueWork(db)).toContain(other.tenantId);
    const { claims } = await claimDue(db, [{ tenantId: other.tenantId, limit: 2 }], LEASE_MS);
    expect(claims).toHaveLength(2);
    expect(claims.map((claim) => claim.id)).toContain(mine[2]);
    expect((await queueDepth(db, 1000)).depth).toBeGreaterThanOrEqual(1);
  });

  test('tenants without due work are not named', async () => {
    const idle = await createOwner(testDatabase.url);
    const id = await queueExecution(db, idle);
    await claimOne(id);
    expect(await tenantsWithDueWork(db)).not.toContain(idle.tenantId);
  });
});

describe('leases', () => {
  test('are extended and asked after together; lost ones are missing, cancellations are told', async () => {
    const kept = await claimOne(await queueExecution(db, owner));
    const lost = await claimOne(await queueExecution(db, owner));
    const cancelled = await claimOne(await queueExecution(db, owner));
    await expire(lost.id);
    await claimOne(lost.id);
    expect(await cancelExecution(db, cancelled.id, 'a test')).toBe('running');
    const leases = [kept, lost, cancelled].map((claim) => ({
      executionId: claim.id,
      leaseId: claim.leaseId,
    }));
    for (const check of [await heartbeat(db, leases, LEASE_MS), await checkLeases(db, leases)]) {
      expect(check.held).toEqual(new Set([kept.id, cancelled.id]));
      expect(check.cancelled).toEqual(new Set([cancelled.id]));
    }
  });
});

describe('the journal', () => {
  test('keeps values that jsonb would refuse', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    const output = { nul: '\u0000', lone: '\ud800', order: { b: 1, a: 2 } };
    const steps = [
      {
        stepId: 's',
        item: NO_ITEM,
        attempt: 1,
        state: 'succeeded',
        outputJson: JSON.stringify(output),
      } as const,
    ];
    expect(await writeJournal(db, [entry(claim, { steps })])).toEqual([true]);
    expect((await readJournal(db, claim.id))[0]!.output).toEqual(output);
  });

  test('of several executions is one write, of which fenced ones are left out', async () => {
    const mine = await claimOne(await queueExecution(db, owner));
    const lost = await claimOne(await queueExecution(db, owner));
    await expire(lost.id);
    await claimOne(lost.id);
    const steps = [{ stepId: 's', item: NO_ITEM, attempt: 1, state: 'succeeded', outputJson: '1' } as const];
    const logs = [
      {
        stepId: 's',
        item: NO_ITEM,
        attempt: 1,
        seq: 0,
        atMs: Date.now(),
        level: 'info',
        message: 'm',
        truncated: false,
      } as const,
    ];
    const leaving = { to: 'succeeded', outputJson: '2' } as const;
    expect(
      await writeJournal(db, [entry(mine, { steps, logs, leaving }), entry(lost, { steps, logs, leaving })]),
    ).toEqual([true, false]);
    expect(await readJournal(db, mine.id)).toHaveLength(1);
    expect(await readJournal(db, lost.id)).toEqual([]);
    expect(await stateOf(mine.id)).toMatchObject({ state: 'succeeded', output: '2', next_dispatch_at: null });
    expect(await stateOf(lost.id)).toMatchObject({ state: 'running' });
    const { rows } = await db.query(`select message from step_log where execution_id = any($1)`, [
      [mine.id, lost.id],
    ]);
    expect(rows).toHaveLength(1);
  });

  test('of one execution records the same as that of several, and nothing when it is fenced', async () => {
    const claims = [];
    for (let n = 0; n < 3; n++) claims.push(await claimOne(await queueExecution(db, owner)));
    const [alone, together, lost] = claims as [Claim, Claim, Claim];
    const atMs = Date.now();
    const attempt = { stepId: 's', item: 3, attempt: 2 } as const;
    const write = (claim: Claim, leaseId = claim.leaseId): JournalWrite => ({
      ...entry(claim),
      leaseId,
      steps: [
        {
          ...attempt,
          state: 'failed',
          inputJson: '{"in":"\\u0000"}',
          error: { code: 'timeout', message: 'm' },
          dueAtMs: atMs + 2000,
          startedAtMs: atMs,
          finishedAtMs: atMs + 1000,
        },
      ],
      logs: [{ ...attempt, seq: 1, atMs, level: 'warn', message: 'a "line"', truncated: true }],
      response: { status: 202 },
      leaving: { to: 'queued', delayMs: 60_000 },
    });
    expect(await writeJournal(db, [write(alone)])).toEqual([true]);
    expect(await writeJournal(db, [write(lost, together.leaseId)])).toEqual([false]);
    expect(await writeJournal(db, [write(together), write(lost, together.leaseId)])).toEqual([true, false]);
    const recordOf = async ({ id }: Claim) => {
      const { rows: log } = await db.query(
        `select step_id, item, attempt, seq, at, level, message, truncated from step_log where execution_id = $1`,
        [id],
      );
      const { state, response, lease_id } = await stateOf(id);
      return { journal: await readJournal(db, id), log, state, response, lease_id };
    };
    const record = await recordOf(alone);
    expect(record).toMatchObject({ journal: [{ ...attempt, finishedAtMs: atMs + 1000 }], state: 'queued' });
    expect(record.log).toMatchObject([{ message: 'a "line"', truncated: true }]);
    expect(await recordOf(together)).toEqual(record);
    expect(await recordOf(lost)).toMatchObject({ journal: [], log: [], state: 'running' });
  });

  test('never overwrites a recorded outcome, but completes one that was announced', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    const attempt = { stepId: 's', item: NO_ITEM, attempt: 1 } as const;
    await writeJournal(db, [entry(claim, { steps: [{ ...attempt, state: 'running' }] })]);
    await writeJournal(db, [
      entry(claim, { steps: [{ ...attempt, state: 'succeeded', outputJson: '"first"' }] }),
    ]);
    await writeJournal(db, [
      entry(claim, { steps: [{ ...attempt, state: 'succeeded', outputJson: '"second"' }] }),
    ]);
    expect(await readJournal(db, claim.id)).toMatchObject([{ state: 'succeeded', output: 'first' }]);
  });

  test('takes two entries of one execution at the same time, in their order', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    const other = await claimOne(await queueExecution(db, owner));
    const writer = createJournalWriter({ db, onRetry: (error) => expect.unreachable(error.message) });
    const attempt = { stepId: 's', item: NO_ITEM, attempt: 1 } as const;
    const signal = new AbortController().signal;
    const results = await Promise.all([
      writer.write(entry(claim, { steps: [{ ...attempt, state: 'running' }] }), signal),
      writer.write(entry(other, { steps: [{ ...attempt, state: 'running' }] }), signal),
      writer.write(
        entry(claim, {
          steps: [{ ...attempt, state: 'succeeded', outputJson: '1' }],
          leaving: { to: 'succeeded', outputJson: '1' },
        }),
        signal,
      ),
    ]);
    expect(results).toEqual([true, true, true]);
    expect(await readJournal(db, claim.id)).toMatchObject([{ state: 'succeeded', output: 1 }]);
    expect(await stateOf(claim.id)).toMatchObject({ state: 'succeeded' });
    expect(await readJournal(db, other.id)).toMatchObject([{ state: 'running' }]);
  });

  test('the first answer of a respond step stays', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    await writeJournal(db, [entry(claim, { response: { status: 201 } })]);
    await writeJournal(db, [
      entry(claim, { response: { status: 500 }, leaving: { to: 'succeeded', outputJson: 'null' } }),
    ]);
    expect((await stateOf(claim.id))['response']).toBe('{"status":201}');
  });

  test('a suspended execution is due again at its time, and holds no lease', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    const dueAtMs = Date.now() + 60_000;
    await writeJournal(db, [entry(claim, { leaving: { to: 'waiting', dueAtMs } })]);
    const row = await stateOf(claim.id);
    expect(row).toMatchObject({ state: 'waiting', lease_id: null });
    expect((row['next_dispatch_at'] as Date).getTime()).toBe(dueAtMs);
    expect((await claimByIds(db, [claim.id], [], LEASE_MS)).claims).toEqual([]);
  });
});

describe('cancel and retry', () => {
  test('what does not run is cancelled at once, what has ended is refused, what is unknown is not found', async () => {
    const id = await queueExecution(db, owner);
    expect(await cancelExecution(db, id, 'a test')).toBe('cancelled');
    expect(await stateOf(id)).toMatchObject({ state: 'cancelled', cancel_reason: 'a test' });
    await expect(cancelExecution(db, id, 'again')).rejects.toMatchObject({ code: 'execution_ended' });
    await expect(cancelExecution(db, randomUUID(), 'x')).rejects.toMatchObject({
      code: 'execution_not_found',
    });
  });

  test('a retry from the failure keeps what succeeded, one from the start does not', async () => {
    const claim = await claimOne(await queueExecution(db, owner));
    await expect(
      createRetry(db, { id: makeId(Date.now()), of: claim.id, from: 'start' }),
    ).rejects.toMatchObject({
      code: 'execution_not_ended',
    });
    const steps = [
      { stepId: 'good', item: NO_ITEM, attempt: 1, state: 'succeeded', outputJson: '1' },
      { stepId: 'bad', item: NO_ITEM, attempt: 1, state: 'failed', error: { code: 'x', message: 'y' } },
    ] as const;
    const leaving = { to: 'failed', error: { code: 'x', message: 'y', step: 'bad' } } as const;
    await writeJournal(db, [entry(claim, { steps, leaving })]);
    const fromFailed = makeId(Date.now());
    const fromStart = makeId(Date.now());
    await createRetry(db, { id: fromFailed, of: claim.id, from: 'failed' });
    await createRetry(db, { id: fromStart, of: claim.id, from: 'start', version: 2 });
    expect(await readJournal(db, fromFailed)).toMatchObject([
      { stepId: 'good', state: 'succeeded', output: 1 },
    ]);
    expect(await readJournal(db, fromStart)).toEqual([]);
    expect(await stateOf(fromFailed)).toMatchObject({ state: 'queued', retry_of: claim.id, version: 1 });
    expect(await stateOf(fromStart)).toMatchObject({ state: 'queued', version: 2 });
    expect((await claimOne(fromFailed)).hasJournal).toBe(true);
  });
});

/** What the database says of an execution, in the machine's terms; times are left out, for they are the database's. */
async function lifeOf(
  id: string,
): Promise<Omit<ExecutionLife, 'claimedAtMs' | 'nextDispatchAtMs' | 'activeMs'>> {
  const row = await stateOf(id);
  return {
    state: row['state'] as ExecutionLife['state'],
    leaseId: row['lease_id'] as string | null,
    dispatchNumber: row['dispatch_number'] as number,
    lostLeases: row['lost_leases'] as number,
    cancelRequested: row['cancel_requested_at'] !== null,
  };
}

type Command =
  'claim' | 'expire' | 'heartbeat' | 'release' | 'suspend' | 'succeed' | 'fail' | 'stop' | 'cancel';

/** Does to the row what an event does to the model; returns the new lease of a claim. */
async function apply(id: string, event: ExecutionEvent): Promise<string | undefined> {
  const write = (leaving: JournalWrite['leaving']): Promise<unknown> =>
    writeJournal(db, [
      {
        executionId: id,
        leaseId: (event as { leaseId: string }).leaseId,
        steps: [],
        logs: [],
        ...(leaving && { leaving }),
      },
    ]);
  switch (event.type) {
    case 'claim':
      return (await claimByIds(db, [id], [], LEASE_MS)).claims[0]?.leaseId;
    case 'heartbeat':
      await heartbeat(db, [{ executionId: id, leaseId: event.leaseId }], LEASE_MS);
      return undefined;
    case 'release':
      await write({ to: 'queued', delayMs: 0 });
      return undefined;
    case 'suspend':
      await write({ to: 'waiting', dueAtMs: 0 });
      return undefined;
    case 'succeed':
      await write({ to: 'succeeded', outputJson: 'null' });
      return undefined;
    case 'fail':
      await write({ to: 'failed', error: { code: 'x', message: 'y' } });
      return undefined;
    case 'stop':
      await write({ to: 'cancelled', error: { code: 'x', message: 'y' } });
      return undefined;
    case 'cancel':
      await cancelExecution(db, id, 'a test').catch(() => {});
      return undefined;
  }
}

test('the SQL does what the state machine says, for any sequence of events, fenced ones included', async () => {
  const command = fc.constantFrom<Command>(
    'claim',
    'claim',
    'expire',
    'heartbeat',
    'release',
    'suspend',
    'succeed',
    'fail',
    'stop',
    'cancel',
  );
  const commands = fc.array(fc.tuple(command, fc.boolean()), { minLength: 1, maxLength: 14 });
  await fc.assert(
    fc.asyncProperty(commands, async (list) => {
      const id = await queueExecution(db, owner);
      let model: ExecutionLife = {
        state: 'queued',
        leaseId: null,
        claimedAtMs: null,
        nextDispatchAtMs: 0,
        dispatchNumber: 0,
        lostLeases: 0,
        activeMs: 0,
        cancelRequested: false,
      };
      let lease = randomUUID() as string;
      for (const [type, stale] of list) {
        if (type === 'expire') {
          if (model.nextDispatchAtMs === null) continue;
          await expire(id);
          model = { ...model, nextDispatchAtMs: 0 };
          continue;
        }
        const leaseId = stale ? randomUUID() : lease;
        const event = { type, leaseId, leaseMs: LEASE_MS, dueAtMs: 0 } as ExecutionEvent;
        const claimed = await apply(id, event);
        // The database draws the lease id; the model is told which.
        model = transition(
          model,
          claimed === undefined ? event : ({ ...event, leaseId: claimed } as ExecutionEvent),
          1,
        ).life;
        lease = claimed ?? lease;
        const { claimedAtMs: _, nextDispatchAtMs: __, activeMs: ___, ...expected } = model;
        expect(await lifeOf(id)).toEqual(expected);
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);
