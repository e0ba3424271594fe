import { runOpenLoop } from '../load/run-load.ts';
import { withInstallation, type Installation } from '../platform/installation.ts';
import { quantile } from '../statistics.ts';
import { untilDrained } from './backlog.ts';
import { requireAllSucceeded, requireRows } from './checks.ts';
import { startFigures, type Measure } from './measure.ts';
import { transformWorkflow } from './workflows.ts';

const RATE = 10;
const WARM_UP_S = 3;
const CONNECTIONS = 10;

/** How long a webhook takes to be finished when there is nearly nothing to do. */
export const light: Measure = {
  name: 'light',
  title: 'light load, webhook → finished',
  run: ({ services, seconds, installation: options }) =>
    withInstallation(services, options, async (installation) => {
      const urls = {
        accepted: await installation.deploy(transformWorkflow('accepted')),
        result: await installation.deploy(transformWorkflow('result')),
      };
      const workerStart = await installation.startWorker();
      const send = (respond: 'accepted' | 'result') =>
        runOpenLoop(services.processes, {
          url: urls[respond],
          secret: installation.secret,
          connections: CONNECTIONS,
          ratePerSecond: RATE,
          // A p99 wants a few hundred of them.
          seconds: seconds * 2,
          warmUpSeconds: WARM_UP_S,
          arrivals: 'even',
          expectedStatus: respond === 'result' ? 200 : 202,
        });
      const accepted = await send('accepted');
      await untilDrained(installation);
      const stored = await storedDurations(installation, accepted.startedAtMs, accepted.endedAtMs);
      if (stored.length !== accepted.sent)
        throw new Error(`${accepted.sent} webhooks were sent, ${stored.length} durations are stored`);
      const finished = stored.map((row) => row.finished_ms);
      const result = await send('result');
      await requireRows(installation, accepted.sentInAll + result.sentInAll);
      await requireAllSucceeded(installation, accepted.sentInAll + result.sentInAll, 3);
      return {
        lightP50Ms: quantile(finished, 0.5),
        lightP99Ms: quantile(finished, 0.99),
        lightClaimP50Ms: quantile(
          stored.map((row) => row.claimed_ms),
          0.5,
        ),
        resultP50Ms: result.p50Ms,
        resultP99Ms: result.p99Ms,
        ...startFigures(installation.apiStart, workerStart),
      };
    }),
};

/** From the commit's transaction of each delivery to the claim and the end of its execution, by the database's clock. */
async function storedDurations(
  { db }: Installation,
  fromMs: number,
  toMs: number,
): Promise<readonly { readonly claimed_ms: number; readonly finished_ms: number }[]> {
  const { rows } = await db.query<{ claimed_ms: number; finished_ms: number }>(
    `select extract(epoch from e.started_at - d.received_at)::float8 * 1000 as claimed_ms,
       extract(epoch from e.finished_at - d.received_at)::float8 * 1000 as finished_ms
     from execution e join delivery d on d.id = e.delivery_id
     where d.received_at between to_timestamp($1 / 1000.0) and to_timestamp($2 / 1000.0)`,
    [fromMs, toMs],
  );
  return rows;
}
