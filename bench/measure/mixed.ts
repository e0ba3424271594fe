import { runClosedLoop } from '../load/run-load.ts';
import { withInstallation } from '../platform/installation.ts';
import { CONNECTIONS } from './accept.ts';
import { endedBetween, untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

/** What the API takes in while a worker executes it; the backlog may grow, and is worked off afterwards. */
export const mixed: Measure = {
  name: 'mixed',
  title: 'accepts while a worker executes',
  run: ({ services, seconds, installation: options, say }) =>
    withInstallation(services, options, async (installation) => {
      const url = await installation.deploy(transformWorkflow());
      const workerStart = await installation.startWorker();
      const result = await runClosedLoop(services.processes, {
        url,
        secret: installation.secret,
        connections: CONNECTIONS,
        load: { seconds },
      });
      const { accepted, acceptedInAll, startedAtMs, endedAtMs } = result;
      say('waiting for the backlog to be worked off');
      await untilDrained(installation);
      await requireRows(installation, acceptedInAll);
      await requireAllSucceeded(installation, acceptedInAll, 3);
      const spanS = (endedAtMs - startedAtMs) / 1000;
      return {
        mixedAcceptsPerSecond: accepted / spanS,
        mixedAcceptP50Ms: result.p50Ms,
        mixedAcceptP99Ms: result.p99Ms,
        mixedExecutionsPerSecond: (await endedBetween(installation, startedAtMs, endedAtMs)) / spanS,
        apiMemoryMb: installation.sampler.peakBytes('api') / 1e6,
        workerMemoryMb: installation.sampler.peakBytes('worker') / 1e6,
        ...startFigures(installation.apiStart, workerStart),
      };
    }),
};
