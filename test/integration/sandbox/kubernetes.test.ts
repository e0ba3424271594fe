import { connect } from 'node:net';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import type { Runtime, SandboxDriver } from '../../../src/worker/sandbox/driver.ts';
import { fakeRequest } from '../../../src/worker/sandbox/fake-sandbox.fixture.ts';
import { openKubernetesDriver } from '../../../src/worker/sandbox/kubernetes/driver.ts';
import {
  claimedBy,
  startFakeCluster,
  type FakeCluster,
} from '../../../src/worker/sandbox/kubernetes/fake-cluster.fixture.ts';
import { createSandboxPool } from '../../../src/worker/sandbox/pool.ts';
import { openSession } from '../../../src/worker/sandbox/session.ts';
import type { Program } from '../../../src/worker/sandbox/types.ts';
import { freePort } from '../../support/free-port.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import { waitFor } from '../../support/wait-for.ts';
import { mountGateway, startPod, type LocalPod } from './kubernetes-support/pod.ts';

/** The real driver and the real programs of a pod; Kubernetes alone is another. */
const RUNNERS = 'runners';
const PODS = `/api/v1/namespaces/${RUNNERS}/pods`;
const LIMITS = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };
const TIMES = {
  workersMs: 100,
  certificatesMs: 100,
  sweepMs: 100,
  poolsMs: 100,
  startMs: 20_000,
  retryMs: 20,
};

let cluster: FakeCluster;
beforeEach(async () => {
  cluster = await startFakeCluster(await makeTempDirectory());
  onTestFinished(() => cluster.close());
  cluster.put('/api/v1/namespaces/millrace/secrets/gateway', {});
  cluster.put(`/api/v1/namespaces/${RUNNERS}/configmaps/runner-gateway`, {});
});

/** What makes a worker known to the others. */
function putEndpoint(worker: string, port: number): void {
  cluster.put(`/apis/discovery.k8s.io/v1/namespaces/millrace/endpointslices/gateway-${worker}`, {
    metadata: { labels: { 'kubernetes.io/service-name': 'gateway' } },
    ports: [{ name: 'gateway', port }],
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true }, targetRef: { name: worker } }],
  });
}

async function startWorker(name: string, logger = pino({ level: 'silent' })) {
  const port = await freePort();
  const service = '/api/v1/namespaces/millrace/services/gateway';
  if (!cluster.objects.has(service)) {
    cluster.put(service, { spec: { clusterIP: '127.0.0.1', ports: [{ name: 'gateway', port }] } });
  }
  putEndpoint(name, port);
  const driver = await openKubernetesDriver({
    apiHost: cluster.host,
    apiPort: cluster.port,
    serviceAccountFolder: cluster.folder,
    runnerNamespace: RUNNERS,
    gatewayName: 'gateway',
    port,
    pod: { name, namespace: 'millrace', address: '127.0.0.1' },
    logger,
    times: TIMES,
  });
  onTestFinished(() => driver.close());
  return { driver, address: `127.0.0.1:${port}` };
}

const mount = (pod: LocalPod): Promise<void> => mountGateway(cluster, RUNNERS, pod);

async function startRunner(runtime: Runtime, name: string): Promise<LocalPod> {
  const pod = await startPod(runtime, cluster.putRunner(RUNNERS, name, { pool: runtime }));
  await mount(pod);
  return pod;
}
const registered = (pod: LocalPod, address: string) =>
  waitFor(() => pod.log().includes(`"registered","gateway":"${address}"`), {
    timeoutMs: 20_000,
    what: address,
  });

/** A moment after it is used. */
const markedAs = (name: string, worker: string) =>
  waitFor(() => claimedBy(cluster.objects.get(`${PODS}/${name}`)!) === worker, {
    timeoutMs: 10_000,
    what: `${name} to be marked as one of ${worker}`,
  });

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const PROBES: Readonly<Record<Runtime, Program>> = {
  javascript: {
    id: 'probe',
    runtime: 'javascript',
    entry: 'probe.js',
    source: bytes('module.exports = { default: async (ctx, input) => ({ input }) };'),
  },
  python: {
    id: 'probe',
    runtime: 'python',
    entry: 'probe.py',
    source: bytes(
      JSON.stringify({
        entry: 'probe.py',
        files: {
          'probe.py': `
import os, socket

def reach(address):
    try:
        socket.create_connection(address, timeout=2).close()
        return "reached"
    except OSError as error:
        return type(error).__name__ + ": " + error.strerror

def run(ctx, input):
    return {
        "input": input,
        "reach": [reach(tuple(address)) for address in input],
        "environment": sorted(os.environ),
    }
`,
        },
      }),
    ),
  },
};

describe.each(['javascript', 'python'] as const)('a %s runner', (runtime) => {
  test('registers, is claimed once, and runs code', async () => {
    const { driver, address } = await startWorker('worker-a');
    const pod = await startRunner(runtime, 'runner-1');
    await registered(pod, address);
    const sandbox = await driver.start({ runtime, limits: LIMITS });
    expect(sandbox).toMatchObject({ id: 'runner-1', isWarm: true });
    await markedAs('runner-1', 'worker-a');
    const session = await openSession(sandbox);
    const end = await session.run(fakeRequest({ program: PROBES[runtime], input: [] }));
    expect(end).toMatchObject({ type: 'result', output: { input: [] } });
    session.close();
    await sandbox.exited;
    expect(cluster.objects.has(`${PODS}/runner-1`)).toBe(false);
    await pod.exited();
  });
});

test('code in a pod has no way to the pod’s network, nor to its variables', async () => {
  const { driver, address } = await startWorker('worker-a');
  const pod = await startRunner('python', 'runner-1');
  await registered(pod, address);
  const session = await openSession(await driver.start({ runtime: 'python', limits: LIMITS }));
  const gatewayPort = Number(address.split(':')[1]);
  const targets = [
    ['127.0.0.1', gatewayPort],
    ['127.0.0.1', pod.readyPort],
    ['10.96.0.1', 443],
  ];
  // The same addresses from outside of it.
  const socket = connect(gatewayPort, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  const end = await session.run(fakeRequest({ program: PROBES.python, input: targets }));
  const { reach, environment } = (end as { readonly output: Record<string, readonly string[]> }).output;
  expect(reach).toHaveLength(3);
  for (const one of reach!) expect(one).not.toBe('reached');
  expect(environment).not.toContain('KUBERNETES_SERVICE_HOST');
  session.close();
});

test('every worker may claim a runner, and only one gets it', async () => {
  const a = await startWorker('worker-a');
  const b = await startWorker('worker-b');
  const pods = [await startRunner('javascript', 'runner-1'), await startRunner('javascript', 'runner-2')];
  for (const pod of pods) for (const { address } of [a, b]) await registered(pod, address);
  const [first, second] = await Promise.all([
    a.driver.start({ runtime: 'javascript', limits: LIMITS }),
    b.driver.start({ runtime: 'javascript', limits: LIMITS }),
  ]);
  expect([first.id, second.id].sort()).toEqual(['runner-1', 'runner-2']);
  await markedAs(first.id, 'worker-a');
  await markedAs(second.id, 'worker-b');
});

/** A pool as a worker has it here, and what its page of metrics says of it. */
function poolOf(driver: SandboxDriver) {
  const metrics = createMetrics();
  const pool = createSandboxPool({
    driver,
    metrics,
    logger: pino({ level: 'silent' }),
    defaultLimits: LIMITS,
    spares: { javascript: { min: 0, max: 0 }, python: { min: 0, max: 0 } },
    availableMemory: () => Number.MAX_SAFE_INTEGER,
    tickMs: 20,
  });
  onTestFinished(() => pool.close());
  const shows = (sizes: Readonly<Record<string, number>>): Promise<unknown> =>
    waitFor(
      async () => {
        const { body } = await metrics.registry.page(undefined);
        const found = body.matchAll(/^millrace_sandbox_pool_size\{state="(\w+)"\} (\d+)$/gm);
        const expected = { spare: 0, starting: 0, idle: 0, busy: 0, ...sizes };
        return isDeepStrictEqual(
          Object.fromEntries([...found].map(([, state, size]) => [state, Number(size)])),
          expected,
        );
      },
      { timeoutMs: 10_000, what: `a pool with ${JSON.stringify(sizes)}` },
    );
  return { pool, shows };
}

test('a runner that waits is a spare of every worker, until one of them has it', async () => {
  const [a, b] = [await startWorker('worker-a'), await startWorker('worker-b')];
  const [own, other] = [poolOf(a.driver), poolOf(b.driver)];
  const pod = await startRunner('javascript', 'runner-1');
  for (const { address } of [a, b]) await registered(pod, address);
  await Promise.all([own.shows({ spare: 1 }), other.shows({ spare: 1 })]);

  const slot = await own.pool.claim({
    tenantId: 't',
    workflowId: 'w',
    version: 1,
    runtime: 'javascript',
    limits: LIMITS,
    singleUse: false,
    alone: false,
    signal: AbortSignal.timeout(20_000),
  });

  await Promise.all([own.shows({ busy: 1 }), other.shows({})]);
  slot.release();
  await own.shows({ idle: 1 });
});

test('a worker that comes later gets the runners that wait', async () => {
  const a = await startWorker('worker-a');
  const pod = await startRunner('javascript', 'runner-1');
  await registered(pod, a.address);
  const b = await startWorker('worker-b');
  await registered(pod, b.address);
  expect((await b.driver.start({ runtime: 'javascript', limits: LIMITS })).id).toBe('runner-1');
});

test('a runner finds its way again when all workers were gone', async () => {
  const a = await startWorker('worker-a');
  const pod = await startRunner('javascript', 'runner-1');
  await registered(pod, a.address);
  await a.driver.close();
  cluster.objects.delete('/api/v1/namespaces/millrace/services/gateway');
  const b = await startWorker('worker-b');
  await mount(pod); // the Service is the same in a cluster, here it has another port
  await waitFor(
    async () => {
      await mount(pod);
      return pod.log().includes(`"registered","gateway":"${b.address}"`);
    },
    { timeoutMs: 20_000 },
  );
  expect((await b.driver.start({ runtime: 'javascript', limits: LIMITS })).id).toBe('runner-1');
});

test('a runner refuses a gateway whose certificate is not by an authority it knows', async () => {
  const { address } = await startWorker('worker-a');
  const pod = await startPod('javascript', cluster.putRunner(RUNNERS, 'runner-1'));
  await mount(pod);
  const other = await startFakeCluster(await makeTempDirectory());
  onTestFinished(() => other.close());
  const { issueCertificate } = await import('../../../src/worker/sandbox/kubernetes/x509.ts');
  const foreign = issueCertificate('gateway.millrace.internal', Date.now(), 3_600_000);
  await writeFile(join(pod.gatewayFolder, 'ca.crt'), foreign.authority);
  await waitFor(() => /not registered.*(certificate|UnknownIssuer)/i.test(pod.log()), { timeoutMs: 20_000 });
  expect(pod.log()).not.toContain(`"registered","gateway":"${address}"`);
  await mount(pod);
  await registered(pod, address);
});

test('pods of a worker that is gone are deleted by the others', async () => {
  const { driver } = await startWorker('worker-a');
  cluster.put(`${PODS}/orphan`, {
    metadata: { labels: { 'millrace.dev/claimed-by': 'worker-z' } },
    spec: { containers: [] },
  });
  cluster.put(`${PODS}/of-the-living`, {
    metadata: { labels: { 'millrace.dev/claimed-by': 'worker-b' } },
    spec: { containers: [] },
  });
  const slice = cluster.objects.get(
    '/apis/discovery.k8s.io/v1/namespaces/millrace/endpointslices/gateway-worker-a',
  )!;
  cluster.put('/apis/discovery.k8s.io/v1/namespaces/millrace/endpointslices/gateway-worker-b', {
    ...slice,
    endpoints: [{ addresses: ['127.0.0.2'], conditions: { ready: false }, targetRef: { name: 'worker-b' } }],
  });
  await waitFor(() => !cluster.objects.has(`${PODS}/orphan`), { timeoutMs: 10_000 });
  expect(cluster.objects.has(`${PODS}/of-the-living`)).toBe(true);
  await driver.close();
});

test('the end of the connection ends the pod, and with it what ran there', async () => {
  const { driver, address } = await startWorker('worker-a');
  const pod = await startRunner('javascript', 'runner-1');
  await registered(pod, address);
  await driver.start({ runtime: 'javascript', limits: LIMITS });
  await driver.close();
  await pod.exited();
  expect(cluster.objects.has(`${PODS}/runner-1`)).toBe(false);
});

test.each([
  ['nobody', {}],
  ['a worker', { 'millrace.dev/claimed-by': 'worker-b' }],
])('a pod that was used is deleted when its containers start again, marked by %s', async (_, labels) => {
  // The worker that marked it is there: otherwise the pod is an orphan, and is swept before it can say anything.
  putEndpoint('worker-b', await freePort());
  await startWorker('worker-a');
  const token = cluster.putRunner(RUNNERS, 'runner-1');
  Object.assign(cluster.objects.get(`${PODS}/runner-1`)!.metadata.labels!, labels);
  const pod = await startPod('javascript', token, { isUsed: true });
  await mount(pod);
  await waitFor(() => !cluster.objects.has(`${PODS}/runner-1`), { timeoutMs: 20_000 });
  expect(pod.log()).toContain('has been claimed before');
  expect(pod.log()).not.toContain('"registered"');
});

test('a cluster that lacks something is asked again until it has it', async () => {
  cluster.objects.delete('/api/v1/namespaces/millrace/secrets/gateway');
  const starting = startWorker('worker-a');
  await waitFor(() => cluster.calls.filter((call) => call.includes('/secrets/')).length > 1);
  cluster.put('/api/v1/namespaces/millrace/secrets/gateway', {});
  expect((await starting).driver.description.driver).toBe('kubernetes');
});

describe('a pool that comes to nothing', () => {
  const DEPLOYMENT = `/apis/apps/v1/namespaces/${RUNNERS}/deployments/runner-warm-pool`;
  const REJECTED = 'pods "runner-warm-pool-" is forbidden: pod rejected: RuntimeClass "gvisor" not found';
  const putPool = (status: object): unknown =>
    cluster.put(DEPLOYMENT, {
      spec: {
        replicas: 2,
        template: {
          metadata: { labels: { 'millrace.dev/pool': 'javascript' } },
          spec: { runtimeClassName: 'gvisor', containers: [{ name: 'runner' }] },
        },
      },
      status,
    });
  /** The lines of the pool for JavaScript, as long as a worker runs. */
  const listen = () => {
    const lines: Record<string, unknown>[] = [];
    const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
    const ofPool = (): readonly Record<string, unknown>[] =>
      lines.filter(({ pool }) => pool === 'runner-warm-pool');
    return { logger: pino({}, { write }), ofPool };
  };

  test('for want of its RuntimeClass is in the worker’s log, in one line, until it has runners', async () => {
    putPool({ conditions: [{ type: 'ReplicaFailure', status: 'True', message: REJECTED }] });
    const { logger, ofPool } = listen();
    await startWorker('worker-a', logger);
    await waitFor(() => ofPool().length > 0, { timeoutMs: 10_000 });
    expect(ofPool()[0]).toMatchObject({
      level: 40,
      msg: 'no runner of the warm pool is ready',
      reason: REJECTED,
      remedy: expect.stringContaining('kubectl apply -k deployments/kubernetes/cluster'),
    });
    putPool({ readyReplicas: 2 });
    await waitFor(() => ofPool().length > 1, { timeoutMs: 10_000 });
    expect(ofPool().map(({ msg }) => msg)).toEqual([
      'no runner of the warm pool is ready',
      'the warm pool has runners again',
    ]);
  });

  test('because its Deployment was deleted is said, and steps get pods of their own', async () => {
    putPool({ readyReplicas: 2 });
    const { logger, ofPool } = listen();
    const { driver, address } = await startWorker('worker-a', logger);
    await waitFor(() => cluster.calls.filter((call) => call === `GET ${DEPLOYMENT}`).length > 1);
    cluster.objects.delete(DEPLOYMENT);
    await waitFor(() => ofPool().length > 0, { timeoutMs: 10_000 });
    expect(ofPool()[0]).toMatchObject({
      reason: 'there is no such Deployment',
      remedy: expect.stringContaining('millrace.dev/part=warm-pool'),
    });
    const starting = driver.start({ runtime: 'javascript', limits: LIMITS });
    const cold = (): string | undefined =>
      [...cluster.objects.keys()].find((path) => path.startsWith(`${PODS}/runner-cold-`));
    await waitFor(() => cold() !== undefined, { timeoutMs: 10_000 });
    cluster.tokens.set('token-of-cold', cold()!);
    const pod = await startPod('javascript', 'token-of-cold');
    await mount(pod);
    await registered(pod, address);
    expect(`${PODS}/${(await starting).id}`).toBe(cold());
    expect(cluster.calls).not.toContainEqual(expect.stringMatching(/^(POST|PUT|PATCH) .*deployments/));
  });
});

test('a runner without a worker waits, and says so', async () => {
  const pod = await startPod('javascript', cluster.putRunner(RUNNERS, 'runner-1'));
  await waitFor(() => pod.log().includes('the runner is warm'), { timeoutMs: 20_000 });
  const { driver, address } = await startWorker('worker-a');
  const start = vi.fn();
  void driver.start({ runtime: 'javascript', limits: LIMITS }).then(start, start);
  expect(start).not.toHaveBeenCalled();
  await mount(pod);
  await registered(pod, address);
  await waitFor(() => start.mock.calls.length > 0, { timeoutMs: 20_000 });
  expect(start.mock.calls[0]![0]).toMatchObject({ id: 'runner-1', isWarm: false });
});
