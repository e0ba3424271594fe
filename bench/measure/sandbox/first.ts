import type { Runtime } from '../../../src/worker/sandbox/driver.ts';
import { makeBody } from '../../load/signed-bodies.ts';
import { createHmac, randomUUID } from 'node:crypto';
import { median, quantile } from '../../statistics.ts';
import { requireAllSucceeded, requireRows } from '../checks.ts';
import { untilDrained } from '../backlog.ts';
import type { Measure, MeasureContext } from '../measure.ts';
import { smallStep } from './code.ts';
import {
  claimCounts,
  stepTimes,
  untilWarm,
  withCodeInstallation,
  type CodeInstallation,
  type Driver,
} from './installation.ts';

const FIRSTS = 20;
const MISSES = 7;
const LATER_EACH = 5;

/** The first execution of a workflow, on a spare of nobody's; those after it; and one for which there is no spare. */
export const sandboxFirst: Measure = {
  name: 'sandbox-first',
  title: 'first steps of workflows',
  async run(context) {
    const first = await firstOn(context, 'javascript', 'gvisor');
    const plain = await firstOn(context, 'javascript', 'process');
    const python = await firstOn(context, 'python', 'gvisor');
    const plainPython = await firstOn(context, 'python', 'process');
    return {
      codeFirstP50Ms: quantile(first.firstMs, 0.5),
      codeFirstP99Ms: quantile(first.firstMs, 0.99),
      codeLaterP50Ms: quantile(first.laterMs, 0.5),
      plainFirstP50Ms: quantile(plain.firstMs, 0.5),
      plainFirstP99Ms: quantile(plain.firstMs, 0.99),
      plainLaterP50Ms: quantile(plain.laterMs, 0.5),
      codePythonFirstP50Ms: quantile(python.firstMs, 0.5),
      codePythonFirstP99Ms: quantile(python.firstMs, 0.99),
      codePythonLaterP50Ms: quantile(python.laterMs, 0.5),
      plainPythonFirstP50Ms: quantile(plainPython.firstMs, 0.5),
      plainPythonFirstP99Ms: quantile(plainPython.firstMs, 0.99),
      plainPythonLaterP50Ms: quantile(plainPython.laterMs, 0.5),
    };
  },
};

export const sandboxMiss: Measure = {
  name: 'sandbox-miss',
  title: 'steps that have to wait for a sandbox to start',
  run: async (context) => ({
    codeMissP50Ms: median(await missesOn(context, 'javascript', 'gvisor')),
    plainMissP50Ms: median(await missesOn(context, 'javascript', 'process')),
    codePythonMissP50Ms: median(await missesOn(context, 'python', 'gvisor')),
    plainPythonMissP50Ms: median(await missesOn(context, 'python', 'process')),
  }),
};

function firstOn(context: MeasureContext, runtime: Runtime, driver: Driver) {
  const spares = { javascript: 0, python: 0, [runtime]: 2 };
  return withCodeInstallation(context, { driver, spares }, async (installation) => {
    const urls = await deployMany(installation, runtime, FIRSTS);
    await installation.startWarmWorker();
    // The very first compiles what the worker runs; it counts for nothing.
    const firstMs: number[] = [];
    const laterMs: number[] = [];
    for (const url of urls) {
      await untilWarm(installation, spares[runtime]);
      firstMs.push(await runOne(installation, url));
      for (let n = 0; n < LATER_EACH; n++) laterMs.push(await runOne(installation, url));
    }
    await requireOutcome(installation, FIRSTS * (1 + LATER_EACH), 0);
    return { firstMs: firstMs.slice(1), laterMs: laterMs.slice(LATER_EACH) };
  });
}

function missesOn(context: MeasureContext, runtime: Runtime, driver: Driver): Promise<readonly number[]> {
  return withCodeInstallation(
    context,
    { driver, spares: { javascript: 0, python: 0 } },
    async (installation) => {
      const urls = await deployMany(installation, runtime, MISSES);
      await installation.startWarmWorker();
      const times: number[] = [];
      for (const url of urls) times.push(await runOne(installation, url));
      await requireOutcome(installation, MISSES, MISSES);
      return times;
    },
  );
}

async function deployMany(
  installation: CodeInstallation,
  runtime: Runtime,
  count: number,
): Promise<readonly string[]> {
  const urls: string[] = [];
  for (let n = 0; n < count; n++) {
    const { definition, files } = smallStep(runtime, { name: `first-${n}` });
    urls.push(await installation.deploy(definition, files));
  }
  return urls;
}

/** Posts to the webhook and waits for the end. @returns from claim to result, in milliseconds */
async function runOne(installation: CodeInstallation, url: string): Promise<number> {
  const body = makeBody(1);
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-github-event': 'push',
      'x-github-delivery': randomUUID(),
      'x-hub-signature-256': `sha256=${createHmac('sha256', installation.secret).update(body).digest('hex')}`,
    },
    body: new Uint8Array(body),
  });
  if (response.status !== 202) throw new Error(`the webhook answered ${response.status}`);
  const { executionId } = (await response.json()) as { executionId: string };
  const ended = await installation.client.finished(executionId, 30_000);
  if (ended.state !== 'succeeded') throw new Error(`the step ended as ${JSON.stringify(ended['error'])}`);
  return (await stepTimes(installation, 0, Date.now() + 60_000)).at(-1)!.resultMs; // it has just ended
}

async function requireOutcome(installation: CodeInstallation, count: number, misses: number): Promise<void> {
  await untilDrained(installation);
  await requireRows(installation, count);
  await requireAllSucceeded(installation, count, 1);
  const claims = await claimCounts(installation);
  if (claims.misses !== misses || claims.hits !== count - misses) {
    throw new Error(
      `${count} claims with ${misses} misses were to be made; there were ${claims.hits} hits and ${claims.misses} misses`,
    );
  }
}
