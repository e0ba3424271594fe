import { availableParallelism } from 'node:os';
import { runOpenLoop } from '../../load/run-load.ts';
import { quantile } from '../../statistics.ts';
import { untilDrained } from '../backlog.ts';
import { requireAllSucceeded, requireRows } from '../checks.ts';
import type { Measure, MeasureContext } from '../measure.ts';
import { smallStep } from './code.ts';
import { stepTimes, withCodeInstallation, type Driver } from './installation.ts';

/** What n8n's code node reaches at saturation, without isolation. */
const RATE = 95;
const WARM_UP_S = 4;
const CONNECTIONS = 64;

/** Code steps at a rate that leaves room: how long they take, and what of the machine. */
export const sandboxLoad: Measure = {
  name: 'sandbox-load',
  title: `${RATE} code steps a second`,
  async run(context) {
    const gvisor = await loadOn(context, 'gvisor');
    const plain = await loadOn(context, 'process');
    return {
      codeLoadResultP50Ms: gvisor.resultP50Ms,
      codeLoadResultP99Ms: gvisor.resultP99Ms,
      codeLoadFinishedP50Ms: gvisor.finishedP50Ms,
      codeLoadFinishedP99Ms: gvisor.finishedP99Ms,
      codeLoadSharePercent: gvisor.sharePercent,
      plainLoadResultP50Ms: plain.resultP50Ms,
      plainLoadResultP99Ms: plain.resultP99Ms,
      plainLoadFinishedP50Ms: plain.finishedP50Ms,
      plainLoadFinishedP99Ms: plain.finishedP99Ms,
      plainLoadSharePercent: plain.sharePercent,
    };
  },
};

function loadOn(context: MeasureContext, driver: Driver) {
  const { services, seconds, say } = context;
  const spares = { javascript: 2, python: 0 };
  return withCodeInstallation(context, { driver, spares }, async (installation) => {
    const { definition, files } = smallStep('javascript');
    const url = await installation.deploy(definition, files);
    await installation.startWarmWorker();
    say(`driver ${driver}`);
    const result = await runOpenLoop(services.processes, {
      url,
      secret: installation.secret,
      connections: CONNECTIONS,
      ratePerSecond: RATE,
      seconds,
      warmUpSeconds: WARM_UP_S,
      arrivals: 'poisson',
      expectedStatus: 202,
    });
    const { startedAtMs, endedAtMs, sent, sentInAll } = result;
    await untilDrained(installation);
    await requireRows(installation, sentInAll);
    await requireAllSucceeded(installation, sentInAll, 1);
    const times = await stepTimes(installation, startedAtMs, endedAtMs);
    if (times.length !== sent)
      throw new Error(`${sent} webhooks were sent, ${times.length} times are stored`);
    const results = times.map(({ resultMs }) => resultMs);
    const finished = times.map(({ finishedMs }) => finishedMs);
    const parts = ['api', 'worker', 'postgres', 'redis', ...(driver === 'gvisor' ? ['sandboxes'] : [])];
    const cpuMs = parts.map((name) => installation.sampler.cpuMs(name, startedAtMs, endedAtMs));
    say(
      `CPU of each step: ${parts.map((name, index) => `${name} ${(cpuMs[index]! / sent).toFixed(2)} ms`).join(', ')}`, // the same length
    );
    return {
      resultP50Ms: quantile(results, 0.5),
      resultP99Ms: quantile(results, 0.99),
      finishedP50Ms: quantile(finished, 0.5),
      finishedP99Ms: quantile(finished, 0.99),
      sharePercent:
        (cpuMs.reduce((sum, ms) => sum + ms, 0) / (endedAtMs - startedAtMs) / availableParallelism()) * 100,
    };
  });
}
