import type { Ask } from './cluster.ts';

export const NAMESPACE = 'millrace-staging';
export const SECRET_KEYS = ['database-url', 'encryption-key'];

export const RUNNERS = 'millrace-runners-staging';
export const POOL = `/apis/apps/v1/namespaces/${RUNNERS}/deployments/runner-warm-pool`;
export const RUNNER_PODS = `/api/v1/namespaces/${RUNNERS}/pods`;
export const RUNNER_EVENTS = `/api/v1/namespaces/${RUNNERS}/events`;

export const podSpec = {
  volumes: [
    {
      name: 'secrets',
      secret: {
        secretName: 'staging-millrace-secrets',
        items: SECRET_KEYS.map((key) => ({ key, path: key })),
      },
    },
  ],
  containers: [
    {
      name: 'api',
      env: [
        {
          name: 'RUNNER_NAMESPACE',
          valueFrom: { configMapKeyRef: { name: 'config', key: 'runner-namespace' } },
        },
        {
          name: 'B',
          valueFrom: {
            secretKeyRef: { name: 'staging-millrace-secrets', key: 'bootstrap-api-key', optional: true },
          },
        },
      ],
    },
  ],
};

/** What the API server of a cluster says in which all is well. */
export const WELL: Readonly<Record<string, unknown>> = {
  '/version': { major: '1', minor: '32', gitVersion: 'v1.32.4' },
  [`/api/v1/namespaces/${NAMESPACE}`]: { metadata: { name: NAMESPACE } },
  [`/apis/apps/v1/namespaces/${NAMESPACE}/deployments`]: {
    items: [
      {
        metadata: { name: 'staging-millrace-api' },
        spec: { replicas: 2, template: { spec: podSpec } },
        status: { availableReplicas: 2 },
      },
    ],
  },
  [`/apis/batch/v1/namespaces/${NAMESPACE}/jobs`]: {
    items: [
      {
        metadata: { name: 'staging-millrace-migrate' },
        spec: { template: { spec: podSpec } },
        status: { succeeded: 1 },
      },
    ],
  },
  [`/api/v1/namespaces/${NAMESPACE}/secrets/staging-millrace-secrets`]: {
    data: Object.fromEntries(SECRET_KEYS.map((key) => [key, 'c2VjcmV0'])),
  },
  '/apis/node.k8s.io/v1/runtimeclasses/gvisor': { metadata: { name: 'gvisor' }, handler: 'runsc' },
  '/api/v1/nodes': {
    items: [{ status: { runtimeHandlers: [{ name: '' }, { name: 'runc' }, { name: 'runsc' }] } }],
  },
  [`/api/v1/namespaces/${NAMESPACE}/configmaps/config`]: { data: { 'runner-namespace': RUNNERS } },
  [POOL]: { spec: { replicas: 2 }, status: { readyReplicas: 2 } },
  [`${POOL}-python`]: { spec: { replicas: 1 }, status: { readyReplicas: 1 } },
  [RUNNER_PODS]: {
    items: [
      {
        metadata: { name: 'runner-1', labels: { 'millrace.dev/pool': 'javascript' } },
        spec: { runtimeClassName: 'gvisor' },
        status: {},
      },
    ],
  },
  [RUNNER_EVENTS]: { items: [] },
  '/apis/apps/v1/daemonsets': {
    items: [
      { metadata: { name: 'cilium' }, spec: { template: { spec: { containers: [{ name: 'agent' }] } } } },
    ],
  },
  '/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io': { metadata: {} },
  [`/api/v1/namespaces/${NAMESPACE}/pods`]: {
    items: [
      {
        metadata: { name: 'staging-millrace-api-1' },
        status: { containerStatuses: [{ restartCount: 0, state: { running: {} } }] },
      },
    ],
  },
};

/** The same with changes; undefined: it is not there. */
export const cluster =
  (changes: Readonly<Record<string, unknown>> = {}): Ask =>
  async (path) =>
    ({ ...WELL, ...changes })[path.split('?')[0]!];
