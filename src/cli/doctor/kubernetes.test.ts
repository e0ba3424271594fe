import { describe, expect, it } from 'vitest';
import { worstOf, type Finding } from '../../core/health/finding.ts';
import {
  cluster,
  NAMESPACE,
  podSpec,
  POOL,
  RUNNER_EVENTS,
  RUNNER_PODS,
  SECRET_KEYS,
} from './cluster.fixture.ts';
import type { Ask } from './cluster.ts';
import { examineCluster, neededSecrets } from './kubernetes.ts';

const of = (findings: readonly Finding[], check: string): readonly Finding[] =>
  findings.filter((found) => found.check === `kubernetes.${check}`);

const pods = (...statuses: readonly object[]) => ({
  [`/api/v1/namespaces/${NAMESPACE}/pods`]: {
    items: statuses.map((status, index) => ({ metadata: { name: `pod-${index}` }, status })),
  },
});
const CHANGED = '2026-11-22T12:00:00Z';
/** A pool with no runner, since {@link CHANGED}. */
const emptyPool = (...conditions: readonly object[]) => ({
  [POOL]: {
    spec: { replicas: 2 },
    status: {
      conditions: [{ type: 'Available', status: 'False', lastTransitionTime: CHANGED }, ...conditions],
    },
  },
});
const refusing = (message: string) =>
  emptyPool({ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message });
const runners = (status: object, runtimeClassName = 'gvisor') => ({
  [RUNNER_PODS]: {
    items: [
      {
        metadata: { name: 'runner-1', labels: { 'millrace.dev/pool': 'javascript' } },
        spec: { runtimeClassName },
        status,
      },
    ],
  },
});
const waiting = (reason: string) => ({
  containerStatuses: [{ restartCount: 4, state: { waiting: { reason, message: 'why' } } }],
});

it('finds nothing in a cluster that is well', async () => {
  const findings = await examineCluster(cluster(), NAMESPACE);
  expect(worstOf(findings)).toBe('ok');
  expect(new Set(findings.map(({ check }) => check)).size).toBe(9);
});

describe('says what to do about', () => {
  it.each([
    [
      'secret',
      'a Secret that is missing',
      { [`/api/v1/namespaces/${NAMESPACE}/secrets/staging-millrace-secrets`]: undefined },
      'scripts/make-kubernetes-secret staging | kubectl create -f -',
    ],
    [
      'secret',
      'a key that is missing',
      {
        [`/api/v1/namespaces/${NAMESPACE}/secrets/staging-millrace-secrets`]: {
          data: { 'database-url': 'eA==' },
        },
      },
      'edit secret staging-millrace-secrets',
    ],
    [
      'runtime_class',
      'a RuntimeClass that is missing',
      { '/apis/node.k8s.io/v1/runtimeclasses/gvisor': undefined },
      'kubectl apply -k deployments/kubernetes/cluster',
    ],
    [
      'network_policy',
      'an engine that is missing',
      { '/apis/apps/v1/daemonsets': { items: [] } },
      'Calico, Cilium, kube-router',
    ],
    [
      'network_policy',
      'a plug-in without its agent',
      {
        '/apis/apps/v1/daemonsets': {
          items: [
            {
              metadata: { name: 'aws-node' },
              spec: { template: { spec: { containers: [{ name: 'aws-node' }] } } },
            },
          ],
        },
      },
      'Calico',
    ],
    [
      'namespace',
      'a namespace that is missing',
      { [`/api/v1/namespaces/${NAMESPACE}`]: undefined },
      'overlays/staging',
    ],
    [
      'namespace',
      'a namespace without Millrace',
      { [`/apis/apps/v1/namespaces/${NAMESPACE}/deployments`]: { items: [] } },
      '--namespace',
    ],
    [
      'api_server',
      'an old cluster',
      { '/version': { major: '1', minor: '29+', gitVersion: 'v1.29.1' } },
      '1.30 or newer',
    ],
    [
      'metrics',
      'a metrics-server that is missing',
      { '/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io': undefined },
      'install metrics-server',
    ],
    [
      'migrate',
      'migrations that are not done',
      {
        [`/apis/batch/v1/namespaces/${NAMESPACE}/jobs`]: {
          items: [{ metadata: { name: 'm' }, spec: { template: { spec: podSpec } }, status: {} }],
        },
      },
      'kubectl logs job/m',
    ],
    ['pods', 'an image that cannot be pulled', pods(waiting('ImagePullBackOff')), 'kustomize edit set image'],
    ['pods', 'a process that ends again and again', pods(waiting('CrashLoopBackOff')), '--previous'],
    [
      'pods',
      'a pod that fits nowhere',
      pods({
        conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3' }],
      }),
      'add nodes',
    ],
    [
      'runtime_class',
      'nodes that have no gVisor',
      { '/api/v1/nodes': { items: [{ status: { runtimeHandlers: [{ name: 'runc' }] } }] } },
      'gvisor-installer',
    ],
    ['runners', 'a Deployment of runners that is missing', { [POOL]: undefined }, 'part=warm-pool'],
    ['runners', 'a quota that is used up', refusing('exceeded quota: runners'), 'ResourceQuota runners'],
    [
      'runners',
      'runners without their RuntimeClass',
      refusing('pod rejected: RuntimeClass "gvisor" not found'),
      'deployments/kubernetes/cluster',
    ],
    [
      'runners',
      'runners whose node has no gVisor',
      {
        ...emptyPool(),
        ...runners(waiting('ContainerCreating')),
        [RUNNER_EVENTS]: {
          items: [
            {
              reason: 'FailedCreatePodSandBox',
              message: 'no runtime for "runsc" is configured',
              involvedObject: { name: 'runner-1' },
            },
          ],
        },
      },
      'handler of RuntimeClass gvisor',
    ],
    [
      'runners',
      'the image of runners',
      { ...emptyPool(), ...runners(waiting('ErrImagePull')) },
      'kustomize edit set image millrace/runner=',
    ],
    ['runners', 'runners that do not get ready', emptyPool(), 'get events'],
    ['runners', 'a pod of runners without gVisor', runners({}, 'runc'), 'delete pod runner-1'],
  ] as const)('%s: %s', async (check, _, changes, remedy) => {
    const later = (): number => Date.parse(CHANGED) + 61_000;
    const findings = of(await examineCluster(cluster(changes), NAMESPACE, later), check);
    const found = findings.filter(({ verdict }) => verdict !== 'ok');
    expect(found).toEqual([
      expect.objectContaining({
        verdict: expect.stringMatching(/warning|error/),
        remedy: expect.stringContaining(remedy),
      }),
    ]);
  });

  it('an API server that cannot be asked', async () => {
    const findings = await examineCluster(() => Promise.reject(new Error('connection refused')), NAMESPACE);
    expect(findings).toEqual([
      expect.objectContaining({
        check: 'kubernetes.api_server',
        verdict: 'error',
        message: expect.stringContaining('connection refused'),
      }),
    ]);
  });

  it('a part that may not be read, and goes on with the others', async () => {
    const ask: Ask = (path) =>
      path.includes('/secrets/') ? Promise.reject(new Error('secrets is forbidden')) : cluster()(path);
    const findings = await examineCluster(ask, NAMESPACE);
    expect(of(findings, 'secret')).toEqual([
      expect.objectContaining({ verdict: 'error', message: 'secrets is forbidden' }),
    ]);
    expect(of(findings, 'pods')).toEqual([expect.objectContaining({ verdict: 'ok' })]);
  });
});

describe('runners', () => {
  it('that are on their way are given a minute', async () => {
    const soon = (): number => Date.parse(CHANGED) + 30_000;
    const findings = await examineCluster(cluster(emptyPool()), NAMESPACE, soon);
    expect(of(findings, 'runners').map(({ verdict }) => verdict)).toEqual(['skipped', 'ok']);
    // What will not mend itself is said at once.
    const refused = await examineCluster(cluster(refusing('exceeded quota: runners')), NAMESPACE, soon);
    expect(of(refused, 'runners').map(({ verdict }) => verdict)).toEqual(['error', 'ok']);
  });

  it('are not looked for where no worker says where they are', async () => {
    const findings = await examineCluster(
      cluster({ [`/api/v1/namespaces/${NAMESPACE}/configmaps/config`]: undefined }),
      NAMESPACE,
    );
    expect(of(findings, 'runners')).toEqual([expect.objectContaining({ verdict: 'skipped' })]);
  });

  it('are judged by RuntimeClass alone where nodes may not be read, or do not tell their handlers', async () => {
    const ask: Ask = (path) =>
      path === '/api/v1/nodes' ? Promise.reject(new Error('nodes is forbidden')) : cluster()(path);
    expect(of(await examineCluster(ask, NAMESPACE), 'runtime_class')).toEqual([
      expect.objectContaining({ verdict: 'ok' }),
    ]);
    const silent = cluster({ '/api/v1/nodes': { items: [{ status: {} }] } });
    expect(of(await examineCluster(silent, NAMESPACE), 'runtime_class')).toEqual([
      expect.objectContaining({ verdict: 'ok' }),
    ]);
  });
});

it.each([
  [
    'k3s, which has one built in',
    {
      '/version': { major: '1', minor: '32', gitVersion: 'v1.32.4+k3s1' },
      '/apis/apps/v1/daemonsets': { items: [] },
    },
  ],
  [
    'Amazon’s plug-in with its agent',
    {
      '/apis/apps/v1/daemonsets': {
        items: [
          {
            metadata: { name: 'aws-node' },
            spec: { template: { spec: { containers: [{ name: 'aws-eks-nodeagent' }] } } },
          },
        ],
      },
    },
  ],
  [
    'Calico',
    {
      '/apis/apps/v1/daemonsets': {
        items: [{ metadata: { name: 'calico-node' }, spec: { template: { spec: { containers: [] } } } }],
      },
    },
  ],
  [
    'Calico outside of pods',
    {
      '/apis/apps/v1/daemonsets': { items: [] },
      '/apis/crd.projectcalico.org/v1/clusterinformations/default': { spec: { datastoreReady: true } },
    },
  ],
])('knows what enforces network policies: %s', async (_, changes) => {
  const found = of(await examineCluster(cluster(changes), NAMESPACE), 'network_policy');
  expect(found).toEqual([expect.objectContaining({ verdict: 'ok' })]);
});

it('needs of a Secret what pods cannot start without, and no more', () => {
  const needed = neededSecrets([{ spec: { template: { spec: podSpec } } }]);
  expect([...needed].map(([name, keys]) => [name, [...keys]])).toEqual([
    ['staging-millrace-secrets', SECRET_KEYS],
  ]);
});
