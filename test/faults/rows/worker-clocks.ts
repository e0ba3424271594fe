import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../support/wait-for.ts';
import { callersOf } from '../harness/callers.ts';
import { callsOf, callStep, deployOwn, standingOf } from '../harness/own-workflow.ts';
import type { FaultRow } from '../harness/row.ts';
import type { Actor, Stage } from '../harness/stage.ts';

/** Debian's package `faketime`; the loader puts in the folder of this machine's libraries. */
const LIBFAKETIME = '/usr/$LIB/faketime/libfaketime.so.1';
const OFFSETS = [10, -10] as const;
/** Longer than a lease, so that one that was taken for ended would be taken over meanwhile. */
const STEP_MS = 8000;
const HELD = 10;

/** As after a wrong setting of the clock: the wall clock is off, the monotonic one is nobody's to set. */
const startWithClock = (stage: Stage, minutes: number): Promise<Actor> =>
  stage.startWorker({
    env: {
      LD_PRELOAD: LIBFAKETIME,
      FAKETIME: `${minutes > 0 ? '+' : ''}${minutes}m`,
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
  });

/** How far the clock in a worker's log is ahead of ours, in minutes. */
async function aheadBy({ process }: Actor, startedAtMs: number): Promise<number> {
  const [, time = ''] = await process.waitForOutput(/"time":"([^"]+)".*worker started/);
  return (Date.parse(time) - startedAtMs) / 60_000;
}

export const wrongClocks: FaultRow = {
  id: 'R29',
  fault: 'worker clock ±10 min',
  during: '–',
  after: 'no early reclaim, no double run (database clock)',
  closedBy: 'the database’s clock decides about leases and due times; a worker measures by its monotonic one',
  perSecond: 100,
  async run({ stage, target }) {
    const before = [...stage.workers];
    const startedAtMs = Date.now();
    const clocked = await Promise.all(OFFSETS.map((minutes) => startWithClock(stage, minutes)));
    const ahead = await Promise.all(clocked.map((worker) => aheadBy(worker, startedAtMs)));
    for (const [index, minutes] of OFFSETS.entries()) {
      assert.ok(Math.abs(ahead[index]! - minutes) < 0.5, `the clocks are ${ahead.join(' and ')} min ahead`);
    }
    await Promise.all(before.map((worker) => stage.end(worker, 'SIGTERM')));
    const own = await deployOwn(stage, (url) =>
      [
        callStep('slow', url),
        callStep('next', url, 'needs: [slow]'),
        `  - { id: pause, needs: [next], wait: { for: 2s } }`,
        callStep('last', url, 'needs: [pause]'),
      ].join('\n'),
    );
    const slow = new RegExp(`${own.path.source}slow`);
    stage.ledger.delay(slow, STEP_MS);
    const ids = await Promise.all(Array.from({ length: HELD }, () => own.start()));
    await waitFor(() => stage.ledger.pending(slow) === HELD, { what: 'the slow steps to be under way' });
    const holders = new Set(await callersOf(stage, slow));
    await waitFor(() => stage.ledger.pending(slow) === 0, { timeoutMs: 2 * STEP_MS });
    stage.ledger.delay(undefined, 0);
    for (const id of ids) {
      await stage.client.finished(id, 60_000);
      assert.deepEqual(callsOf(stage, id, ['slow', 'next', 'last']), [1, 1, 1]);
      assert.equal((await standingOf(stage, id)).lost_leases, 0);
    }
    await delay(1000);
    const { rows } = await stage.sql.query<{ lost: number; furthest_s: number }>(
      `select count(*) filter (where e.lost_leases > 0)::int as lost,
         max(abs(extract(epoch from s.finished_at - e.started_at)))::float8 as furthest_s
       from execution e join delivery d on d.id = e.delivery_id join step_run s on s.execution_id = e.id
       where d.endpoint_id = $1`,
      [target.endpointId],
    );
    const { lost, furthest_s } = rows[0]!; // an aggregate
    assert.equal(lost, 0, 'leases were taken for ended');
    assert.ok(furthest_s < 120, `a step is recorded ${furthest_s} s away from its execution`);
    await Promise.all(before.map(() => stage.startWorker()));
    await Promise.all(clocked.map((worker) => stage.end(worker, 'SIGTERM')));
    return [
      `the workers’ logs are ${ahead.map((minutes) => minutes.toFixed(1)).join(' and ')} min ahead of this machine`,
      `${HELD} steps longer than a lease on ${holders.size} workers ran once each, no lease was lost`,
    ];
  },
};
