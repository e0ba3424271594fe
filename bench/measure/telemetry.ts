import type { TestProcesses } from '../../test/support/processes.ts';
import { startTraceSink } from '../load/run-load.ts';
import { changeOf, median } from '../statistics.ts';
import type { FigureName } from '../targets.ts';
import { accept } from './accept.ts';
import { execute } from './execute.ts';
import { http } from './http.ts';
import type { Measure, MeasureContext } from './measure.ts';

/** As PERFORMANCE asks for where differences are small. */
const PAIRS = 7;
const SAMPLE_RATE = '0.1';

interface Comparison {
  /** Which of its figures are the CPU of an operation, together. */
  readonly cpu: readonly FigureName[];
  readonly shown: { readonly without: FigureName; readonly change: FigureName; readonly high: FigureName };
}

/** The same measurement with and without traces, in turns, each on an installation of its own. */
const compare = (measure: Measure, { cpu, shown }: Comparison): Measure => ({
  name: `telemetry-${measure.name}`,
  title: `traces at ${SAMPLE_RATE}: ${measure.title}`,
  async run(context) {
    const known = new Map<FigureName, number>();
    const cpuWith = async (env: Readonly<Record<string, string>>): Promise<number> => {
      const figures = await measure.run(withVariables(context, env, known));
      for (const [name, value] of Object.entries(figures) as [FigureName, number][]) known.set(name, value);
      return cpu.reduce((sum, name) => sum + (figures[name] ?? NaN), 0);
    };
    const off: number[] = [];
    const on: number[] = [];
    const runOff = async (): Promise<unknown> => off.push(await cpuWith({ TRACING_ENABLED: 'false' }));
    const runOn = async (): Promise<unknown> => on.push(await cpuTraced(context.services.processes, cpuWith));
    for (let pair = 1; pair <= PAIRS; pair++) {
      for (const run of pair % 2 === 1 ? [runOff, runOn] : [runOn, runOff]) await run();
      context.say(
        `pair ${pair}/${PAIRS}: ${off.at(-1)!.toFixed(3)} ms without, ${on.at(-1)!.toFixed(3)} ms with`, // each has just run
      );
    }
    const { percent, highPercent } = changeOf(off, on);
    return { [shown.without]: median(off), [shown.change]: percent, [shown.high]: highPercent };
  },
});

const withVariables = (
  context: MeasureContext,
  env: Readonly<Record<string, string>>,
  known: ReadonlyMap<FigureName, number>,
): MeasureContext => ({
  ...context,
  soFar: (name) => known.get(name),
  installation: { ...context.installation, env: { ...context.installation.env, ...env } },
});

/** @throws when no span came: what costs nothing then would prove nothing */
async function cpuTraced(
  processes: TestProcesses,
  cpuWith: (env: Readonly<Record<string, string>>) => Promise<number>,
): Promise<number> {
  const sink = await startTraceSink(processes);
  try {
    const cpuMs = await cpuWith({
      TRACING_ENABLED: 'true',
      TRACING_SAMPLE_RATE: SAMPLE_RATE,
      OTEL_EXPORTER_ENDPOINT: `http://127.0.0.1:${sink.port}/v1/traces`,
    });
    if ((await sink.receivedBytes()) === 0) throw new Error('no spans were sent');
    return cpuMs;
  } finally {
    await sink.stop();
  }
}

export const telemetryAccept = compare(accept, {
  cpu: ['acceptCpuApiMs', 'acceptCpuPostgresMs', 'acceptCpuRedisMs'],
  shown: {
    without: 'telemetryAcceptCpuMs',
    change: 'telemetryAcceptCpuChange',
    high: 'telemetryAcceptCpuChangeHigh',
  },
});

export const telemetryExecute = compare(execute, {
  cpu: ['transformCpuWorkerMs', 'transformCpuPostgresMs', 'transformCpuRedisMs'],
  shown: {
    without: 'telemetryTransformCpuMs',
    change: 'telemetryTransformCpuChange',
    high: 'telemetryTransformCpuChangeHigh',
  },
});

export const telemetryHttp = compare(http, {
  cpu: ['httpCpuWorkerMs', 'httpCpuPostgresMs'],
  shown: {
    without: 'telemetryHttpCpuMs',
    change: 'telemetryHttpCpuChange',
    high: 'telemetryHttpCpuChangeHigh',
  },
});
