import type { Ask } from './kubernetes.ts';

export const NAMESPACE = 'millrace-staging';
export const SECRET_KEYS = ['database-url', 'encryption-key'];

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
        { name: 'A', valueFrom: { configMapKeyRef: { name: 'x', key: 'a' } } },
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
