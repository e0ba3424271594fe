import { chmod, mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DatabaseServer } from '../faults/harness/database-server.ts';
import { ask, createDebianPostgres } from '../faults/harness/debian-postgres.ts';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { runToEnd } from '../support/dev-platform.ts';
import { cliCommand, createProcesses, PROJECT_ROOT } from '../support/processes.ts';
import { removeDirectory } from '../support/remove-directory.ts';
import { runCommand } from '../support/runbook.ts';
import { startSink, type Sink } from '../support/sink.ts';
import { waitFor } from '../support/wait-for.ts';

/** Where Debian has the programs of the server's own version. */
const PROGRAMS = '/usr/lib/postgresql/15/bin';
const DATABASE = 'millrace';
/** How long the service takes for some of its calls: at first until the dump is there, however long that takes. */
let slowMs = 30_000;

// The second step calls a service with a credential, which opens only with the key that it was sealed with.
const workflow = (sink: Sink): string => `name: orders
triggers: { orders: { webhook: { verify: { scheme: none } } } }
steps:
  - id: first
    transform: trigger.body.n
  - id: second
    needs: [first]
    http: { method: POST, url: 'shop:/orders/\${{ steps.first.output }}' }
  - id: third
    needs: [second]
    transform: steps.first.output + 1
output: steps.third.output
# ${sink.url}
`;

let directory: string;
let sink: Sink;
const servers: DatabaseServer[] = [];
const clusters: Cluster[] = [];
const processes = createProcesses();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-backup-'));
  await chmod(directory, 0o711);
  sink = await startSink(({ path }) => ({ delayMs: path.startsWith('/orders/1') ? slowMs : 0 }));
});
afterAll(async () => {
  for (const cluster of clusters) await cluster.stop();
  await processes.killAll();
  for (const server of servers) await server.stop();
  await sink.close();
  await removeDirectory(directory);
});

/** What the manual tells to do under a heading, as it stands there. */
async function commandsOf(heading: string): Promise<string> {
  const manual = await readFile(join(PROJECT_ROOT, 'docs/operations.md'), 'utf8');
  const part = manual.split(`### ${heading}\n`)[1]?.split('\n### ')[0] ?? '';
  const [, commands] = /^```sh\n(.*?)^```/ms.exec(part) ?? [];
  if (commands === undefined) throw new Error(`docs/operations.md has no commands under "${heading}"`);
  return commands;
}

async function startServer(name: string): Promise<DatabaseServer> {
  const server = await createDebianPostgres({ directory, name });
  servers.push(server);
  return server;
}

async function startPlatform(databaseUrl: string): Promise<Cluster> {
  const cluster = await startCluster({
    databaseUrl,
    built: true,
    env: {
      ENCRYPTION_KEY: '0123456789abcdef'.repeat(4),
      JWT_SECRET: '0123456789abcdef'.repeat(4),
      EGRESS_ALLOW_PRIVATE: new URL(sink.url).host,
      LEASE_MS: '6000',
      HEARTBEAT_MS: '1000',
    },
  });
  clusters.push(cluster);
  await cluster.startWorker();
  return cluster;
}

const shell = async (commands: string, env: Readonly<Record<string, string>>): Promise<string> => {
  const path = `${PROGRAMS}:${process.env['PATH'] ?? ''}`;
  const said = await runCommand(`set -e\n${commands}\necho DONE`, {
    ...env,
    PATH: path,
    DIRECTORY: directory,
  });
  expect(said).toMatch(/DONE$/);
  return said;
};

it(
  'a dump of the running platform, restored on another server, goes on where it was',
  { timeout: 240_000 },
  async () => {
    const first = await startServer('first');
    await first.ensureDatabase(DATABASE);
    const migrated = await runToEnd(processes, cliCommand('migrate'), { DATABASE_URL: first.url(DATABASE) });
    expect(migrated.code, migrated.stderr).toBe(0);
    const before = await startPlatform(first.url(DATABASE));
    await before.call('PUT', '/api/v1/credentials/shop', {
      type: 'bearer',
      data: { token: 'only-for-tests', baseUrl: sink.url },
    });
    const { hook } = await before.deploy(workflow(sink));
    const accept = async (cluster: Cluster, n: number): Promise<string> => {
      const { status, data } = await cluster.post(hook, { n });
      expect(status).toBe(202);
      return data.executionId as string;
    };

    // Some have ended, some are within their second step, while it is dumped.
    const kept: string[] = [];
    for (let n = 0; n < 60; n++) kept.push(await accept(before, n));
    await waitFor(() => sink.entries.filter(({ path }) => path.startsWith('/orders/1')).length >= 5, {
      what: 'slow steps to be under way',
    });
    const dumpedAt = performance.now();
    await shell(await commandsOf('Dump'), { DATABASE_URL: first.url(DATABASE), PGOPTIONS: '' });
    slowMs = 1500;
    const lost: string[] = [];
    for (let n = 100; n < 110; n++) lost.push(await accept(before, n));
    const second = await startServer('second');

    await first.kill();
    await before.stop();
    const lostAt = performance.now();

    await shell(await commandsOf('Restore a dump'), {
      NEW_SERVER_URL: second.url('postgres'),
      NEW_DATABASE_URL: second.url(DATABASE),
      PGOPTIONS: '',
    });
    const { running } = await ask<{ running: number }>(
      { url: () => second.url(DATABASE) },
      `select count(*)::int as running from execution where state in ('queued', 'running', 'waiting')`,
    );
    const after = await startPlatform(second.url(DATABASE));
    const again = await accept(after, 200);
    const acceptsAfterMs = performance.now() - lostAt;
    for (const id of [...kept, again]) {
      const execution = await after.finished(id, 60_000);
      expect(execution).toMatchObject({ state: 'succeeded' });
    }
    const doneAfterMs = performance.now() - lostAt;

    expect(running, 'nothing was under way in the dump').toBeGreaterThan(0);
    for (const id of lost) expect((await after.call('GET', `/api/v1/executions/${id}`)).status).toBe(404);
    // A step whose outcome was in the dump has run once; one that was cut off at most twice, with the same key.
    const calls = Map.groupBy(sink.entries, ({ path }) => path);
    for (let n = 0; n < 60; n++) {
      const made = calls.get(`/orders/${n}`) ?? [];
      expect(made.length, `calls of ${n}`).toBeGreaterThanOrEqual(1);
      expect(new Set(made.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    }
    const seconds = (ms: number): string => (ms / 1000).toFixed(1);
    console.info(
      `backup drill: RPO ${seconds(lostAt - dumpedAt)} s since the dump (${lost.length} executions), RTO ${seconds(acceptsAfterMs)} s to the next 202, ` +
        `${seconds(doneAfterMs)} s until all ${kept.length} had ended; ${running} were under way in the dump`,
    );
  },
);

it(
  'a restored database without its roles is told of by the doctor, with what to do',
  { timeout: 120_000 },
  async () => {
    const third = await startServer('third');
    await third.ensureDatabase(DATABASE);
    const { stdout } = await runToEnd(processes, cliCommand('doctor', '-o', 'json'), {
      DATABASE_URL: third.url(DATABASE),
      SANDBOX_DRIVER: 'none',
      ENCRYPTION_KEY: '0123456789abcdef'.repeat(4),
      JWT_SECRET: '0123456789abcdef'.repeat(4),
    });
    const { findings } = JSON.parse(stdout) as {
      readonly findings: readonly {
        readonly check: string;
        readonly verdict: string;
        readonly remedy?: string;
      }[];
    };
    expect(findings.find(({ check }) => check === 'database.roles')).toMatchObject({
      verdict: 'error',
      remedy: expect.stringContaining('millrace migrate'),
    });
  },
);
