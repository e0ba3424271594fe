import { runOpenLoop } from '../load/run-load.ts';
import { withInstallation } from '../platform/installation.ts';
import { requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const SHARE_OF_MAXIMUM = 0.7;
/** More than can be under way at once, so that the connections are not what limits. */
const CONNECTIONS = 256;

/** How long an accept takes when senders come at 70 % of what the API can take. */
export const latency: Measure = {
  name: 'latency',
  title: 'accept latency, open loop',
  run: ({ services, seconds, soFar, installation: options }) =>
    withInstallation(services, options, async (installation) => {
      const maximum = soFar('acceptsPerSecond');
      if (maximum === undefined) throw new Error('`latency` needs `accept` before it: --only accept,latency');
      const ratePerSecond = Math.round(maximum * SHARE_OF_MAXIMUM);
      const url = await installation.deploy(transformWorkflow());
      const result = await runOpenLoop(services.processes, {
        url,
        secret: installation.secret,
        connections: CONNECTIONS,
        ratePerSecond,
        seconds,
        warmUpSeconds: 3,
        arrivals: 'poisson',
        expectedStatus: 202,
      });
      await requireRows(installation, result.sentInAll);
      return {
        openRate: result.sent / seconds,
        openP50Ms: result.p50Ms,
        openP99Ms: result.p99Ms,
        apiMemoryMb: installation.sampler.peakBytes('api') / 1e6,
        ...startFigures(installation.apiStart),
      };
    }),
};
