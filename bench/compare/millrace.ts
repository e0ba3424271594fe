import { untilDrained } from '../measure/backlog.ts';
import { requireAllSucceeded, requireRows } from '../measure/checks.ts';
import { transformWorkflow } from '../measure/workflows.ts';
import { withInstallation } from '../platform/installation.ts';
import { measureLoad, toMeasured, type Ended, type System } from './system.ts';

export const millrace: System = {
  name: 'Millrace',
  measure: (services, seconds) =>
    withInstallation(services, { env: {}, profileDirectory: undefined }, async (installation) => {
      const url = await installation.deploy(transformWorkflow());
      await installation.startWorker();
      const target = { url, secret: installation.secret };
      const load = await measureLoad(services, target, seconds, () => untilDrained(installation));
      await requireRows(installation, load.warmUp + load.accepted);
      await requireAllSucceeded(installation, load.warmUp + load.accepted, 3);
      const { rows } = await installation.db.query<Ended>(
        `select count(*)::int as count, extract(epoch from max(finished_at) - min(finished_at))::float8 as seconds
         from execution where created_at >= to_timestamp($1 / 1000.0)`,
        [load.startedAtMs],
      );
      return toMeasured(load, rows[0]!); // an aggregate has a row
    }),
};
