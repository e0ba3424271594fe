import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../support/wait-for.ts';
import { callsOf, callStep, deployOwn, standingOf } from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow } from '../harness/row.ts';
import {
  holderOf,
  sandboxesGone,
  startSandboxWorker,
  STUBBORN_FILES,
  stubbornStep,
} from '../harness/sandbox-worker.ts';
import type { Stage } from '../harness/stage.ts';

const LEASE_MS = 45_000;
const STOPPED_MS = 90_000;
const STEPS = ['one', 'code', 'three'];

const stalled: FaultRow = {
  id: 'R12',
  fault: 'worker SIGSTOP 90 s, then CONT',
  during: '–',
  after: 'another worker finishes; the sleeper’s writes hit 0 rows, it logs `fenced` and kills its sandbox',
  closedBy: 'every write carries the lease id; a process measures the time it slept',
  perSecond: 30,
  boundMs: 150_000,
  timeoutMs: 300_000,
  async run({ stage }) {
    const workers = [await startSandboxWorker(stage), await startSandboxWorker(stage)];
    const own = await deployOwn(
      stage,
      (url) =>
        [
          callStep('one', url),
          stubbornStep(url, 'code', 'needs: [one], timeout: 30m'),
          callStep('three', url, 'needs: [code]'),
        ].join('\n'),
      STUBBORN_FILES,
    );
    const slow = new RegExp(`${own.path.source}slow`);
    stage.ledger.delay(slow, 20 * 60_000);
    const id = await own.start();
    await waitFor(() => stage.ledger.pending(slow) === 1, {
      timeoutMs: 30_000,
      what: 'the code step to be under way',
    });
    const sleeper = await holderOf(stage, workers, slow);
    const { process } = sleeper.actor;
    const { lease_id } = await standingOf(stage, id);
    process.signal('SIGSTOP');
    const stoppedAt = performance.now();
    await waitFor(async () => /\) T /.test(await readFile(`/proc/${process.pid}/stat`, 'utf8')), {
      what: 'the worker to be stopped',
    });
    stage.ledger.delay(undefined, 0);
    const ended = await stage.client.finished(id, LEASE_MS + 30_000);
    const endedAfterS = (performance.now() - stoppedAt) / 1000;
    assert.equal(ended.state, 'succeeded');
    const sandboxes = await sleeper.sandboxes();
    assert.ok(sandboxes.length > 0, 'the sleeper has no sandbox that it could kill');
    const recorded = await recordsOf(stage, id);

    await delay(STOPPED_MS - (performance.now() - stoppedAt));
    process.signal('SIGCONT');
    const fenced = new RegExp(`"executionId":"${id}".*"leaseId":"${lease_id}".*fenced`);
    await process.waitForOutput(fenced, { timeoutMs: 15_000 });
    await sandboxesGone(sleeper, 15_000);
    assert.deepEqual(await recordsOf(stage, id), recorded, 'the sleeper wrote something');
    assert.deepEqual(callsOf(stage, id, STEPS), [1, 2, 1]);
    return [
      `worker ${process.pid} stopped for ${STOPPED_MS / 1000} s; another ended its execution after ${endedAfterS.toFixed(0)} s`,
      `it logged \`fenced\`, its ${sandboxes.length} sandbox processes are gone, and no record changed`,
    ];
  },
};

async function recordsOf(stage: Stage, executionId: string): Promise<readonly object[]> {
  const executions = await stage.sql.query<object>(`select * from execution where id = $1`, [executionId]);
  const steps = await stage.sql.query<object>(
    `select * from step_run where execution_id = $1 order by step_id, item, attempt`,
    [executionId],
  );
  const logs = await stage.sql.query<object>(
    `select * from step_log where execution_id = $1 order by step_id, item, attempt, seq`,
    [executionId],
  );
  return [...executions.rows, ...steps.rows, ...logs.rows];
}

/** With the leases that a worker has unless it is told otherwise. */
export const stallGroup: FaultGroup = {
  name: 'Workers that stall',
  stage: {
    workers: 0,
    env: { LEASE_MS: String(LEASE_MS), HEARTBEAT_MS: '10000', POLL_MS: '5000' },
  },
  rows: [stalled],
};
