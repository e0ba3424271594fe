import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { API_KEY } from '../support/platform.ts';
import { PROJECT_ROOT, type TestProcess } from '../support/processes.ts';
import { startRedisServer, type RedisServer } from '../support/redis-server.ts';
import { hasShape, runCommand, shownCommands } from '../support/runbook.ts';
import { waitFor } from '../support/wait-for.ts';

// A failing workflow beside one that works, so that there is something to see.
const FAILING = `name: orders
triggers: { t: { webhook: { verify: { scheme: none } } } }
steps:
  - id: total
    transform: trigger.body.missing
output: steps.total.output
`;

let database: TestDatabase;
let redis: RedisServer;
let cluster: Cluster;
let worker: TestProcess;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createTestDatabase();
  redis = await startRedisServer();
  cluster = await startCluster({
    databaseUrl: database.url,
    redisUrl: redis.url,
    built: true,
    // There is a pool to see, without a machine that can isolate.
    env: { SANDBOX_DRIVER: 'process' },
  });
  worker = await cluster.startWorker();
  const [, workerPort] = await worker.waitForOutput(/"port":(\d+)[^\n]*worker started/);
  env = {
    API: cluster.base,
    WORKER: `http://127.0.0.1:${workerPort}`,
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    PGOPTIONS: '-c role=millrace_engine',
    // As the processes were started, for `millrace doctor`; and for commands that talk to the API.
    API_PORT: new URL(cluster.base).port,
    WORKER_PORT: workerPort!,
    ENCRYPTION_KEY: '0123456789abcdef'.repeat(4),
    JWT_SECRET: '0123456789abcdef'.repeat(4),
    MILLRACE_URL: cluster.base,
    MILLRACE_API_KEY: API_KEY,
  };
  const { hook } = await cluster.deploy(FAILING);
  const { data } = await cluster.post(hook, {});
  await cluster.finished(data.executionId as string);
  // One process at a time measures what all share, some seconds after its start, and tells the others.
  for (const line of [
    'millrace_workers [1-9]',
    'millrace_queue_depth ',
    'millrace_database_bytes ',
    'millrace_redis_up 1',
  ])
    await bothShow(line);
}, 180_000);
afterAll(async () => {
  await cluster?.stop();
  await redis?.stop();
  await database?.drop();
});

/** Waits until all of these processes have such a line in their metrics. */
const untilShown = (urls: readonly string[], line: string): Promise<unknown> =>
  waitFor(
    async () => {
      const pages = await Promise.all(urls.map(async (url) => (await fetch(`${url}/metrics`)).text()));
      return pages.every((page) => new RegExp(`^${line}`, 'm').test(page));
    },
    { timeoutMs: 90_000, intervalMs: 500, what: `${urls.join(' and ')} to show ${line}` },
  );

/** API and worker. */
const bothShow = (line: string): Promise<unknown> => untilShown([env['API']!, env['WORKER']!], line);

const FOLDER = join(PROJECT_ROOT, 'docs/runbooks');
const pages = (await readdir(FOLDER)).filter((file) => file !== 'README.md');
const textOf = (page: string): Promise<string> => readFile(join(FOLDER, page), 'utf8');

async function expectShown(command: string, shown: string): Promise<void> {
  const printed = await runCommand(command, env);
  expect.soft(hasShape(printed, shown), `${command}\nprinted:\n${printed}\nshown:\n${shown}`).toBe(true);
}

describe.each(pages)('%s', (page) => {
  it('shows what its commands print', async () => {
    const commands = shownCommands(await textOf(page));
    expect(commands.length).toBeGreaterThan(0);
    for (const { command, output } of commands) await expectShown(command, output);
  });
});

it('README.md names every variable that the commands are given here', async () => {
  const [, block = ''] = /^```sh\n((?:(?!```).*\n)*)```/m.exec(await textOf('README.md')) ?? [];
  const named = [...block.matchAll(/([A-Z_]+)=/g)].map(([, name]) => name!);
  expect(named.toSorted()).toEqual(Object.keys(env).toSorted());
});

/** Runs the commands of a page whose output it shows for while the fault lasts, too. */
async function expectShownFaulty(page: string): Promise<void> {
  const faulty = shownCommands(await textOf(page)).filter((shown) => shown.faulty !== undefined);
  expect(faulty.length).toBeGreaterThan(0);
  for (const shown of faulty) await expectShown(shown.command, shown.faulty!); // filtered
}

describe('RedisGone.md', () => {
  it('shows what its commands print while Redis is gone', async () => {
    await redis.stop();
    await bothShow('millrace_redis_up 0');
    await expectShownFaulty('RedisGone.md');
  });
});

describe('NoWorker.md', () => {
  it('shows what its commands print while no worker runs', async () => {
    worker.signal('SIGKILL');
    await untilShown([env['API']!], 'millrace_workers 0');
    await expectShownFaulty('NoWorker.md');
  });
});
