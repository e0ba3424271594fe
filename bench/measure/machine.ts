import pg from 'pg';
import { runClosedLoop, startBareServer } from '../load/run-load.ts';
import { busyShare } from '../platform/proc.ts';
import type { Services } from '../platform/services.ts';
import { CONNECTIONS } from './accept.ts';
import type { Measure } from './measure.ts';

const LOOK_AROUND_MS = 3000;
const DISTURBING_PERCENT = 5;
const BARE_SECONDS = 4;
const COMMIT_SECONDS = 2;
const MANY_CLIENTS = 32;

/** What the machine gives at all: the load generator against a server that does nothing, and bare commits. */
export const machine: Measure = {
  name: 'machine',
  title: 'the machine’s own limits',
  async run({ services, say }) {
    const othersPercent = (await busyShare(LOOK_AROUND_MS)) * 100;
    if (othersPercent > DISTURBING_PERCENT)
      say(`others use ${othersPercent.toFixed(0)} % of the machine; the figures will show it`);
    return {
      othersPercent,
      clientLimitPerSecond: await bareRequestsPerSecond(services),
      commitsOneClient: await commitsPerSecond(services, 1),
      commitsManyClients: await commitsPerSecond(services, MANY_CLIENTS),
    };
  },
};

async function bareRequestsPerSecond({ processes }: Services): Promise<number> {
  const server = await startBareServer(processes, 202);
  try {
    const { accepted, startedAtMs, endedAtMs } = await runClosedLoop(processes, {
      url: `http://127.0.0.1:${server.port}/hooks/nobody`,
      secret: 'bench',
      connections: CONNECTIONS,
      load: { seconds: BARE_SECONDS },
    });
    return (accepted / (endedAtMs - startedAtMs)) * 1000;
  } finally {
    await server.stop();
  }
}

async function commitsPerSecond(services: Services, count: number): Promise<number> {
  const database = await services.createDatabase();
  const clients = Array.from({ length: count }, () => new pg.Client({ connectionString: database.url }));
  try {
    await Promise.all(clients.map((client) => client.connect()));
    await clients[0]!.query('create table bench_row (id bigserial primary key, body text)'); // at least one
    const startedAt = performance.now();
    const endsAt = startedAt + COMMIT_SECONDS * 1000;
    let commits = 0;
    await Promise.all(
      clients.map(async (client) => {
        for (; performance.now() < endsAt; commits++) {
          await client.query({
            name: 'insert',
            text: 'insert into bench_row (body) values ($1)',
            values: ['a row of a few bytes'],
          });
        }
      }),
    );
    return (commits / (performance.now() - startedAt)) * 1000;
  } finally {
    await Promise.all(clients.map((client) => client.end()));
    await services.dropDatabase(database.name);
  }
}
