import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { openKubernetesApi, type KubernetesApi } from './api.ts';
import { startFakeCluster, type FakeCluster } from './fake-cluster.fixture.ts';
import { createWarmPools, type WarmPools } from './warm-pools.ts';

const DEPLOYMENT = '/apis/apps/v1/namespaces/runners/deployments/runner-warm-pool';
const TEMPLATE = { metadata: { labels: {} }, spec: { containers: [{ name: 'runner', image: 'runner:1' }] } };
let cluster: FakeCluster;
let api: KubernetesApi;
let pools: WarmPools;

beforeEach(async () => {
  cluster = await startFakeCluster(await makeTempDirectory());
  api = await openKubernetesApi(cluster);
  pools = createWarmPools({ api, namespace: 'runners' });
});
afterEach(async () => {
  await api.close();
  await cluster.close();
});

const putPool = (status: object): unknown =>
  cluster.put(DEPLOYMENT, { spec: { replicas: 2, template: TEMPLATE }, status });

test('a pool is judged by its Deployment, and by its pods where that says nothing', async () => {
  putPool({ readyReplicas: 1 });
  expect(await pools.look('javascript')).toMatchObject({ type: 'well' });
  putPool({ conditions: [{ type: 'ReplicaFailure', status: 'True', message: 'exceeded quota: runners' }] });
  expect(await pools.look('javascript')).toMatchObject({ type: 'empty', cause: 'quota' });
  putPool({});
  expect(await pools.look('javascript')).toMatchObject({ cause: 'starting', mayPass: true });
  cluster.putRunner('runners', 'runner-1');
  cluster.putRunner('runners', 'of-another-pool', { pool: 'python' });
  Object.assign(cluster.objects.get('/api/v1/namespaces/runners/pods/runner-1')!, {
    status: { containerStatuses: [{ state: { waiting: { reason: 'ErrImagePull', message: 'denied' } } }] },
  });
  expect(await pools.look('javascript')).toMatchObject({
    cause: 'no_image',
    reason: 'runner-1: ErrImagePull denied',
  });
});

test('a Deployment that is gone is said to be, and its template is as it was seen last', async () => {
  expect(await pools.look('javascript')).toMatchObject({ type: 'empty', cause: 'missing' });
  await expect(pools.template('javascript')).rejects.toMatchObject({ status: 404 });
  putPool({ readyReplicas: 2 });
  await pools.look('javascript');
  cluster.objects.delete(DEPLOYMENT);
  expect(await pools.template('javascript')).toEqual(TEMPLATE);
  expect(await pools.look('javascript')).toMatchObject({ cause: 'missing' });
});

test('an API server that does not answer is no sign of anything', async () => {
  putPool({ readyReplicas: 2 });
  await pools.template('javascript');
  cluster.refusals.set(`GET ${DEPLOYMENT}`, 403);
  await expect(pools.look('javascript')).rejects.toMatchObject({ status: 403 });
  await expect(pools.template('javascript')).rejects.toMatchObject({ status: 403 });
});
