import { addTenant } from '../../test/support/tenant.ts';
import { runOpenLoop } from '../load/run-load.ts';
import type { OpenLoopResult } from '../load/shapes.ts';
import { putSecret, withInstallation, type Installation } from '../platform/installation.ts';
import { changeOf, median, quantile } from '../statistics.ts';
import { untilDrained } from './backlog.ts';
import { storedDurations } from './durations.ts';
import type { Measure, MeasureContext } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const QUOTA = 100;
const RATE = 20;
const PAIRS = 7;
const WARM_UP_S = 1;
const CONNECTIONS = 10;
const NOISY_CONNECTIONS = 50;

/** How many webhooks a second the other tenant sends. */
const NEIGHBOURS = { alone: 0, within: QUOTA, beyond: 10 * QUOTA } as const;
type Neighbour = keyof typeof NEIGHBOURS;

interface Scene {
  readonly context: MeasureContext;
  readonly installation: Installation;
  readonly quietUrl: string;
  readonly noisyUrl: string;
}

/** What one tenant waits for its executions to start, while another keeps to its quota or sends ten times as much. */
export const fairness: Measure = {
  name: 'fairness',
  title: 'a tenant beside one at ten times its quota',
  run: (context) =>
    withInstallation(context.services, withQuota(context), async (installation) => {
      const quietUrl = await installation.deploy(transformWorkflow());
      const noisyUrl = await deployForAnother(installation);
      await installation.startWorker();
      const scene = { context, installation, quietUrl, noisyUrl };
      const starts: Record<Neighbour, number[][]> = { alone: [], within: [], beyond: [] };
      for (let pair = 1; pair <= PAIRS; pair++) {
        for (const neighbour of Object.keys(NEIGHBOURS) as Neighbour[])
          starts[neighbour].push(await startsBeside(scene, neighbour));
        const last = (neighbour: Neighbour): string => quantile(starts[neighbour].at(-1)!, 0.5).toFixed(1); // just made
        context.say(
          `pair ${pair}/${PAIRS}: ${last('alone')} ms alone, ${last('within')} ms, ${last('beyond')} ms`,
        );
      }
      const p50s = (neighbour: Neighbour): number[] =>
        starts[neighbour].map((values) => quantile(values, 0.5));
      return {
        fairnessAloneMs: median(p50s('alone')),
        fairnessWithinMs: median(p50s('within')),
        fairnessBeyondMs: median(p50s('beyond')),
        fairnessBeyondP99Ms: quantile(starts.beyond.flat(), 0.99),
        fairnessWithinChange: changeOf(p50s('alone'), p50s('within')).percent,
        fairnessBeyondChange: changeOf(p50s('alone'), p50s('beyond')).percent,
      };
    }),
};

const withQuota = ({ installation }: MeasureContext): MeasureContext['installation'] => ({
  ...installation,
  env: { ...installation.env, RATE_LIMIT_PER_TENANT: String(QUOTA) },
});

/** @returns the URL of a webhook that belongs to a tenant of its own */
async function deployForAnother({ client, db, secret }: Installation): Promise<string> {
  const another = await addTenant(db, client.base, 'noisy');
  await putSecret(another, secret);
  const { hook } = await another.deploy(transformWorkflow());
  return client.base + hook;
}

/** How long each execution of the quiet tenant waited from its commit, in ms. */
async function startsBeside(
  { context, installation, quietUrl, noisyUrl }: Scene,
  neighbour: Neighbour,
): Promise<number[]> {
  const { services, seconds } = context;
  const { secret } = installation;
  const ratePerSecond = NEIGHBOURS[neighbour];
  const common = { secret, arrivals: 'poisson', expectedStatus: 202 } as const;
  const noise: Promise<OpenLoopResult | undefined> =
    ratePerSecond === 0
      ? Promise.resolve(undefined)
      : runOpenLoop(services.processes, {
          ...common,
          url: noisyUrl,
          connections: NOISY_CONNECTIONS,
          ratePerSecond,
          seconds: seconds + WARM_UP_S,
          warmUpSeconds: WARM_UP_S,
          refusalStatus: 429,
        });
  const [quiet, noisy] = await Promise.all([
    runOpenLoop(services.processes, {
      ...common,
      url: quietUrl,
      connections: CONNECTIONS,
      ratePerSecond: RATE,
      seconds,
      warmUpSeconds: WARM_UP_S,
    }),
    noise,
  ]);
  if (neighbour === 'beyond' && noisy!.refused < noisy!.sentInAll / 2)
    throw new Error(`of ${noisy!.sentInAll} webhooks beyond the quota only ${noisy!.refused} were refused`);
  await untilDrained(installation);
  const rows = await storedDurations(installation, quietUrl, quiet);
  return rows.map((row) => row.claimed_ms);
}
