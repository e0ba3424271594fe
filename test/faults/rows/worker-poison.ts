import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { addTenant } from '../../support/tenant.ts';
import { callersOf } from '../harness/callers.ts';
import { callsOf, callStep, deployOwn, endedUntil, standingOf } from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow } from '../harness/row.ts';
import type { Stage } from '../harness/stage.ts';

const LEASE_MS = 2000;
const MAX_LOST_LEASES = 5;

/** Kills every worker that runs the execution, and starts another in its place, until it has ended. */
async function killWhoeverRuns(stage: Stage, executionId: string, path: RegExp): Promise<number> {
  let kills = 0;
  while ((await standingOf(stage, executionId)).state !== 'failed') {
    for (const victim of new Set(await callersOf(stage, path))) {
      victim.process.signalGroup('SIGKILL');
      kills++;
      await stage.end(victim, 'SIGKILL');
      await stage.startWorker({ isReady: false });
    }
    assert.ok(kills <= MAX_LOST_LEASES, `${kills} workers were lost to one execution`);
    await delay(5);
  }
  return kills;
}

const poison: FaultRow = {
  id: 'R35',
  fault: 'an execution that kills its worker every time',
  during: '–',
  after: '`failed (worker_lost)` at the 5th loss; other tenants unaffected',
  closedBy:
    'lost leases are counted, apart from a step’s own retries; whoever was lost with others runs alone',
  perSecond: 100,
  boundMs: 30_000,
  async run({ stage, target }) {
    const client = await addTenant(stage.sql, `http://127.0.0.1:${stage.api.port}`, 'poisoner');
    const own = await deployOwn(stage, (url) => callStep('die', url), {}, client);
    stage.ledger.delay(own.path, 60_000);
    const startedAt = performance.now();
    const id = await own.start();
    const kills = await killWhoeverRuns(stage, id, own.path);
    const tookMs = performance.now() - startedAt;
    stage.ledger.delay(undefined, 0);
    const ended = await standingOf(stage, id);
    assert.deepEqual(
      { kills, lost: ended.lost_leases, code: ended.error?.code },
      { kills: MAX_LOST_LEASES, lost: MAX_LOST_LEASES, code: 'worker_lost' },
    );
    assert.deepEqual(callsOf(stage, id, ['die']), [MAX_LOST_LEASES]);
    // Beside the leases: five polls, and workers that start on a busy machine.
    assert.ok(tookMs < 6 * LEASE_MS + 6000, `it took ${tookMs} ms to end`);
    const untilMs = Date.now();
    await endedUntil(stage, target, untilMs, 60_000);
    const { rows } = await stage.sql.query<{ meanwhile: number; cut_off: number; most_lost: number }>(
      `select count(*) filter (where e.finished_at between to_timestamp($2 / 1000.0) and to_timestamp($3 / 1000.0))::int as meanwhile,
         count(*) filter (where e.lost_leases > 0)::int as cut_off, max(e.lost_leases) as most_lost
       from execution e join delivery d on d.id = e.delivery_id where d.endpoint_id = $1`,
      [target.endpointId, untilMs - tookMs, untilMs],
    );
    const { meanwhile, cut_off, most_lost } = rows[0]!; // an aggregate
    assert.ok(meanwhile > 0, 'the other tenant’s executions stood still');
    assert.ok(most_lost < MAX_LOST_LEASES - 1, `a bystander lost ${most_lost} leases`);
    return [
      `${kills} workers killed by one execution, failed as \`worker_lost\` after ${(tookMs / 1000).toFixed(1)} s`,
      `${meanwhile} executions of another tenant succeeded meanwhile; ${cut_off} were cut off beside it, none more than ${most_lost} times`,
    ];
  },
};

export const poisonGroup: FaultGroup = {
  name: 'An execution that kills workers',
  stage: {
    workers: 3,
    env: { LEASE_MS: String(LEASE_MS), HEARTBEAT_MS: '500', POLL_MS: '500' },
  },
  rows: [poison],
};
