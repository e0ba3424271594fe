import { withInstallation } from '../platform/installation.ts';
import { changeOf, median } from '../statistics.ts';
import { busyWindow, prepareBacklog, untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import type { Measure, MeasureContext } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const STEPS = 3;
const COUNTS = [1, 2, 4] as const;
/** As PERFORMANCE asks for where differences are small. */
const PAIRS = 7;
/** Before anything is known. */
const GUESSED_PER_SECOND = 2000;
/** Until the last of several workers is ready and has compiled what it runs, all on the cores of one machine. */
const START_S = 8;
/** The part of the backlog that is worked off meanwhile. It is the same part for any number of workers. */
const WARM_UP_SHARE = 0.5;
/** Of what it would have if all had the same, of the whole backlog: the first to be ready has a start. */
const MIN_SHARE = 0.25;

interface Cell {
  readonly perSecond: number;
  /** Of the workers and PostgreSQL, for each execution. */
  readonly cpuMs: number;
}

/** The same backlog, worked off by one worker, two and four: more of them cannot be faster on one machine's cores, but must not cost more. */
export const workers: Measure = {
  name: 'workers',
  title: 'executions of 3 transform steps by 1, 2 and 4 workers',
  async run(context) {
    const cells: Record<number, Cell[]> = { 1: [], 2: [], 4: [] };
    for (let pair = 1; pair <= PAIRS; pair++) {
      const last = cells[1]!.at(-1);
      const backlog = backlogOf(context.seconds, last?.perSecond ?? GUESSED_PER_SECOND);
      for (const count of pair % 2 === 1 ? COUNTS : COUNTS.toReversed()) {
        cells[count]!.push(await workOff(context, backlog, count));
      }
      const row = COUNTS.map((count) => `${count}: ${describe(cells[count]!.at(-1)!)}`); // each has just run
      context.say(`pair ${pair}/${PAIRS}: ${row.join('; ')}`);
    }
    const perSecond = (count: number): number => median(cells[count]!.map((cell) => cell.perSecond));
    const cpuMs = (count: number): readonly number[] => cells[count]!.map((cell) => cell.cpuMs);
    const [two, four] = [changeOf(cpuMs(1), cpuMs(2)), changeOf(cpuMs(1), cpuMs(4))];
    return {
      workersOnePerSecond: perSecond(1),
      workersTwoPerSecond: perSecond(2),
      workersFourPerSecond: perSecond(4),
      workersOneCpuMs: median(cpuMs(1)),
      workersTwoCpuChange: two.percent,
      workersTwoCpuChangeHigh: two.highPercent,
      workersFourCpuChange: four.percent,
      workersFourCpuChangeHigh: four.highPercent,
    };
  },
};

/** Enough that what is measured lasts `seconds`, and what comes before it until all are warm. */
const backlogOf = (seconds: number, perSecond: number): number =>
  Math.round(Math.max(START_S / WARM_UP_SHARE, seconds / (1 - WARM_UP_SHARE)) * perSecond);

const describe = ({ perSecond, cpuMs }: Cell): string =>
  `${perSecond.toFixed(0)} executions/s, ${cpuMs.toFixed(3)} ms of CPU each`;

const workOff = (
  { services, installation: options }: MeasureContext,
  backlog: number,
  workerCount: number,
): Promise<Cell> =>
  withInstallation(services, options, async (installation) => {
    const { sampler } = installation;
    const url = await installation.deploy(transformWorkflow());
    const count = await prepareBacklog(services.processes, installation, url, backlog);
    const started = await installation.startWorkers(workerCount);
    const readyAtMs = Date.now();
    await untilDrained(installation);
    await requireRows(installation, count);
    await requireAllSucceeded(installation, count, STEPS);
    const shares = await Promise.all(
      started.map(({ metric }) => metric('millrace_executions_total', { outcome: 'succeeded' })),
    );
    requireShares(shares, count);
    const { fromMs, toMs, executions, perSecond } = await busyWindow(installation, {
      afterShare: WARM_UP_SHARE,
    });
    if (fromMs < readyAtMs)
      throw new Error(`half of ${count} executions had ended before ${workerCount} workers were ready`);
    const names = ['postgres', ...started.map(({ name }) => name)];
    const cpuMs = names.reduce((sum, name) => sum + sampler.cpuMs(name, fromMs, toMs), 0) / executions;
    return { perSecond, cpuMs };
  });

/** @throws when a worker had next to nothing to do, or executions are not counted once each */
function requireShares(shares: readonly number[], count: number): void {
  const least = (count / shares.length) * MIN_SHARE;
  const sum = shares.reduce((one, other) => one + other, 0);
  if (sum !== count || shares.some((share) => share < least))
    throw new Error(`of ${count} executions the workers ran ${shares.join(', ')}`);
}
