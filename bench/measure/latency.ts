import { runOpenLoop, startBareServer } from '../load/run-load.ts';
import type { OpenLoopOrder } from '../load/shapes.ts';
import { withInstallation } from '../platform/installation.ts';
import type { TestProcesses } from '../../test/support/processes.ts';
import { requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const WARM_UP_S = 3;
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
      const order: OpenLoopOrder = {
        url,
        secret: installation.secret,
        connections: CONNECTIONS,
        ratePerSecond,
        seconds,
        warmUpSeconds: WARM_UP_S,
        arrivals: 'poisson',
        expectedStatus: 202,
      };
      const result = await runOpenLoop(services.processes, order);
      await requireRows(installation, result.sentInAll);
      return {
        openRate: result.sent / seconds,
        openP50Ms: result.p50Ms,
        openP99Ms: result.p99Ms,
        openBareP99Ms: await bareP99Ms(services.processes, order),
        apiMemoryMb: installation.sampler.peakBytes('api') / 1e6,
        ...startFigures(installation.apiStart),
      };
    }),
};

/** What of it is the load generator's own. */
async function bareP99Ms(processes: TestProcesses, order: OpenLoopOrder): Promise<number> {
  const server = await startBareServer(processes, order.expectedStatus);
  try {
    const url = `http://127.0.0.1:${server.port}/hooks/nobody`;
    return (await runOpenLoop(processes, { ...order, url })).p99Ms;
  } finally {
    await server.stop();
  }
}
