import assert from 'node:assert/strict';
import { access, mkdir, symlink } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { cacheDirectory } from '../../support/cache-directory.ts';
import { waitFor } from '../../support/wait-for.ts';
import { callsOf, deployOwn, standingOf, type OwnWorkflow } from '../harness/own-workflow.ts';
import type { FaultGroup, FaultRow } from '../harness/row.ts';
import {
  holderOf,
  startSandboxWorker,
  STUBBORN_FILES,
  stubbornStep,
  type SandboxWorker,
} from '../harness/sandbox-worker.ts';
import type { Stage } from '../harness/stage.ts';

const STARTS_WITHIN_MS = 30_000;

/** A code step that is under way, in one of the workers. */
interface Held {
  readonly own: OwnWorkflow;
  readonly id: string;
  readonly holder: SandboxWorker;
}

/** Starts a step that ends when the ledger answers, which it does not until its delay is taken away. */
async function hold(stage: Stage, workers: readonly SandboxWorker[], keys: string): Promise<Held> {
  const own = await deployOwn(stage, (url) => stubbornStep(url, 'code', keys), STUBBORN_FILES);
  stage.ledger.delay(own.path, 20 * 60_000);
  const id = await own.start();
  await waitFor(() => stage.ledger.pending(own.path) === 1, {
    timeoutMs: STARTS_WITHIN_MS,
    what: 'the code step to be under way',
  });
  return { own, id, holder: await holderOf(stage, workers, own.path) };
}

const cutOff: FaultRow = {
  id: 'R31',
  fault: 'worker cut off from PostgreSQL only',
  during: '–',
  after: 'it stops its sandboxes before its lease ends',
  closedBy: 'a lease that cannot be extended is given up while there is time to stop what runs',
  perSecond: 30,
  async run({ stage }) {
    const workers = [await startSandboxWorker(stage), await startSandboxWorker(stage)];
    const { id, holder } = await hold(stage, workers, 'timeout: 30m');
    const { lease_id } = await standingOf(stage, id);
    const processes = await holder.sandboxes();
    await holder.actor.database.silence();
    const silentAt = performance.now();
    stage.ledger.delay(undefined, 0);
    await waitFor(async () => (await holder.sandboxes()).length === 0, {
      intervalMs: 50,
      what: 'the sandboxes to end',
    });
    const stoppedAfterMs = performance.now() - silentAt;
    const then = await standingOf(stage, id);
    assert.equal(then.lease_id, lease_id, 'another worker had the lease before the sandboxes ended');
    const leftMs = then.lease_left_ms ?? 0;
    assert.ok(leftMs > 0, `the sandboxes ended ${-leftMs} ms after the lease`);
    const ended = await stage.client.finished(id, 60_000);
    assert.equal(ended.state, 'succeeded');
    assert.equal((await standingOf(stage, id)).lost_leases, 1);
    assert.deepEqual(callsOf(stage, id, ['code']), [2]);
    assert.ok(!holder.actor.process.hasExited(), 'the worker did not live to see it');
    await holder.actor.database.heal();
    return [
      `${processes.length} sandbox processes ended ${(stoppedAfterMs / 1000).toFixed(1)} s after the wire fell silent, ${leftMs.toFixed(0)} ms before the lease`,
      'another worker ran the step again, under the same key',
    ];
  },
};

const NOWHERE = 'no-such-runsc';

const noRuntime: FaultRow = {
  id: 'R41',
  fault: 'the sandbox runtime dies or is missing',
  during: '–',
  after: 'the step fails with that reason and is retried as infrastructure, not as the user’s failure',
  closedBy:
    '`sandbox_lost` and `no_sandbox` are told from failures of the code, and retried on their own budget',
  perSecond: 30,
  async run({ stage }) {
    const died = await runtimeDies(stage);
    const missing = await runtimeIsMissing(stage);
    return [...died, ...missing];
  },
};

async function runtimeDies(stage: Stage): Promise<readonly string[]> {
  const worker = await startSandboxWorker(stage);
  // The workers of the row before could run it, too.
  for (const other of stage.workers.filter((one) => one !== worker.actor)) await stage.end(other, 'SIGTERM');
  const { id } = await hold(stage, [worker], 'retry: { attempts: 1 }');
  const victims = await worker.sandboxes();
  stage.ledger.delay(undefined, 0);
  for (const { pid } of victims) process.kill(pid, 'SIGKILL');
  const ended = await stage.client.finished(id, 60_000);
  assert.equal(ended.state, 'succeeded');
  assert.equal((ended['steps'] as readonly { attempts: number }[])[0]?.attempts, 1);
  assert.deepEqual(callsOf(stage, id, ['code']), [2]);
  const { text } = await stage.client.call('GET', `/api/v1/executions/${id}/logs`);
  assert.match(text, /The sandbox was lost/);
  return [`${victims.length} processes of gVisor killed under a step; its only attempt succeeded in another`];
}

async function runtimeIsMissing(stage: Stage): Promise<readonly string[]> {
  const runsc = join(stage.directory, NOWHERE);
  const unfit = await startSandboxWorker(stage, { MILLRACE_RUNSC: runsc, ...(await withoutRunsc(stage)) });
  for (const other of stage.workers.filter((one) => one !== unfit.actor)) await stage.end(other, 'SIGTERM');
  const own = await deployOwn(
    stage,
    (url) => stubbornStep(url, 'code', 'retry: { attempts: 1 }'),
    STUBBORN_FILES,
  );
  const id = await own.start();
  const refused = await waitFor(
    async () => {
      const { rows } = await stage.sql.query<{ error: { code: string; message: string } }>(
        `select error from step_run where execution_id = $1 and state = 'failed'`,
        [id],
      );
      return rows[0]?.error;
    },
    { timeoutMs: STARTS_WITHIN_MS, what: 'the step to be refused' },
  );
  assert.equal(refused.code, 'no_sandbox');
  assert.ok(refused.message.includes(runsc), `the reason does not name ${runsc}: ${refused.message}`);
  await startSandboxWorker(stage);
  await stage.end(unfit.actor, 'SIGTERM');
  const ended = await stage.client.finished(id, 60_000);
  assert.equal(ended.state, 'succeeded', JSON.stringify(ended['error']));
  return [
    `without runsc the step failed as \`no_sandbox\`, and its only attempt succeeded on a worker that has one`,
  ];
}

/** Places where a worker finds everything but runsc. */
async function withoutRunsc(stage: Stage): Promise<Readonly<Record<string, string>>> {
  const emptied = join(stage.directory, 'cache', 'millrace');
  await mkdir(emptied, { recursive: true });
  await symlink(join(cacheDirectory(), 'rootfs'), join(emptied, 'rootfs'));
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const hasRunsc = await Promise.all(folders.map((folder) => exists(join(folder, 'runsc'))));
  return {
    XDG_CACHE_HOME: dirname(emptied),
    PATH: folders.filter((_, index) => !hasRunsc[index]).join(delimiter),
  };
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** What happens to the sandboxes of workers, and to workers with sandboxes. */
export const sandboxGroup: FaultGroup = {
  name: 'Sandboxes',
  stage: { workers: 0, env: { POLL_MS: '3000' } },
  rows: [cutOff, noRuntime],
};
