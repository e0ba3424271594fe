import { randomUUID } from 'node:crypto';
import { Pool } from 'undici';
import { waitFor } from '../../test/support/wait-for.ts';
import { startBareServer } from '../load/run-load.ts';
import { withInstallation, type Installation } from '../platform/installation.ts';
import { median } from '../statistics.ts';
import { busyWindow, prepareBacklog, untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import { WARM_UP_MS, backlogFor } from './execute.ts';
import { startFigures, type Measure } from './measure.ts';
import { httpWorkflow } from './workflows.ts';

const STEPS = 3;
const GUESSED_PER_SECOND = 300;

/** What one worker executes of a backlog whose steps have outside effects, each with a commit of its own. */
export const http: Measure = {
  name: 'http',
  title: 'executions of 3 http steps',
  async run({ services, seconds, soFar, installation: options, say }) {
    const sink = await startBareServer(services.processes, 200);
    const env = { ...options.env, EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` };
    try {
      return await withInstallation(services, { ...options, env }, async (installation) => {
        const { sampler } = installation;
        const url = await installation.deploy(httpWorkflow(`http://127.0.0.1:${sink.port}/`, STEPS));
        say('preparing the backlog');
        const wanted = backlogFor(seconds, soFar('httpPerSecond') ?? GUESSED_PER_SECOND);
        const count = await prepareBacklog(services.processes, installation, url, wanted);
        const workerStart = await installation.startWorker();
        say(`working off ${count} executions`);
        await untilDrained(installation);
        await requireRows(installation, count);
        await requireAllSucceeded(installation, count, STEPS);
        const { fromMs, toMs, executions, perSecond } = await busyWindow(installation, {
          warmUpMs: WARM_UP_MS,
        });
        const cpuEach = (name: string): number => sampler.cpuMs(name, fromMs, toMs) / executions;
        return {
          httpPerSecond: perSecond,
          httpCpuWorkerMs: cpuEach('worker'),
          httpCpuPostgresMs: cpuEach('postgres'),
          workerMemoryMb: sampler.peakBytes('worker') / 1e6,
          ...startFigures(installation.apiStart, workerStart),
        };
      });
    } finally {
      await sink.stop();
    }
  },
};

const CHAIN = 100;
const REPEATS = 7;
const ENDED_WITHIN_MS = 60_000;

/** What durability adds to a step with an outside effect: a long chain of calls, one execution at a time. */
export const overhead: Measure = {
  name: 'overhead',
  title: 'durable overhead of a step',
  async run({ services, installation: options }) {
    const sink = await startBareServer(services.processes, 200);
    const env = { ...options.env, EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` };
    try {
      return await withInstallation(services, { ...options, env }, async (installation) => {
        const origin = `http://127.0.0.1:${sink.port}`;
        await installation.deploy(httpWorkflow(`${origin}/`, CHAIN));
        await installation.startWorker();
        const steps: number[] = [];
        const calls: number[] = [];
        for (let n = 0; n < REPEATS; n++) {
          calls.push(await timeBareCalls(origin));
          steps.push(await timeSteps(installation));
        }
        await requireAllSucceeded(installation, REPEATS, CHAIN);
        // The first of each pays for compiling what it runs.
        const stepMs = median(steps.slice(1));
        const bareCallMs = median(calls.slice(1));
        return { stepMs, bareCallMs, overheadPerStepMs: stepMs - bareCallMs };
      });
    } finally {
      await sink.stop();
    }
  },
};

/** From start to end by the database's clock, shared out over the steps. */
async function timeSteps({ client, db }: Installation): Promise<number> {
  const reply = await client.call('POST', `/api/v1/workflows/http-${CHAIN}/executions`, { input: {} });
  const { executionId } = reply.data as { executionId: string };
  // Asked of the database: the API would take a core while it writes out a hundred steps, again and again.
  const ended = await waitFor(
    async () => {
      const { rows } = await db.query<{ state: string; ms: number }>(
        `select state, extract(epoch from finished_at - started_at)::float8 * 1000 as ms from execution
         where id = $1 and finished_at is not null`,
        [executionId],
      );
      return rows[0];
    },
    { timeoutMs: ENDED_WITHIN_MS, what: 'the chain of calls to end' },
  );
  if (ended.state !== 'succeeded') throw new Error(`the chain of calls ended as ${ended.state}`);
  return ended.ms / CHAIN;
}

async function timeBareCalls(origin: string): Promise<number> {
  const pool = new Pool(origin, { connections: 1, pipelining: 1 });
  const call = async (): Promise<void> => {
    const { body } = await pool.request({
      method: 'POST',
      path: '/',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ number: 1, execution: randomUUID(), trigger: 'manual' }),
    });
    await body.json();
  };
  try {
    await call(); // connects
    const startedAt = performance.now();
    for (let n = 0; n < CHAIN; n++) await call();
    return (performance.now() - startedAt) / CHAIN;
  } finally {
    await pool.close();
  }
}
