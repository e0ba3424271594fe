// `npm run soak [-- --minutes 60 --rate 150 --chart <file>]`: an hour at about half load, and what grows meanwhile, as docs/soak.svg.
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Client } from 'pg';
import build from '../test/support/build-setup.ts';
import { PROJECT_ROOT } from '../test/support/processes.ts';
import { runOpenLoop, startBareServer } from './load/run-load.ts';
import { untilDrained } from './measure/backlog.ts';
import { requireAllSucceeded, requireRows } from './measure/checks.ts';
import { httpWorkflow } from './measure/workflows.ts';
import { withInstallation, type Installation } from './platform/installation.ts';
import { describeMachine } from './platform/machine.ts';
import { residentBytes } from './platform/proc.ts';
import { startServicesUntilSignal } from './platform/services.ts';
import { drawLines, type Panel } from './soak-chart.ts';
import { judgeSoak, type SoakSample } from './soak-verdict.ts';

const USAGE = 'Usage: npm run soak [-- --minutes <1-1440> --rate <webhooks/s> --chart <file>]';
const CHART = join(PROJECT_ROOT, 'docs', 'soak.svg');
const STEPS = 3;
const SAMPLES = 120;

interface Settings {
  readonly minutes: number;
  readonly rate: number;
  readonly chart: string;
}

function parseSettings(): Settings {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '60' },
      rate: { type: 'string', default: '150' },
      chart: { type: 'string', default: CHART },
    },
  });
  const minutes = Number(values.minutes);
  const rate = Number(values.rate);
  const isRight = (value: number, max: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= max;
  if (!isRight(minutes, 1440) || !isRight(rate, 10_000)) throw new Error(USAGE);
  return { minutes, rate, chart: resolve(values.chart) };
}

async function main(): Promise<number> {
  const { minutes, rate, chart } = parseSettings();
  await build();
  const machine = await describeMachine();
  const { services } = await startServicesUntilSignal({ traceStatements: false });
  try {
    const sink = await startBareServer(services.processes, 200);
    const env = { EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` };
    const samples = await withInstallation(
      services,
      { env, profileDirectory: undefined },
      async (installation) => {
        const url = await installation.deploy(httpWorkflow(`http://127.0.0.1:${sink.port}/`, STEPS));
        await installation.startWorker();
        const over = new AbortController();
        const sampling = sampleUntil(installation, minutes, over.signal);
        sampling.catch(() => undefined); // heard of when the load is over, at the return below
        const load = await runOpenLoop(services.processes, {
          url,
          secret: installation.secret,
          connections: 50,
          ratePerSecond: rate,
          seconds: minutes * 60,
          warmUpSeconds: 1,
          arrivals: 'poisson',
          expectedStatus: 202,
        });
        over.abort();
        await untilDrained(installation);
        await requireRows(installation, load.sentInAll);
        await requireAllSucceeded(installation, load.sentInAll, STEPS);
        process.stdout.write(
          `${load.sentInAll} webhooks accepted and executed; accept p50 ${load.p50Ms.toFixed(1)}, p99 ${load.p99Ms.toFixed(1)} ms\n`,
        );
        return sampling;
      },
    );
    const verdicts = judgeSoak(samples);
    for (const { text } of verdicts) process.stdout.write(`${text}\n`);
    const title = `${minutes} min at ${rate} webhooks/s of ${STEPS} http steps; ${machine.cores} cores of ${machine.cpu}, commit ${machine.commit}`;
    await writeFile(chart, drawLines(title, panelsOf(samples)));
    process.stdout.write(`${chart} is written\n`);
    return verdicts.every(({ isWithin }) => isWithin) ? 0 : 1;
  } finally {
    await services.stop();
  }
}

async function sampleUntil(
  installation: Installation,
  minutes: number,
  over: AbortSignal,
): Promise<readonly SoakSample[]> {
  const samples: SoakSample[] = [];
  const startedAt = performance.now();
  while (!over.aborted) {
    samples.push(await sample(installation, (performance.now() - startedAt) / 60_000));
    await delay((minutes * 60_000) / SAMPLES, undefined, { signal: over }).catch(() => undefined);
  }
  return samples;
}

async function sample(installation: Installation, minute: number): Promise<SoakSample> {
  const { api, worker } = installation.pids();
  const [apiBytes, workerBytes] = await Promise.all([residentBytes(api), residentBytes(worker)]);
  return {
    minute,
    apiMb: (apiBytes ?? 0) / 1e6,
    workerMb: (workerBytes ?? 0) / 1e6,
    apiDescriptors: await descriptorsOf(api),
    workerDescriptors: await descriptorsOf(worker),
    ...(await sizesOf(installation.db)),
  };
}

const descriptorsOf = async (pid: number): Promise<number> => (await readdir(`/proc/${pid}/fd`)).length;

/** History grows with what runs, so its tables are given per execution; the index of live ones is to stay as it is. */
async function sizesOf(db: Client): Promise<Pick<SoakSample, 'dispatchIndexMb' | 'bytesPerExecution'>> {
  const { rows } = await db.query<{ index_bytes: number; bytes: number; executions: number }>(
    `with parts as (
       select inhrelid as id from pg_inherits
       where inhparent = any('{delivery,execution,step_run,step_log}'::regclass[])
     )
     select coalesce(sum(pg_total_relation_size(id)), 0)::float8 as bytes,
       (select count(*)::float8 from execution) as executions,
       (select coalesce(sum(pg_relation_size(indexrelid)), 0)::float8 from pg_index
         where indrelid in (select id from parts) and pg_get_expr(indpred, indrelid) like '%next_dispatch_at%') as index_bytes
     from parts`,
  );
  const { bytes, executions, index_bytes } = rows[0]!; // an aggregate has a row
  return { dispatchIndexMb: index_bytes / 1e6, bytesPerExecution: executions === 0 ? 0 : bytes / executions };
}

function panelsOf(samples: readonly SoakSample[]): readonly Panel[] {
  const line = (name: string, key: keyof SoakSample) => ({
    name,
    points: samples.map((one) => [one.minute, one[key]] as const),
  });
  return [
    { title: 'resident memory, MB', lines: [line('API', 'apiMb'), line('worker', 'workerMb')] },
    {
      title: 'open descriptors',
      lines: [line('API', 'apiDescriptors'), line('worker', 'workerDescriptors')],
    },
    { title: 'history, bytes per execution', lines: [line('tables and indexes', 'bytesPerExecution')] },
    { title: 'dispatch index, MB', lines: [line('all partitions', 'dispatchIndexMb')] },
  ];
}

process.exitCode = await main().catch((raw: unknown) => {
  process.stderr.write(`The soak failed: ${raw instanceof Error ? raw.message : String(raw)}\n`);
  return 1;
});
