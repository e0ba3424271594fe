import type { Runtime } from '../../../src/worker/sandbox/driver.ts';
import type { FigureName } from '../../targets.ts';
import { busyWindow, prepareBacklog, untilDrained } from '../backlog.ts';
import { requireAllSucceeded, requireRows } from '../checks.ts';
import { backlogFor } from '../execute.ts';
import type { Figures, Measure, MeasureContext } from '../measure.ts';
import { largeStep, smallStep, type CodeWorkflow } from './code.ts';
import { claimCounts, withCodeInstallation, type CodeInstallation, type Driver } from './installation.ts';

/** Until both sandboxes of a workflow are there and their code is compiled. */
const WARM_UP_MS = 3000;

interface Order {
  readonly runtime: Runtime;
  readonly workflow: CodeWorkflow;
  readonly driver: Driver;
  /** Where the figure of earlier runs is found, and what is expected before there is one. */
  readonly figure: FigureName;
  readonly guessedPerSecond: number;
  /** Each execution gets a sandbox of its own. */
  readonly isSingleUse?: boolean;
}

interface Saturation {
  readonly perSecond: number;
  readonly cpuMs: (name: string) => number;
  /** Of the used sandboxes, on average. */
  readonly memoryMb: number | undefined;
}

/** What one worker runs of a backlog of code steps. */
export const sandboxBacklog: Measure = {
  name: 'sandbox-backlog',
  title: 'a backlog of code steps',
  async run(context) {
    const small = (runtime: Runtime, driver: Driver, figure: FigureName, guessedPerSecond: number) =>
      saturate(context, { runtime, workflow: smallStep(runtime), driver, figure, guessedPerSecond });
    const javascript = await small('javascript', 'gvisor', 'codePerSecond', 350);
    const plainJavascript = await small('javascript', 'process', 'plainPerSecond', 450);
    const python = await small('python', 'gvisor', 'codePythonPerSecond', 400);
    const plainPython = await small('python', 'process', 'plainPythonPerSecond', 500);
    return {
      codePerSecond: javascript.perSecond,
      codeCpuSandboxMs: javascript.cpuMs('sandboxes'),
      codeCpuWorkerMs: javascript.cpuMs('worker'),
      codeCpuPostgresMs: javascript.cpuMs('postgres'),
      ...(javascript.memoryMb === undefined ? {} : { usedMemoryMb: javascript.memoryMb }),
      plainPerSecond: plainJavascript.perSecond,
      codePythonPerSecond: python.perSecond,
      codePythonCpuSandboxMs: python.cpuMs('sandboxes'),
      codePythonCpuWorkerMs: python.cpuMs('worker'),
      ...(python.memoryMb === undefined ? {} : { usedPythonMemoryMb: python.memoryMb }),
      plainPythonPerSecond: plainPython.perSecond,
    };
  },
};

/** The same with code of the size of a few libraries. */
export const sandboxLarge: Measure = {
  name: 'sandbox-large',
  title: 'a backlog of large code steps',
  async run(context) {
    const large = (driver: Driver, figure: FigureName) =>
      saturate(context, {
        runtime: 'javascript',
        workflow: largeStep(),
        driver,
        figure,
        guessedPerSecond: 120,
      });
    const gvisor = await large('gvisor', 'codeLargePerSecond');
    const plain = await large('process', 'plainLargePerSecond');
    return { codeLargePerSecond: gvisor.perSecond, plainLargePerSecond: plain.perSecond };
  },
};

/** The same with a sandbox for each execution. */
export const sandboxSingle: Measure = {
  name: 'sandbox-single',
  title: 'a backlog of code steps in sandboxes of their own',
  async run(context) {
    const figures: [FigureName, Runtime, Driver][] = [
      ['codeSinglePerSecond', 'javascript', 'gvisor'],
      ['plainSinglePerSecond', 'javascript', 'process'],
      ['codePythonSinglePerSecond', 'python', 'gvisor'],
      ['plainPythonSinglePerSecond', 'python', 'process'],
    ];
    const measured: Record<string, number> = {};
    for (const [figure, runtime, driver] of figures) {
      const workflow = smallStep(runtime, { isolation: 'execution' });
      const order = { runtime, workflow, driver, figure, guessedPerSecond: 5, isSingleUse: true } as const;
      measured[figure] = (await saturate(context, order)).perSecond;
    }
    return measured satisfies Figures;
  },
};

function saturate(context: MeasureContext, order: Order): Promise<Saturation> {
  const { services, seconds, soFar, say } = context;
  const { runtime, driver, isSingleUse = false } = order;
  const spares = { javascript: 0, python: 0, [runtime]: 2 };
  return withCodeInstallation(context, { driver, spares }, async (installation) => {
    const { sampler } = installation;
    const url = await installation.deploy(order.workflow.definition, order.workflow.files);
    const wanted = backlogFor(seconds + 1, soFar(order.figure) ?? order.guessedPerSecond);
    const count = await prepareBacklog(services.processes, installation, url, wanted);
    await installation.startWorker();
    say(`working off ${count} steps, ${runtime}, driver ${driver}`);
    await untilDrained(installation);
    await requireRows(installation, count);
    await requireAllSucceeded(installation, count, 1);
    const { hits, misses } = await claimCounts(installation);
    if (hits + misses !== count) throw new Error(`${count} steps ran, but ${hits + misses} claims were made`);
    const { fromMs, toMs, executions, perSecond } = await busyWindow(installation, { warmUpMs: WARM_UP_MS });
    return {
      perSecond,
      cpuMs: (name) => sampler.cpuMs(name, fromMs, toMs) / executions,
      memoryMb: isSingleUse || driver === 'process' ? undefined : await usedMemoryMb(installation, runtime),
    };
  });
}

/** Spares that were refilled meanwhile are not used ones: those have used far less CPU. */
async function usedMemoryMb({ sandboxes }: CodeInstallation, runtime: Runtime): Promise<number> {
  const usages = (await sandboxes.list()).filter((usage) => usage.runtime === runtime);
  const most = Math.max(...usages.map(({ cpuMs }) => cpuMs));
  const used = usages.filter(({ cpuMs }) => cpuMs > most / 2);
  return used.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) / used.length / 1e6;
}
