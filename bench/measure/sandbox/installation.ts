import { join } from 'node:path';
import type { Runtime } from '../../../src/worker/sandbox/driver.ts';
import { withInstallation, type Installation } from '../../platform/installation.ts';
import { viewSandboxes, type SandboxView } from '../../platform/sandboxes.ts';
import { waitFor } from '../../../test/support/wait-for.ts';
import type { MeasureContext } from '../measure.ts';

/** What code runs in: `process` is the same code without isolation, to compare with. */
export type Driver = 'gvisor' | 'process';

export interface CodeInstallation extends Installation {
  readonly sandboxes: SandboxView;
  /** Starts a worker with as many spares of each runtime, and resolves when all of them are warm. */
  startWarmWorker(): Promise<void>;
}

export interface CodeOptions {
  readonly driver: Driver;
  readonly spares: Readonly<Record<Runtime, number>>;
}

const WARM_WITHIN_MS = 60_000;
let installations = 0;

/** An installation whose worker runs code steps. */
export function withCodeInstallation<T>(
  { services, installation: options }: MeasureContext,
  { driver, spares }: CodeOptions,
  work: (installation: CodeInstallation) => Promise<T>,
): Promise<T> {
  const stateDirectory = join(services.directory, `sandboxes-${++installations}`);
  const sandboxes = viewSandboxes(stateDirectory);
  const env = {
    ...options.env,
    SANDBOX_DRIVER: driver,
    SANDBOX_STATE_DIR: stateDirectory,
    SANDBOX_SPARES_JAVASCRIPT: String(spares.javascript),
    SANDBOX_SPARES_PYTHON: String(spares.python),
  };
  return withInstallation(services, { ...options, env }, async (installation) => {
    if (driver === 'gvisor') installation.sampler.watchCounter('sandboxes', () => sandboxes.cpuMs());
    return work({
      ...installation,
      sandboxes,
      async startWarmWorker() {
        await installation.startWorker();
        await untilWarm(installation, spares.javascript + spares.python);
      },
    });
  });
}

/** Waits until so many spares are ready and none is being started. */
export async function untilWarm(installation: Installation, spares: number): Promise<void> {
  const count = (state: string): Promise<number> =>
    installation.workerMetric('millrace_sandbox_pool_size', { state });
  await waitFor(async () => (await count('spare')) >= spares && (await count('starting')) === 0, {
    what: `${spares} spares to be warm`,
    timeoutMs: WARM_WITHIN_MS,
  });
}

/** What an attempt took in milliseconds, from asking for a place in a sandbox until its result was there. */
export interface StepTime {
  readonly resultMs: number;
  /** From the creation of its execution to its end. */
  readonly finishedMs: number;
}

/** Of the executions created between two times, by the database's clock. */
export async function stepTimes(
  { db }: Installation,
  fromMs: number,
  toMs: number,
): Promise<readonly StepTime[]> {
  const { rows } = await db.query<{ result_ms: number; finished_ms: number }>(
    `select extract(epoch from s.finished_at - s.started_at)::float8 * 1000 as result_ms,
       extract(epoch from e.finished_at - e.created_at)::float8 * 1000 as finished_ms
     from execution e join step_run s on s.execution_id = e.id
     where e.created_at between to_timestamp($1 / 1000.0) and to_timestamp($2 / 1000.0)
     order by e.created_at`,
    [fromMs, toMs],
  );
  return rows.map((row) => ({ resultMs: row.result_ms, finishedMs: row.finished_ms }));
}

/** How many claims found a warm sandbox, and how many had to wait for one. */
export async function claimCounts(
  installation: Installation,
): Promise<{ readonly hits: number; readonly misses: number }> {
  const count = (result: string): Promise<number> =>
    installation.workerMetric('millrace_sandbox_claim_seconds_count', { result });
  return { hits: await count('hit'), misses: await count('miss') };
}
