import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type {
  ImageContainer,
  ImagePlace,
  ImageRequest,
  SandboxDriver,
  SandboxExit,
} from '../../../src/worker/sandbox/driver.ts';
import { openKubernetesDriver } from '../../../src/worker/sandbox/kubernetes/driver.ts';
import {
  claimedBy,
  startFakeCluster,
  type FakeCluster,
} from '../../../src/worker/sandbox/kubernetes/fake-cluster.fixture.ts';
import { freePort } from '../../support/free-port.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import { waitFor } from '../../support/wait-for.ts';
import { mountGateway, startPod, type LocalPod } from './kubernetes-support/pod.ts';

/** The real driver and the real programs of a pod for an image; the image is this machine, and Kubernetes is another. */
const RUNNERS = 'runners';
const PODS = `/api/v1/namespaces/${RUNNERS}/pods`;
const IMAGE = 'example.com/tool:1';
const LIMITS = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };

let cluster: FakeCluster;
let driver: SandboxDriver;

beforeEach(async () => {
  cluster = await startFakeCluster(await makeTempDirectory());
  onTestFinished(() => cluster.close());
  const port = await freePort();
  cluster.put('/api/v1/namespaces/millrace/secrets/gateway', {});
  cluster.put(`/api/v1/namespaces/${RUNNERS}/configmaps/runner-gateway`, {});
  cluster.put('/api/v1/namespaces/millrace/services/gateway', {
    spec: { clusterIP: '127.0.0.1', ports: [{ name: 'gateway', port }] },
  });
  cluster.put('/apis/discovery.k8s.io/v1/namespaces/millrace/endpointslices/gateway', {
    metadata: { labels: { 'kubernetes.io/service-name': 'gateway' } },
    ports: [{ name: 'gateway', port }],
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true }, targetRef: { name: 'worker-a' } }],
  });
  cluster.put(`/api/v1/namespaces/${RUNNERS}/podtemplates/container-step`, {
    template: {
      metadata: { labels: { app: 'millrace' } },
      spec: { runtimeClassName: 'gvisor', containers: [{ name: 'relay' }, { name: 'runner' }] },
    },
  });
  driver = await openKubernetesDriver({
    apiHost: cluster.host,
    apiPort: cluster.port,
    serviceAccountFolder: cluster.folder,
    runnerNamespace: RUNNERS,
    gatewayName: 'gateway',
    port,
    pod: { name: 'worker-a', namespace: 'millrace', address: '127.0.0.1' },
    allowedImages: [IMAGE],
    logger: pino({ level: 'silent' }),
    times: { workersMs: 100, certificatesMs: 100, sweepMs: 100, lookMs: 50, retryMs: 20 },
  });
  onTestFinished(() => driver.close());
});

const request = (signal = new AbortController().signal): ImageRequest => ({
  tenantId: 'a',
  step: 'an-execution.a-step',
  image: IMAGE,
  namesCommand: true,
  limits: LIMITS,
  timeoutMs: 60_000,
  signal,
});

const podNames = (): readonly string[] =>
  [...cluster.objects.keys()].filter((path) => path.startsWith(`${PODS}/`));

/** What scheduler and kubelet do with the pod that is made next. */
async function runNextPod(): Promise<LocalPod> {
  const path = await waitFor(() => podNames()[0], { what: 'a pod' });
  cluster.tokens.set('token', path);
  const pod = await startPod('image', 'token');
  await mountGateway(cluster, RUNNERS, pod);
  return pod;
}

async function claim(): Promise<{ readonly place: ImagePlace; readonly pod: LocalPod }> {
  const claiming = driver.claimImage!(request(), 60_000);
  const pod = await runNextPod();
  return { place: await claiming, pod };
}

interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: SandboxExit;
}
const endOf = async ({ stdout, stderr, exited }: ImageContainer): Promise<Ran> => {
  const [out, log, exit] = await Promise.all([text(stdout), text(stderr), exited]);
  return { stdout: out, stderr: log, exit };
};

async function run(
  command: readonly string[],
  { input = '', environment = {} }: { input?: string; environment?: Record<string, string> } = {},
): Promise<Ran> {
  const { place } = await claim();
  const { folder, userId, groupId } = place.image;
  const container = await place.start(
    { command, environment: { ...place.image.environment, ...environment }, folder, userId, groupId },
    input,
  );
  return endOf(container);
}
const shell = (line: string, more: Parameters<typeof run>[1] = {}) => run(['/bin/sh', '-c', line], more);

describe('a program of an image, in a pod of its own', () => {
  test('reads its input, writes output and log, and tells its exit code', async () => {
    const input = JSON.stringify({ text: 'ä€😀', large: 'x'.repeat(3_000_000) });
    const line = 'cat > "$TARGET"; wc -c < "$TARGET"; cat /dev/stdin; echo log >&2; exit 7';
    const target = join(await makeTempDirectory(), 'input');
    const { stdout, stderr, exit } = await shell(line, { input, environment: { TARGET: target } });
    expect(stdout).toBe(`${Buffer.byteLength(input)}\n${input}`);
    expect(stderr).toBe('log\n');
    expect(exit).toMatchObject({ reason: 'exited', exitCode: 7 });
    await waitFor(() => podNames().length === 0, { what: 'the pod to be deleted' });
  });

  test('gives all of what it writes, though it ends at once', async () => {
    const { stdout, exit } = await shell('head -c 900000 /dev/zero; exit 0');
    expect(stdout.length).toBe(900_000);
    expect(exit.exitCode).toBe(0);
  });

  test('does not wait for what it leaves behind', async () => {
    const { stdout, exit } = await shell('sleep 30 & echo done');
    expect(stdout).toBe('done\n');
    expect(exit.exitCode).toBe(0);
  });

  test('has the variables of its image, and none of Kubernetes', async () => {
    const { stdout } = await shell('env', { environment: { SHAPE: 'round' } });
    expect(stdout).toContain('NO_COLOR=1\n');
    expect(stdout).toContain('SHAPE=round\n');
    expect(stdout).not.toContain('KUBERNETES');
  });

  test('has an empty network', async () => {
    const { stdout } = await shell('cat /proc/net/dev; cat /proc/net/route');
    expect(stdout.match(/^ *\w+:/gm)?.map((name) => name.trim())).toEqual(['lo:']);
  });

  test('ends by a signal as a shell says it, or as lost', async () => {
    expect((await shell('kill -TERM $$')).exit).toMatchObject({ exitCode: 143 });
    const { exit } = await shell('kill -KILL $$');
    expect(exit).toMatchObject({ reason: 'exited', detail: 'exit code 137' });
    expect(exit).not.toHaveProperty('exitCode');
  });

  test.each([
    ['that is not there', 'nosuch', 'no such file or directory'],
    ['that is none', '/usr/bin', 'permission denied'],
  ])('%s: it is said so', async (_, program, reason) => {
    expect((await run([program])).exit).toMatchObject({ programFailure: reason });
  });

  test('ends with its worker’s interest in it, and so does the pod', async () => {
    const { place, pod } = await claim();
    const { folder, userId, groupId, environment } = place.image;
    const command = ['/bin/sh', '-c', 'echo up; sleep 30'];
    const container = await place.start({ command, environment, folder, userId, groupId }, '');
    await once(container.stdout, 'data');
    container.kill();
    const { stdout, exit } = await endOf(container);
    expect([stdout, exit.reason]).toEqual(['', 'killed']);
    await pod.exited();
    expect(podNames()).toEqual([]);
  });
});

test('the pod is the worker’s from the beginning, and its token worth nothing once it is claimed', async () => {
  const { place } = await claim();
  const [path] = podNames();
  const { spec } = cluster.objects.get(path!)!;
  expect(claimedBy(cluster.objects.get(path!)!)).toBe('worker-a');
  await waitFor(() => !('millrace.dev/pool' in (cluster.objects.get(path!)!.metadata.labels ?? {})), {
    what: 'the label to be gone by which a token is accepted',
  });
  expect(spec).toMatchObject({
    // Pulling, the step's own minute, and a margin.
    activeDeadlineSeconds: 300 + 60 + 60,
    containers: [{ name: 'relay' }, { name: 'runner', image: IMAGE }],
  });
  place.release();
  await waitFor(() => podNames().length === 0, { what: 'the pod to be deleted' });
});

test('an attempt that is cancelled before its pod is ready leaves no pod', async () => {
  const stop = new AbortController();
  const claiming = driver.claimImage!(request(stop.signal), 60_000);
  await waitFor(() => podNames().length === 1, { what: 'a pod' });
  stop.abort(new Error('cancelled'));
  await expect(claiming).rejects.toThrow('cancelled');
  expect(podNames()).toEqual([]);
});
