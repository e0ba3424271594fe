import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { openKubernetesApi, type KubernetesApi } from './api.ts';
import { claimedBy, startFakeCluster, type FakeCluster } from './fake-cluster.fixture.ts';
import { createRunnerPods, type RunnerPods } from './runner-pods.ts';
import { createWarmPools } from './warm-pools.ts';

const NAMESPACE = 'millrace-runners';
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
let cluster: FakeCluster;
let api: KubernetesApi;
let pods: RunnerPods;
const podsOf = (worker: string): RunnerPods =>
  createRunnerPods({
    api,
    pools: createWarmPools({ api, namespace: NAMESPACE }),
    namespace: NAMESPACE,
    worker,
  });

beforeEach(async () => {
  cluster = await startFakeCluster(await makeTempDirectory());
  api = await openKubernetesApi(cluster);
  pods = podsOf('worker-a');
});
afterEach(async () => {
  await api.close();
  await cluster.close();
});

const change = (name: string, more: Record<string, unknown>): void => {
  const path = `${PODS}/${name}`;
  cluster.objects.set(path, { ...cluster.objects.get(path)!, ...more });
};

describe('a token', () => {
  test('of a waiting runner is accepted, with the limits of the container that runs code', async () => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1', { memory: '512Mi' });
    expect(await pods.authenticate(token)).toEqual({
      uid: cluster.objects.get(`${PODS}/runner-1`)!.metadata.uid,
      name: 'runner-1',
      pool: 'javascript',
      limits: { memoryBytes: 536_870_912, cpus: 1 },
    });
  });

  test('that nobody knows is refused', async () => {
    expect(await pods.authenticate('nobody')).toBeUndefined();
    expect(await pods.identify('nobody')).toBeUndefined();
  });

  test('of another namespace is refused', async () => {
    const token = cluster.putRunner('default', 'runner-1');
    expect(await pods.authenticate(token)).toBeUndefined();
    expect(await pods.identify(token)).toBeUndefined();
  });

  test('of another service account is refused', async () => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1');
    change('runner-1', { serviceAccount: 'default' });
    expect(await pods.authenticate(token)).toBeUndefined();
    expect(await pods.identify(token)).toBeUndefined();
  });

  test('of a runner that was claimed says who it is, and no more', async () => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1');
    const waiting = await pods.authenticate(token);
    await pods.claim(waiting!);
    expect(await pods.authenticate(token)).toBeUndefined();
    expect(await pods.identify(token)).toEqual({ uid: waiting!.uid, name: 'runner-1' });
  });

  test.each([
    [
      'without gVisor',
      { spec: { containers: [{ name: 'runner', resources: { limits: { cpu: '1', memory: '1Gi' } } }] } },
    ],
    ['without limits', { spec: { runtimeClassName: 'gvisor', containers: [{ name: 'runner' }] } }],
  ])('of a pod %s is refused', async (_, spec) => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1');
    change('runner-1', spec);
    expect(await pods.authenticate(token)).toBeUndefined();
  });

  test('of a pod that is being deleted is refused', async () => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1');
    const { metadata } = cluster.objects.get(`${PODS}/runner-1`)!;
    change('runner-1', { metadata: { ...metadata, deletionTimestamp: '2026-11-21T12:00:00Z' } });
    expect(await pods.authenticate(token)).toBeUndefined();
  });

  test('of a pod whose name is another’s by now is refused', async () => {
    const token = cluster.putRunner(NAMESPACE, 'runner-1');
    cluster.refusals.set(`GET ${PODS}/runner-1`, 404);
    expect(await pods.authenticate(token)).toBeUndefined();
  });

  test('is not judged while the API server refuses to', async () => {
    cluster.refusals.set('POST /apis/authentication.k8s.io/v1/tokenreviews', 403);
    await expect(pods.authenticate('token')).rejects.toMatchObject({ status: 403 });
  });
});

test('a pod is claimed once, and its token is worth nothing from then on', async () => {
  const token = cluster.putRunner(NAMESPACE, 'runner-1');
  const pod = (await pods.authenticate(token))!;
  const others = podsOf('worker-b');
  const outcomes = await Promise.allSettled([pods.claim(pod), others.claim(pod)]);
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  const [first] = outcomes;
  expect(claimedBy(cluster.objects.get(`${PODS}/runner-1`)!)).toBe(
    first.status === 'fulfilled' ? 'worker-a' : 'worker-b',
  );
  expect(await pods.authenticate(token)).toBeUndefined();
  expect((await pods.list()).map(({ name }) => name)).toEqual(['runner-1']);
});

test('a pod is removed, if it is still that pod', async () => {
  cluster.putRunner(NAMESPACE, 'runner-1');
  await pods.remove({ name: 'runner-1', uid: 'of-its-predecessor' });
  const { uid } = cluster.objects.get(`${PODS}/runner-1`)!.metadata;
  await pods.remove({ name: 'runner-1', uid });
  await pods.remove({ name: 'runner-1', uid });
  expect(cluster.objects.size).toBe(0);
});

test('a cold pod is made as the Deployment of its runtime makes them', async () => {
  cluster.put(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments/runner-warm-pool-python`, {
    spec: {
      replicas: 1,
      template: {
        metadata: { labels: { 'millrace.dev/pool': 'python' } },
        spec: { runtimeClassName: 'gvisor', containers: [{ name: 'runner', image: 'runner' }] },
      },
    },
  });
  const uid = await pods.createCold('python', { cpus: 0.5, memoryBytes: 134_217_728, pids: 256 });
  const [found] = await pods.list();
  expect(found).toMatchObject({ uid, claimedBy: undefined });
  expect(cluster.objects.get(`${PODS}/${found!.name}`)).toMatchObject({
    metadata: { labels: { 'millrace.dev/pool': 'cold' } },
    spec: {
      runtimeClassName: 'gvisor',
      containers: [
        { name: 'runner', image: 'runner', resources: { limits: { cpu: '500m', memory: '128Mi' } } },
      ],
    },
  });
  await expect(pods.createCold('javascript', { cpus: 1, memoryBytes: 1, pids: 1 })).rejects.toThrow(
    'not found',
  );
});

describe('a pod for an image', () => {
  const LIMITS = { cpus: 1, memoryBytes: 268_435_456, pids: 256 };
  const make = () =>
    pods.createForImage({
      step: 'an-execution.a-step',
      image: 'example.com/tool:1',
      limits: LIMITS,
      deadlineSeconds: 600,
    });
  beforeEach(() => {
    cluster.put(`/api/v1/namespaces/${NAMESPACE}/podtemplates/container-step`, {
      template: {
        metadata: { labels: {} },
        spec: { runtimeClassName: 'gvisor', containers: [{ name: 'runner' }] },
      },
    });
  });

  test('is made of its template, and is its worker’s from the beginning', async () => {
    const { uid, name } = await make();
    expect(name).toMatch(/^step-/);
    expect(await pods.list()).toMatchObject([{ uid, name, claimedBy: 'worker-a' }]);
    expect(cluster.objects.get(`${PODS}/${name}`)).toHaveProperty(
      ['spec', 'containers', '0', 'image'],
      'example.com/tool:1',
    );
  });

  test('may register until it is sent a program, and never again', async () => {
    const { name } = await make();
    cluster.tokens.set('token', `${PODS}/${name}`);
    const pod = (await pods.authenticate('token'))!;
    expect(pod).toMatchObject({ pool: 'image', limits: { memoryBytes: 268_435_456, cpus: 1 } });
    await pods.claim(pod);
    expect(claimedBy(cluster.objects.get(`${PODS}/${name}`)!)).toBe('worker-a');
    expect(await pods.authenticate('token')).toBeUndefined();
    await expect(pods.claim(pod)).rejects.toThrow('the test failed');
  });

  test('is looked at, as long as it is that pod', async () => {
    const pod = await make();
    expect(await pods.look(pod)).toMatchObject({ type: 'pending' });
    change(pod.name, { status: { phase: 'Failed', reason: 'DeadlineExceeded' } });
    expect(await pods.look(pod)).toMatchObject({ type: 'failed' });
    expect(await pods.look({ ...pod, uid: 'another' })).toBeUndefined();
    await pods.remove(pod);
    expect(await pods.look(pod)).toBeUndefined();
  });

  test('is refused with the reason of the API server', async () => {
    cluster.refusals.set(`POST ${PODS}`, 403);
    await expect(make()).rejects.toMatchObject({ status: 403, message: 'refused by the test' });
  });
});
