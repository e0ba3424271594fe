import { once } from 'node:events';
import { copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DASHBOARDS } from '../../scripts/monitoring/dashboards.ts';
import { ruleGroups } from '../../scripts/monitoring/rules.ts';
import { ruleFile } from '../../scripts/write-monitoring.ts';
import { issueCertificate } from '../../src/worker/sandbox/kubernetes/x509.ts';
import { cacheDirectory } from '../support/cache-directory.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { createApiClient, type ApiClient } from '../support/platform.ts';
import { processEnvironment } from '../support/process-environment.ts';
import { createProcesses, platformCommand, type TestProcess } from '../support/processes.ts';
import { startPrometheus, type PrometheusServer } from '../support/prometheus-server.ts';
import { startRedisServer, type RedisServer } from '../support/redis-server.ts';
import { sandboxProcesses } from '../support/sandbox-remains.ts';
import { untilReady } from '../support/until-ready.ts';
import { waitFor } from '../support/wait-for.ts';

/** Hours are minutes here, and minutes seconds. */
const SHORTENED_BY = 60;
/** A killed worker counts as alive for 30 s, and then everything is slow on a busy machine. */
const PATIENCE = { timeoutMs: 90_000, intervalMs: 250 } as const;
const DAY_MS = 86_400_000;
const canIsolate = process.platform === 'linux' && process.getuid?.() === 0;

const HELLO = `name: hello
triggers: { t: { webhook: { verify: { scheme: none } } } }
steps:
  - id: greet
    ${canIsolate ? 'code: steps/greet.js' : 'transform: 1'}
  - id: fail
    needs: [greet]
    if: trigger.body.fail
    transform: trigger.body.missing
`;

const processes = createProcesses();
let directory: string;
let database: TestDatabase;
let redis: RedisServer;
let prometheus: PrometheusServer;
/** As a load balancer with TLS in front of the API. */
let front: Server;
let api: ApiClient;
let worker: TestProcess;
let ports: { readonly api: number; readonly worker: number };
let env: Record<string, string>;

const startWorker = async (): Promise<void> => {
  worker = processes.start(platformCommand('worker', { built: true }), {
    env: { ...env, WORKER_PORT: String(ports.worker) },
  });
  await untilReady(worker, ports.worker, PATIENCE.timeoutMs);
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-alerts-'));
  database = await createTestDatabase();
  redis = await startRedisServer();
  ports = { api: await freePort(), worker: await freePort() };
  const { key, certificate } = issueCertificate('localhost', Date.now(), 60 * DAY_MS);
  front = createServer({ key, cert: certificate }, (socket) => socket.on('error', () => undefined));
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  // A runsc of its own, that can be broken.
  const runsc = join(directory, 'runsc');
  if (canIsolate) await copyFile(join(cacheDirectory(), 'runsc'), runsc);
  env = {
    ...processEnvironment(),
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    WORKER_RUN_AS: 'root',
    SANDBOX_DRIVER: canIsolate ? 'gvisor' : 'none',
    SANDBOX_STATE_DIR: join(directory, 'state'),
    SANDBOX_SPARES_JAVASCRIPT: '1',
    SANDBOX_SPARES_PYTHON: '0',
    ...(canIsolate && { MILLRACE_RUNSC: runsc }),
  };
  const started = processes.start(platformCommand('api', { built: true }), {
    env: { ...env, API_PORT: String(ports.api), PUBLIC_URL: `https://127.0.0.1:${portOf(front)}` },
  });
  await untilReady(started, ports.api, PATIENCE.timeoutMs);
  await startWorker();
  api = createApiClient(`http://127.0.0.1:${ports.api}`);
  prometheus = await startPrometheus({
    targets: { 'millrace-api': [`127.0.0.1:${ports.api}`], 'millrace-worker': [`127.0.0.1:${ports.worker}`] },
    rules: [ruleFile(ruleGroups({ shortenedBy: SHORTENED_BY }))],
    scrapeEveryMs: 1000,
  });
}, 240_000);
afterAll(async () => {
  await prometheus?.stop();
  await processes.killAll();
  front?.close();
  await redis?.stop();
  await database?.drop();
  await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port; // it listens on TCP
}

interface Firing {
  readonly name: string;
  readonly severity: string;
  readonly runbook: string;
}
async function firing(): Promise<readonly Firing[]> {
  const { alerts } = (await prometheus.get('/api/v1/alerts')) as {
    readonly alerts: readonly {
      readonly state: string;
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations: Readonly<Record<string, string>>;
    }[];
  };
  return (
    alerts
      .filter(({ state }) => state === 'firing')
      // For the owners of workflows: what is posted here fails now and then, on purpose.
      .filter(({ labels }) => labels['severity'] !== 'owner')
      .map(({ labels, annotations }) => ({
        name: labels['alertname']!,
        severity: labels['severity']!,
        runbook: annotations['runbook_url']!,
      }))
  );
}
/** What is divided by nothing is no data. */
const isNumber = ({ value }: { readonly value: number }): boolean => Number.isFinite(value);
const sampleOf = async (expression: string): Promise<number | undefined> =>
  (await prometheus.query(expression))[0]?.value;

const calm = (): Promise<unknown> =>
  waitFor(async () => (await firing()).length === 0, { ...PATIENCE, what: 'all alerts to be over' });

/** Waits for the alert, and gives all that fire then, and some evaluations later. */
async function alertsOf(name: string): Promise<readonly string[]> {
  await waitFor(async () => (await firing()).some((alert) => alert.name === name), {
    ...PATIENCE,
    what: `${name} to fire`,
  });
  const since = Number(await sampleOf('vector(time())'));
  await waitFor(async () => Number(await sampleOf('vector(time())')) > since + 5, PATIENCE);
  const all = await firing();
  for (const { name: one, runbook } of all) expect(runbook).toMatch(new RegExp(`/${one}\\.md$`));
  return all.map((alert) => `${alert.name} ${alert.severity}`);
}

describe('while all is well', { timeout: 180_000 }, () => {
  it('nothing fires, and every panel of the dashboards has data', async () => {
    const files = { 'steps/greet.js': 'export default () => "hello";' };
    const { hook } = await api.deploy(HELLO, canIsolate ? files : {});
    const round = async (): Promise<void> => {
      for (const fail of [false, false, true]) {
        const { data } = await api.post(hook, { fail });
        await api.finished(data.executionId as string, 60_000);
      }
      await api.call('GET', '/api/v1/workflows');
    };
    const panels = DASHBOARDS.flatMap((dashboard) =>
      dashboard.rows.flatMap((row) =>
        row.panels.flatMap((panel) =>
          panel.queries.map(({ expr }) => ({
            where: `${dashboard.name}: ${panel.title}`,
            expr: expr
              .replaceAll('$__rate_interval', '1m')
              .replaceAll(/\$(namespace|tenant|workflow)\b/g, '.*')
              .replaceAll('ratio_rate1h', 'ratio_rate1m'),
          })),
        ),
      ),
    );
    // Only where they cannot be isolated there are no sandboxes.
    const without = new Set(
      canIsolate
        ? []
        : [
            'sandboxes: Claims',
            'sandboxes: Time to a place, p99',
            'sandboxes: Code steps',
            'tenants: Code steps',
            'sandboxes: Sandboxes',
          ],
    );
    // Rates need two samples of a counter, the first of them before it grew.
    let empty: readonly string[] = [];
    await waitFor(
      async () => {
        await round();
        const answers = await Promise.all(
          panels.map(async ({ where, expr }) => ({ where, samples: await prometheus.query(expr) })),
        );
        empty = answers
          .filter(({ where, samples }) => !samples.some(isNumber) && !without.has(where))
          .map(({ where }) => where);
        return empty.length === 0;
      },
      { timeoutMs: 120_000, intervalMs: 1000, what: 'data in every panel' },
    ).catch(() => undefined);
    expect(empty).toEqual([]);
    await calm();
  });
});

describe('a fault makes exactly its alert fire', { timeout: 240_000 }, () => {
  it('Redis is gone: RedisGone', async () => {
    await calm();
    await redis.kill();

    expect(await alertsOf('RedisGone')).toEqual(['RedisGone ticket']);

    redis = await startRedisServer({ port: redis.port });
    await calm();
  });

  it('the only worker is killed: NoWorker', async () => {
    await calm();
    worker.signalGroup('SIGKILL');
    await worker.exited;

    expect(await alertsOf('NoWorker')).toEqual(['NoWorker page']);

    await startWorker();
    await calm();
  });

  it.runIf(canIsolate)('sandboxes are gone and cannot be started: SandboxPoolEmpty', async () => {
    await calm();
    await waitFor(async () => (await sampleOf('sum(millrace_sandbox_pool_size{state="spare"})')) === 1, {
      ...PATIENCE,
      what: 'Prometheus to see a spare sandbox',
    });
    const runsc = env['MILLRACE_RUNSC']!;
    const broken = `${runsc}.broken`;
    await writeFile(broken, '#!/bin/sh\necho "runsc is broken" >&2\nexit 1\n', { mode: 0o755 });
    await rename(broken, runsc);
    for (const { pid } of await sandboxProcesses(env['SANDBOX_STATE_DIR']!)) process.kill(pid, 'SIGKILL');

    expect(await alertsOf('SandboxPoolEmpty')).toEqual(['SandboxPoolEmpty page']);
  });
});
