import { runClosedLoop } from '../load/run-load.ts';
import { withInstallation } from '../platform/installation.ts';
import { requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

export const CONNECTIONS = 50;

/** What the API alone takes in; the worker is stopped. */
export const accept: Measure = {
  name: 'accept',
  title: 'accepts, API alone',
  run: ({ services, seconds, installation: options }) =>
    withInstallation(services, options, async (installation) => {
      const { sampler, secret } = installation;
      const url = await installation.deploy(transformWorkflow());
      const result = await runClosedLoop(services.processes, {
        url,
        secret,
        connections: CONNECTIONS,
        load: { seconds },
      });
      await requireRows(installation, result.acceptedInAll);
      const { accepted, startedAtMs, endedAtMs } = result;
      const cpuEach = (name: string): number => sampler.cpuMs(name, startedAtMs, endedAtMs) / accepted;
      return {
        acceptsPerSecond: (accepted / (endedAtMs - startedAtMs)) * 1000,
        acceptP50Ms: result.p50Ms,
        acceptP99Ms: result.p99Ms,
        acceptCpuApiMs: cpuEach('api'),
        acceptCpuPostgresMs: cpuEach('postgres'),
        acceptCpuRedisMs: cpuEach('redis'),
        acceptCpuClientMs: result.clientCpuMs / accepted,
        apiMemoryMb: sampler.peakBytes('api') / 1e6,
        ...startFigures(installation.apiStart),
      };
    }),
};
