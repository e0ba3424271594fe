import { setTimeout as delay } from 'node:timers/promises';
import { runClosedLoop, startBareServer, startTraceSink } from '../load/run-load.ts';
import {
  withInstallation,
  type FurtherApi,
  type Installation,
  type RunningWorker,
} from '../platform/installation.ts';
import { cpuMsOfTree } from '../platform/proc.ts';
import { changeOf, median } from '../statistics.ts';
import type { FigureName } from '../targets.ts';
import { CONNECTIONS } from './accept.ts';
import { prepareBacklog, untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import type { Figures, Measure, MeasureContext } from './measure.ts';
import { httpWorkflow, transformWorkflow } from './workflows.ts';

// Whole runs one after the other differ by more than traces cost. So both sides are there at once, and are compared in
// slices that are seconds apart, or the same seconds.
const PAIRS = 20;
const SAMPLE_RATE = '0.1';
const OFF = { TRACING_ENABLED: 'false' };

type Env = Readonly<Record<string, string>>;

/** CPU of an operation in milliseconds, in slices that belong together. */
interface Pairs {
  readonly off: number[];
  readonly on: number[];
}

const createPairs = (): Pairs => ({ off: [], on: [] });

const cpuFigures = (
  { off, on }: Pairs,
  names: Readonly<Record<'without' | 'change' | 'high', FigureName>>,
): Figures => {
  const { percent, highPercent } = changeOf(off, on);
  return { [names.without]: median(off), [names.change]: percent, [names.high]: highPercent };
};

const sayPair = ({ say }: MeasureContext, { off, on }: Pairs, pairs: number): void =>
  say(`pair ${on.length}/${pairs}: ${off.at(-1)!.toFixed(3)} ms without, ${on.at(-1)!.toFixed(3)} ms with`); // each has just run

/** @throws when no span came: what costs nothing then would prove nothing */
async function withTraceSink<T>({ services }: MeasureContext, work: (traced: Env) => Promise<T>): Promise<T> {
  const sink = await startTraceSink(services.processes);
  try {
    const result = await work({
      TRACING_ENABLED: 'true',
      TRACING_SAMPLE_RATE: SAMPLE_RATE,
      OTEL_EXPORTER_ENDPOINT: `http://127.0.0.1:${sink.port}/v1/traces`,
    });
    if ((await sink.receivedBytes()) === 0) throw new Error('no spans were sent');
    return result;
  } finally {
    await sink.stop();
  }
}

const withVariables = ({ installation }: MeasureContext, env: Env): MeasureContext['installation'] => ({
  ...installation,
  env: { ...installation.env, ...env },
});

/** Two processes of the same program differ by what V8 made of it, for as long as they live. */
const GENERATIONS = 8;
const PAIRS_OF_ONE = 3;
/** Of accepts: what a tenth of them alone runs is compiled late. */
const WARM_UP = 50_000;
/** A slice pays for the spans that are sent after it. */
const AFTERWARDS_MS = 1500;
const ACCEPT_SLICES_PER_PHASE = 2;

export const telemetryAccept: Measure = {
  name: 'telemetry-accept',
  title: `traces at ${SAMPLE_RATE}: accepts by two APIs in turns, one without`,
  run: (context) =>
    withTraceSink(context, (traced) =>
      withInstallation(context.services, withVariables(context, OFF), async (installation) => {
        const { cpu, msEach } = await acceptInTurns(context, installation, traced);
        const { percent, highPercent } = changeOf(msEach.off, msEach.on);
        return {
          telemetryAcceptLoss: lossOf(percent),
          telemetryAcceptLossHigh: lossOf(highPercent),
          ...cpuFigures(cpu, {
            without: 'telemetryAcceptCpuMs',
            change: 'telemetryAcceptCpuChange',
            high: 'telemetryAcceptCpuChangeHigh',
          }),
        };
      }),
    ),
};

/** The percentage of throughput that is lost when each operation takes `percent` longer. */
const lossOf = (percent: number): number => 100 - 100 / (1 + percent / 100);

/** @returns also the time of the load by accept, which is the inverse of the throughput */
async function acceptInTurns(
  context: MeasureContext,
  installation: Installation,
  traced: Env,
): Promise<{ readonly cpu: Pairs; readonly msEach: Pairs }> {
  const { services, seconds } = context;
  const url = new URL(await installation.deploy(transformWorkflow()));
  let acceptedInAll = 0;
  const load = async (origin: string, amount: number) => {
    const result = await runClosedLoop(services.processes, {
      url: origin + url.pathname,
      secret: installation.secret,
      connections: CONNECTIONS,
      load: { amount },
    });
    acceptedInAll += result.acceptedInAll;
    return result;
  };
  const start = async (env: Env) => {
    const api = await installation.startApi(env);
    const { accepted, startedAtMs, endedAtMs } = await load(api.origin, WARM_UP);
    return { ...api, perMs: accepted / (endedAtMs - startedAtMs) };
  };
  const slice = async ({ pid, origin }: FurtherApi, amount: number): Promise<Slice> => {
    const look = (): Promise<number> => cpuMsOf(pid, services.postgresPid, services.redisPid);
    const before = await look();
    const { accepted, startedAtMs, endedAtMs } = await load(origin, amount);
    await delay(AFTERWARDS_MS);
    return { cpuMs: ((await look()) - before) / accepted, msEach: (endedAtMs - startedAtMs) / accepted };
  };
  const cpu = createPairs();
  const msEach = createPairs();
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    const [off, on] = [await start(OFF), await start(traced)];
    const amount = Math.round((off.perMs * seconds * 1000) / ACCEPT_SLICES_PER_PHASE);
    const slices: Record<keyof Pairs, Slice[]> = { off: [], on: [] };
    for (let pair = 1; pair <= PAIRS_OF_ONE; pair++) {
      const isOffFirst = (generation + pair) % 2 === 0;
      for (const side of isOffFirst ? (['off', 'on'] as const) : (['on', 'off'] as const))
        slices[side].push(await slice({ off, on }[side], amount));
    }
    await Promise.all([off.stop(), on.stop()]);
    for (const side of ['off', 'on'] as const) {
      cpu[side].push(median(slices[side].map((one) => one.cpuMs)));
      msEach[side].push(median(slices[side].map((one) => one.msEach)));
    }
    sayPair(context, cpu, GENERATIONS);
  }
  await requireRows(installation, acceptedInAll);
  return { cpu, msEach };
}

/** What an accept took, in milliseconds of CPU and of the clock. */
interface Slice {
  readonly cpuMs: number;
  readonly msEach: number;
}

async function cpuMsOf(...pids: readonly number[]): Promise<number> {
  const each = await Promise.all(pids.map((pid) => cpuMsOfTree(pid)));
  return each.reduce((sum, ms) => sum + ms, 0);
}

const STEPS = 3;
/** Until two workers have started and compiled what they run. */
const START_S = 8;
const RUN_SLICES_PER_PHASE = 4;

interface SideBySide {
  readonly name: string;
  readonly what: string;
  /** By two workers together, about. */
  readonly perSecond: number;
  readonly definition: (sink: string) => string;
  readonly figures: Parameters<typeof cpuFigures>[1];
}

/** Two workers share a backlog, one of them without traces; a tenth of its traces is recorded. */
const workOff = ({ name, what, perSecond, definition, figures }: SideBySide): Measure => ({
  name,
  title: `traces at ${SAMPLE_RATE}: executions of ${what} by two workers at once, one without`,
  async run(context) {
    const { services, seconds, say } = context;
    const sink = await startBareServer(services.processes, 200);
    const egress = { EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` };
    try {
      return await withTraceSink(context, (traced) =>
        withInstallation(services, withVariables(context, { ...traced, ...egress }), async (installation) => {
          const url = await installation.deploy(definition(`http://127.0.0.1:${sink.port}/`));
          say('preparing the backlog');
          const wanted = Math.round(perSecond * (START_S + (PAIRS + 1) * (seconds / RUN_SLICES_PER_PHASE)));
          const count = await prepareBacklog(services.processes, installation, url, wanted);
          const pairs = await watchBoth(context, installation);
          await untilDrained(installation);
          await requireRows(installation, count);
          await requireAllSucceeded(installation, count, STEPS);
          return cpuFigures(pairs, figures);
        }),
      );
    } finally {
      await sink.stop();
    }
  },
});

async function watchBoth(context: MeasureContext, installation: Installation): Promise<Pairs> {
  const { services, seconds } = context;
  const startedAtMs = Date.now();
  const [off, on] = await installation.startWorkers(2, (index) => (index === 0 ? OFF : {}));
  const look = async (worker: RunningWorker) => ({
    cpuMs: await cpuMsOf(worker.pid),
    executions: await worker.metric('millrace_executions_total'),
  });
  const lookAtAll = async () => ({
    off: await look(off!), // both have started
    on: await look(on!),
    shared: await cpuMsOf(services.postgresPid, services.redisPid),
  });
  await delay(Math.max(0, startedAtMs + START_S * 1000 - Date.now()));
  const pairs = createPairs();
  let before = await lookAtAll();
  while (pairs.on.length < PAIRS) {
    await delay((seconds * 1000) / RUN_SLICES_PER_PHASE);
    const after = await lookAtAll();
    const ran = {
      off: after.off.executions - before.off.executions,
      on: after.on.executions - before.on.executions,
    };
    // A worker that finds too little to do would be measured by what it does besides.
    if (Math.min(ran.off, ran.on) === 0)
      throw new Error('the backlog was worked off before all was measured');
    const shared = (after.shared - before.shared) / (ran.off + ran.on);
    pairs.off.push(shared + (after.off.cpuMs - before.off.cpuMs) / ran.off);
    pairs.on.push(shared + (after.on.cpuMs - before.on.cpuMs) / ran.on);
    sayPair(context, pairs, PAIRS);
    before = after;
  }
  return pairs;
}

export const telemetryExecute = workOff({
  name: 'telemetry-execute',
  what: '3 transform steps',
  perSecond: 3500,
  definition: () => transformWorkflow(),
  figures: {
    without: 'telemetryTransformCpuMs',
    change: 'telemetryTransformCpuChange',
    high: 'telemetryTransformCpuChangeHigh',
  },
});

export const telemetryHttp = workOff({
  name: 'telemetry-http',
  what: '3 http steps',
  perSecond: 1000,
  definition: (sink) => httpWorkflow(sink, STEPS),
  figures: {
    without: 'telemetryHttpCpuMs',
    change: 'telemetryHttpCpuChange',
    high: 'telemetryHttpCpuChangeHigh',
  },
});
