import { runOpenLoop } from '../load/run-load.ts';
import { withInstallation } from '../platform/installation.ts';
import { quantile } from '../statistics.ts';
import { untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import { storedDurations } from './durations.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const RATE = 10;
const WARM_UP_S = 3;
const CONNECTIONS = 10;

/** How long a webhook takes to be finished when there is nearly nothing to do. */
export const light: Measure = {
  name: 'light',
  title: 'light load, webhook → finished',
  run: ({ services, seconds, installation: options }) =>
    withInstallation(services, options, async (installation) => {
      const urls = {
        accepted: await installation.deploy(transformWorkflow('accepted')),
        result: await installation.deploy(transformWorkflow('result')),
      };
      const workerStart = await installation.startWorker();
      const send = (respond: 'accepted' | 'result') =>
        runOpenLoop(services.processes, {
          url: urls[respond],
          secret: installation.secret,
          connections: CONNECTIONS,
          ratePerSecond: RATE,
          // A p99 wants a few hundred of them.
          seconds: seconds * 2,
          warmUpSeconds: WARM_UP_S,
          arrivals: 'even',
          expectedStatus: respond === 'result' ? 200 : 202,
        });
      const accepted = await send('accepted');
      await untilDrained(installation);
      const stored = await storedDurations(installation, urls.accepted, accepted);
      const finished = stored.map((row) => row.finished_ms);
      const result = await send('result');
      await requireRows(installation, accepted.sentInAll + result.sentInAll);
      await requireAllSucceeded(installation, accepted.sentInAll + result.sentInAll, 3);
      return {
        lightP50Ms: quantile(finished, 0.5),
        lightP99Ms: quantile(finished, 0.99),
        lightClaimP50Ms: quantile(
          stored.map((row) => row.claimed_ms),
          0.5,
        ),
        resultP50Ms: result.p50Ms,
        resultP99Ms: result.p99Ms,
        ...startFigures(installation.apiStart, workerStart),
      };
    }),
};
