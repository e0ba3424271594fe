import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { openKubernetesApi, type KubernetesApi } from './api.ts';
import { trustedAuthorities } from './certificates.ts';
import { startFakeCluster, type FakeCluster } from './fake-cluster.fixture.ts';
import { createSharedObjects, type SharedObjects } from './shared-objects.ts';

const SECRET = '/api/v1/namespaces/millrace/secrets/gateway';
const CONFIG_MAP = '/api/v1/namespaces/runners/configmaps/runner-gateway';
let cluster: FakeCluster;
let api: KubernetesApi;
let shared: SharedObjects;

beforeEach(async () => {
  cluster = await startFakeCluster(await makeTempDirectory());
  api = await openKubernetesApi(cluster);
  shared = createSharedObjects({
    api,
    namespace: 'millrace',
    gatewayName: 'gateway',
    runnerNamespace: 'runners',
    now: () => Date.parse('2026-11-21T12:00:00Z'),
  });
  cluster.put(SECRET, { metadata: { labels: { app: 'millrace' } }, type: 'Opaque' });
  cluster.put(CONFIG_MAP, {});
  cluster.put('/api/v1/namespaces/millrace/services/gateway', {
    spec: { clusterIP: '10.96.7.7', ports: [{ name: 'gateway', port: 8082 }] },
  });
});
afterEach(async () => {
  await api.close();
  await cluster.close();
});

test('workers that start at once agree on one certificate', async () => {
  const all = await Promise.all(Array.from({ length: 4 }, () => shared.certificates()));
  const again = await shared.certificates();
  for (const one of all) expect(one).toEqual(again);
  const secret = cluster.objects.get(SECRET)!;
  expect(secret).toMatchObject({ type: 'Opaque', metadata: { labels: { app: 'millrace' } } });
  expect(Object.keys(secret['data'] as object)).toEqual(['certificates.json']);
});

test('something unreadable in the Secret is replaced', async () => {
  cluster.put(SECRET, {
    data: { 'certificates.json': Buffer.from('{}').toString('base64'), other: 'b3RoZXI=' },
  });
  const { current } = await shared.certificates();
  expect(current.certificate).toContain('BEGIN CERTIFICATE');
  expect((await shared.certificates()).current).toEqual(current);
  expect(cluster.objects.get(SECRET)!['data']).toHaveProperty('other', 'b3RoZXI=');
});

test('runners are told where some gateway is and whom to trust, and only when it is something else', async () => {
  const certificates = await shared.certificates();
  await shared.publish(certificates);
  const published = cluster.objects.get(CONFIG_MAP)!;
  expect(published['data']).toEqual({
    address: '10.96.7.7:8082',
    'ca.crt': trustedAuthorities(certificates),
  });
  await shared.publish(certificates);
  expect(cluster.objects.get(CONFIG_MAP)).toBe(published);
});

test('workers are found in the slices of their Service', async () => {
  const at = '/apis/discovery.k8s.io/v1/namespaces/millrace/endpointslices/gateway-1';
  cluster.put(at, {
    metadata: { labels: { 'kubernetes.io/service-name': 'gateway' } },
    ports: [{ name: 'gateway', port: 8082 }],
    endpoints: [
      { addresses: ['10.244.0.9'], conditions: { ready: true }, targetRef: { name: 'worker-b' } },
      { addresses: ['10.244.0.10'], conditions: { ready: false }, targetRef: { name: 'worker-c' } },
      { addresses: ['fd00::5'], conditions: {}, targetRef: { name: 'worker-a' } },
    ],
  });
  cluster.put(`${at}-of-another`, { metadata: { labels: { 'kubernetes.io/service-name': 'api' } } });
  expect(await shared.workers()).toEqual({
    gateways: ['10.244.0.9:8082', '[fd00::5]:8082'],
    pods: new Set(['worker-a', 'worker-b', 'worker-c']),
  });
});

test('what the API server refuses is said with its words', async () => {
  cluster.refusals.set(`GET ${SECRET}`, 403);
  await expect(shared.certificates()).rejects.toMatchObject({ status: 403, message: 'refused by the test' });
});
