import { withInstallation } from '../platform/installation.ts';
import { busyWindow, prepareBacklog, untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const STEPS = 3;
export const WARM_UP_MS = 2000;
/** Before anything is known: enough work for a fast worker. */
const GUESSED_PER_SECOND = 1000;
const SLACK = 1.15;

/** How many executions keep a worker busy for the warm-up and the measured phase. */
export const backlogFor = (seconds: number, perSecond: number = GUESSED_PER_SECOND): number =>
  Math.round((seconds + WARM_UP_MS / 1000 + 1) * perSecond * SLACK);

/** What one worker executes of a backlog of webhooks, when nothing else goes on. */
export const execute: Measure = {
  name: 'execute',
  title: 'executions of 3 transform steps',
  run: ({ services, seconds, soFar, installation: options, say }) =>
    withInstallation(services, options, async (installation) => {
      const { sampler } = installation;
      const url = await installation.deploy(transformWorkflow());
      say('preparing the backlog');
      const wanted = backlogFor(seconds, soFar('transformPerSecond'));
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
        transformPerSecond: perSecond,
        transformCpuWorkerMs: cpuEach('worker'),
        transformCpuPostgresMs: cpuEach('postgres'),
        transformCpuRedisMs: cpuEach('redis'),
        workerMemoryMb: sampler.peakBytes('worker') / 1e6,
        ...startFigures(installation.apiStart, workerStart),
      };
    }),
};
