import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { API_KEY } from '../support/platform.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
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
let env: Record<string, string>;

beforeAll(async () => {
  database = await createTestDatabase();
  redis = await startRedisServer();
  cluster = await startCluster({ databaseUrl: database.url, redisUrl: redis.url, built: true });
  const worker = await cluster.startWorker();
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
  // One process at a time measures what all share, some seconds after its start.
  await waitFor(
    async () => {
      const texts = await Promise.all(
        [env['API'], env['WORKER']].map(async (url) => (await fetch(`${url}/metrics`)).text()),
      );
      return [
        'millrace_workers [1-9]',
        'millrace_queue_depth ',
        'millrace_database_bytes ',
        'millrace_redis_up 1',
      ].every((one) => new RegExp(`^${one}`, 'm').test(texts.join('\n')));
    },
    { timeoutMs: 60_000, intervalMs: 500, what: 'all of the metrics' },
  );
}, 180_000);
afterAll(async () => {
  await cluster?.stop();
  await redis?.stop();
  await database?.drop();
});

const FOLDER = join(PROJECT_ROOT, 'docs/runbooks');
const pages = (await readdir(FOLDER)).filter((file) => file !== 'README.md');

describe.each(pages)('%s', (page) => {
  it('shows what its commands print', async () => {
    const commands = shownCommands(await readFile(join(FOLDER, page), 'utf8'));
    expect(commands.length).toBeGreaterThan(0);
    for (const { command, output } of commands) {
      const printed = await runCommand(command, env);
      expect
        .soft(hasShape(printed, output), `${command}\nprinted:\n${printed}\nshown:\n${output}`)
        .toBe(true);
    }
  });
});
