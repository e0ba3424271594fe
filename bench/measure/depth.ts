import { setTimeout as delay } from 'node:timers/promises';
import { partitionSpanDays } from '../../src/core/db/partitions.ts';
import { DAY_MS, HOUR_MS } from '../../src/core/definition/duration.ts';
import type { Owner } from '../../test/support/executions.ts';
import {
  insertBacklog,
  insertHistory,
  makeOwners,
  makePartitions,
  type SampleRequest,
} from '../../test/support/history.ts';
import { createHeaders, makeBody } from '../load/signed-bodies.ts';
import { withInstallation, type Installation } from '../platform/installation.ts';
import { changeOf, median } from '../statistics.ts';
import { measureAccepts, measureLook, type AcceptCell } from './depth-api.ts';
import type { Measure, MeasureContext, Figures } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

/** How deep; an execution of the history is five rows: its delivery, itself and three steps. */
interface Depth {
  readonly queued: number;
  readonly ended: number;
}

const FULL: Depth = { queued: 1_000_000, ended: 2_000_000 };
const TENTH: Depth = { queued: FULL.queued / 10, ended: FULL.ended / 10 };
const HISTORY_DAYS = 30;
const STEPS = 3;
const TENANTS = 50;
/** As PERFORMANCE asks for where differences are small. */
const PAIRS = 7;
const WARM_UP_MS = 1500;
/** More than a worker executes while it is looked at. */
const ENOUGH_PER_SECOND = 5000;

const REQUEST: SampleRequest = {
  headersJson: JSON.stringify(createHeaders()({ body: makeBody(1), signature: '' })),
  body: makeBody(1),
};

/** One of the databases that are compared, with a worker that runs only while it is measured. */
interface Subject {
  readonly installation: Installation;
  readonly owners: readonly Owner[];
  /** Keeps enough queued for one look; more than that is the subject's own depth. */
  refill(wanted: number): Promise<void>;
}

interface Cell extends AcceptCell {
  readonly executionsPerSecond: number;
  /** Of the worker and PostgreSQL, for each execution. */
  readonly executionCpuMs: number;
  readonly workerMb: number;
}

/**
 * The same work on an empty database, behind a long backlog, and beside a long history; in turns, so that what the
 * machine does meanwhile falls on all alike.
 */
const depthMeasure = (name: string, title: string, { queued, ended }: Depth): Measure => ({
  name,
  title,
  run: (context) =>
    withSubject(context, (empty) =>
      withSubject(context, (backlog) =>
        withSubject(context, async (history) => {
          const now = Date.now();
          const startedAt = performance.now();
          context.say(`making ${queued} queued executions, and ${ended} ended ones of five rows each`);
          await Promise.all([
            insertBacklog(backlog.installation.db, {
              owners: backlog.owners,
              executions: queued,
              request: REQUEST,
              fromMs: now - HOUR_MS,
              toMs: now,
            }),
            insertHistory(history.installation.db, {
              owners: history.owners,
              executions: ended,
              request: REQUEST,
              steps: STEPS,
              fromMs: now - HISTORY_DAYS * DAY_MS,
              toMs: now - HOUR_MS,
            }),
          ]);
          const subjects = [empty, backlog, history] as const;
          // What was made in minutes, autovacuum would have looked after in weeks.
          await Promise.all(subjects.map(({ installation }) => installation.db.query('vacuum analyze')));
          await empty.installation.db.query('checkpoint');
          context.say(`made in ${Math.round((performance.now() - startedAt) / 1000)} s`);
          const cells: Three<Cell>[] = [];
          for (let pair = 1; pair <= PAIRS; pair++) {
            const row = await measureInTurns(subjects, context.seconds, pair % 2 === 0);
            cells.push(row);
            context.say(`pair ${pair}/${PAIRS}: ${row.map(describeCell).join('; ')}`);
          }
          await requireDepth(subjects, { queued, ended });
          return { ...figuresOf(cells), depthLookCpuMs: await measureLook(backlog.installation) };
        }),
      ),
    ),
});

export const depth = depthMeasure('depth', '1,000,000 queued, 10,000,000 rows of history', FULL);
export const tenth = depthMeasure('tenth', 'a tenth of the depth, to try things out', TENTH);

async function withSubject(
  { services, installation: options }: MeasureContext,
  work: (subject: Subject) => Promise<Figures>,
): Promise<Figures> {
  return withInstallation(services, options, async (installation) => {
    await installation.deploy(transformWorkflow());
    await installation.stopApi(); // what it measures of the queue would fall on whoever is looked at
    const { db } = installation;
    const { rows } = await db.query<{ id: string }>(`select id from workflow`);
    const owners = await makeOwners(db, TENANTS, { workflowId: rows[0]!.id }); // it was deployed
    await makePartitions(
      db,
      { fromMs: Date.now() - HISTORY_DAYS * DAY_MS, toMs: Date.now() },
      partitionSpanDays(HISTORY_DAYS * DAY_MS),
    );
    const refill = async (wanted: number): Promise<void> => {
      const found = await db.query(`select from execution where next_dispatch_at is not null limit $1`, [
        wanted,
      ]);
      const executions = wanted - (found.rowCount ?? 0);
      if (executions === 0) return;
      const nowMs = Date.now();
      await insertBacklog(db, { owners, executions, request: REQUEST, fromMs: nowMs - 1000, toMs: nowMs });
    };
    return work({ installation, owners, refill });
  });
}

type Three<T> = readonly [T, T, T];

/** Backwards every other time: what the machine does meanwhile comes first for one, then for the other. */
async function measureInTurns(
  subjects: Three<Subject>,
  seconds: number,
  isBackwards: boolean,
): Promise<Three<Cell>> {
  const cells: Cell[] = [];
  for (const subject of isBackwards ? subjects.toReversed() : subjects)
    cells.push(await measureCell(subject, seconds));
  return (isBackwards ? cells.reverse() : cells) as unknown as Three<Cell>; // one for each subject
}

async function measureCell(subject: Subject, seconds: number): Promise<Cell> {
  const { installation } = subject;
  const { sampler } = installation;
  await subject.refill((seconds + WARM_UP_MS / 1000 + 1) * ENOUGH_PER_SECOND);
  const accepts = await measureAccepts(installation, subject.owners, REQUEST);
  await installation.startWorker();
  await delay(WARM_UP_MS);
  const ended = (): Promise<number> =>
    installation.workerMetric('millrace_executions_total', { outcome: 'succeeded' });
  const before = { atMs: Date.now(), ended: await ended() };
  await delay(seconds * 1000);
  const after = { atMs: Date.now(), ended: await ended() };
  await delay(300); // one more look of the sampler
  const executions = after.ended - before.ended;
  const used = (name: string): number => sampler.cpuMs(name, before.atMs, after.atMs) / executions;
  const cell = {
    ...accepts,
    executionsPerSecond: (executions / (after.atMs - before.atMs)) * 1000,
    executionCpuMs: used('worker') + used('postgres'),
    workerMb: sampler.peakBytes('worker') / 1e6,
  };
  await installation.stopWorkers();
  const { rowCount } = await installation.db.query(
    `select from execution where next_dispatch_at is not null limit 1`,
  );
  if (rowCount === 0) throw new Error('the worker ran out of work while it was measured');
  return cell;
}

const describeCell = (cell: Cell): string =>
  `${cell.executionsPerSecond.toFixed(0)} executions/s, ${cell.executionCpuMs.toFixed(3)} ms of CPU each, ${cell.acceptCpuMs.toFixed(3)} ms a delivery`;

/** The depth was there until the end, and nothing failed of what was run; a history has failures of its own. */
async function requireDepth(
  [empty, backlog, history]: Three<Subject>,
  { queued, ended }: Depth,
): Promise<void> {
  const count = async ({ installation: { db } }: Subject, condition: string): Promise<number> =>
    (await db.query<{ n: number }>(`select count(*)::int as n from execution where ${condition}`)).rows[0]!.n;
  const waiting = await count(backlog, `next_dispatch_at is not null`);
  const past = await count(history, `next_dispatch_at is null and error is null`);
  const isFailed = `state = 'failed'`;
  const failed = (await count(empty, isFailed)) + (await count(backlog, isFailed));
  if (waiting < queued / 2 || past < ended * 0.9 || failed > 0) {
    throw new Error(`in the end ${waiting} were queued, ${past} had succeeded and ${failed} failed`);
  }
}

function figuresOf(cells: readonly Three<Cell>[]): Figures {
  const column = (index: 0 | 1 | 2, figure: keyof Cell): readonly number[] =>
    cells.map((row) => row[index][figure]);
  const change = (index: 1 | 2, figure: keyof Cell) => changeOf(column(0, figure), column(index, figure));
  const medianOf = (index: 0 | 1 | 2, figure: keyof Cell): number => median(column(index, figure));
  return {
    depthEmptyPerSecond: medianOf(0, 'executionsPerSecond'),
    depthBacklogPerSecond: medianOf(1, 'executionsPerSecond'),
    depthHistoryPerSecond: medianOf(2, 'executionsPerSecond'),
    depthEmptyCpuMs: medianOf(0, 'executionCpuMs'),
    depthBacklogCpuChange: change(1, 'executionCpuMs').percent,
    depthBacklogCpuChangeHigh: change(1, 'executionCpuMs').highPercent,
    depthHistoryCpuChange: change(2, 'executionCpuMs').percent,
    depthHistoryCpuChangeHigh: change(2, 'executionCpuMs').highPercent,
    depthEmptyAcceptsPerSecond: medianOf(0, 'acceptsPerSecond'),
    depthBacklogAcceptsPerSecond: medianOf(1, 'acceptsPerSecond'),
    depthHistoryAcceptsPerSecond: medianOf(2, 'acceptsPerSecond'),
    depthBacklogAcceptChangeHigh: change(1, 'acceptCpuMs').highPercent,
    depthHistoryAcceptChangeHigh: change(2, 'acceptCpuMs').highPercent,
    depthEmptyWorkerMb: medianOf(0, 'workerMb'),
    depthBacklogMemoryChange: change(1, 'workerMb').percent,
    depthHistoryMemoryChange: change(2, 'workerMb').percent,
  };
}
