import { withInstallation, type Installation } from '../platform/installation.ts';
import { median } from '../statistics.ts';
import { waitFor } from '../../test/support/wait-for.ts';
import { requireAllSucceeded } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { RESUME_OUTCOMES, RESUME_STEPS, resumeWorkflow } from './workflows.ts';

const REPEATS = 7;

/**
 * How long a worker takes from the claim of an execution with a thousand recorded outcomes to its end, one step later:
 * the time of that lease, by the database's clock.
 */
export const resume: Measure = {
  name: 'resume',
  title: 'resume of a 1,000-step execution',
  run: ({ services, installation: options }) =>
    withInstallation(services, options, async (installation) => {
      await installation.deploy(resumeWorkflow('500ms'));
      await installation.startWorker();
      const same: number[] = [];
      for (let n = 0; n < REPEATS; n++) {
        const { id, activeMs } = await startAndWait(installation);
        same.push((await activeMsAtEnd(installation, id)) - activeMs);
      }
      await installation.deploy(resumeWorkflow('2s'));
      const { id, activeMs } = await startAndWait(installation);
      await installation.stopWorkers('SIGKILL');
      await untilDue(installation, id);
      const workerStart = await installation.startWorker();
      const resumeFreshMs = (await activeMsAtEnd(installation, id)) - activeMs;
      await requireAllSucceeded(installation, REPEATS + 1, RESUME_STEPS);
      return {
        resumeSameMs: median(same),
        resumeFreshMs,
        ...startFigures(installation.apiStart, workerStart),
      };
    }),
};

/** Starts one and resolves when it waits with its journal written. */
async function startAndWait({ client, db }: Installation): Promise<{ id: string; activeMs: number }> {
  const reply = await client.call('POST', '/api/v1/workflows/resume/executions', { input: {} });
  const { executionId: id } = reply.data as { executionId: string };
  const activeMs = await waitFor(
    async () => {
      const { rows } = await db.query<{ state: string; active_ms: number }>(
        'select state, active_ms::float8 as active_ms from execution where id = $1',
        [id],
      );
      return rows[0]?.state === 'waiting' ? { ms: rows[0].active_ms } : undefined;
    },
    { what: 'the execution to wait' },
  );
  const { rows } = await db.query<{ count: number }>(
    `select count(*)::int as count from step_run
     where execution_id = $1 and state = 'succeeded' and attempt = 1`,
    [id],
  );
  if (rows[0]?.count !== RESUME_OUTCOMES)
    throw new Error(`the journal was to have ${RESUME_OUTCOMES} outcomes, it has ${rows[0]?.count}`);
  return { id, activeMs: activeMs.ms };
}

async function untilDue({ db }: Installation, id: string): Promise<void> {
  await waitFor(
    async () =>
      (await db.query('select from execution where id = $1 and next_dispatch_at <= now()', [id])).rowCount ===
      1,
    { what: 'the wait to be over' },
  );
}

async function activeMsAtEnd({ client, db }: Installation, id: string): Promise<number> {
  const ended = await client.finished(id);
  if (ended.state !== 'succeeded') throw new Error(`the execution ended as ${JSON.stringify(ended.error)}`);
  const { rows } = await db.query<{ active_ms: number }>(
    'select active_ms::float8 as active_ms from execution where id = $1',
    [id],
  );
  return rows[0]!.active_ms; // it was just read by its id
}
