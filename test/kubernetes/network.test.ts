import { describe, expect, it } from 'vitest';
import { isAllowed, type Connection, type Endpoint } from '../support/connections.ts';
import {
  ENVIRONMENTS,
  PREFIX,
  renderEnvironment,
  renderEverything,
  workloadsOf,
  type Environment,
  type Rendered,
} from '../support/manifests.ts';

const everything = renderEverything();

/** The pod of a component, with its own labels and ports. */
function podOf(rendered: Rendered, environment: Environment, component: string): Endpoint {
  const workload = workloadsOf(rendered).find(
    ({ metadata }) => metadata.name === `${PREFIX[environment]}-millrace-${component}`,
  )!;
  const { metadata, spec } = workload.spec.template;
  const ports = spec.containers.flatMap((container) => container.ports ?? []);
  return {
    namespace: `millrace-${PREFIX[environment]}`,
    labels: metadata.labels,
    ports: Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort])),
  };
}

const runner = (environment: Environment): Endpoint => ({
  namespace: `millrace-runners-${PREFIX[environment]}`,
  // As a warm pool would label it, or as anybody might: no label opens anything.
  labels: { 'app.kubernetes.io/name': 'millrace', 'app.kubernetes.io/component': 'worker', app: 'millrace' },
});
const podIn = (namespace: string, labels: Readonly<Record<string, string>> = {}): Endpoint => ({
  namespace,
  labels,
});
const dns = podIn('kube-system', { 'k8s-app': 'kube-dns' });
const address = (text: string): Endpoint => ({ address: text });
const internet = address('93.184.215.14');

type Row = readonly [what: string, connection: (rendered: Rendered, environment: Environment) => Connection];
const between = (
  from: string | Endpoint,
  to: string | Endpoint,
  port: number,
  protocol: 'TCP' | 'UDP' = 'TCP',
): Row[1] => {
  return (rendered, environment) => ({
    from: typeof from === 'string' ? podOf(rendered, environment, from) : from,
    to: typeof to === 'string' ? podOf(rendered, environment, to) : to,
    port,
    protocol,
  });
};

const ALLOWED: readonly Row[] = [
  ['the Ingress controller to the API', between(podIn('traefik'), 'api', 8080)],
  ...['api', 'worker', 'migrate'].flatMap((from): readonly Row[] => [
    [`${from} to DNS over UDP`, between(from, dns, 53, 'UDP')],
    [`${from} to DNS over TCP`, between(from, dns, 53)],
  ]),
  ...['api', 'worker'].flatMap((from): readonly Row[] => [
    [`${from} to a collector of traces over gRPC`, between(from, podIn('monitoring'), 4317)],
    [`${from} to a collector of traces over HTTP`, between(from, podIn('monitoring'), 4318)],
  ]),
  ['worker to the internet', between('worker', internet, 443)],
  ['worker to the internet, on any port', between('worker', internet, 8443)],
  ['worker to the internet over IPv6', between('worker', address('2606:2800:21f::1'), 443)],
];

const PRIVATE = [
  '10.1.2.3',
  '127.0.0.1',
  '169.254.169.254',
  '169.254.170.2',
  '168.63.129.16',
  '172.20.0.1',
  '192.168.1.1',
  '100.64.0.1',
  'fd00:ec2::254',
  'fe80::1',
  '::1',
];

const DENIED: readonly Row[] = [
  ['anybody else to the API', between(podIn('default'), 'api', 8080)],
  ['the Ingress controller to the health of the API', between(podIn('traefik'), 'api', 9090)],
  ['the Ingress controller to a worker', between(podIn('traefik'), 'worker', 8081)],
  ['a pod of the namespace to the API', between('worker', 'api', 8080)],
  ['the API to a worker', between('api', 'worker', 8081)],
  ['monitoring to the API, without component monitoring', between(podIn('monitoring'), 'api', 9090)],
  ['the API to the internet', between('api', internet, 443)],
  ['the API to other ports of monitoring', between('api', podIn('monitoring'), 9090)],
  ['migrations to a collector of traces', between('migrate', podIn('monitoring'), 4317)],
  ['migrations to the internet', between('migrate', internet, 443)],
  ['worker to the internet over UDP', between('worker', internet, 53, 'UDP')],
  ['worker to other pods of kube-system', between('worker', podIn('kube-system'), 443)],
  ...PRIVATE.map((text): Row => [`worker to ${text}`, between('worker', address(text), 443)]),
];

describe.each(ENVIRONMENTS)('the policies of %s', (environment) => {
  const rendering = renderEnvironment(environment);

  it.each(ALLOWED)('allow %s', async (_, connection) => {
    const rendered = await rendering;
    expect(isAllowed(rendered, connection(rendered, environment))).toBe(true);
  });

  it.each(DENIED)('deny %s', async (_, connection) => {
    const rendered = await rendering;
    expect(isAllowed(rendered, connection(rendered, environment))).toBe(false);
  });

  it('let a runner reach nothing, and nothing reach a runner', async () => {
    const rendered = await rendering;
    const from = runner(environment);
    const targets: readonly (readonly [Endpoint, number])[] = [
      [dns, 53],
      [internet, 443],
      [address('10.96.0.1'), 443],
      [address('169.254.169.254'), 80],
      [podOf(rendered, environment, 'api'), 8080],
      [podOf(rendered, environment, 'worker'), 8081],
      [runner(environment), 8080],
    ];
    for (const [to, port] of targets) {
      for (const protocol of ['TCP', 'UDP'] as const) {
        expect(isAllowed(rendered, { from, to, port, protocol })).toBe(false);
      }
    }
    for (const other of ['api', 'worker']) {
      const connection = { from: podOf(rendered, environment, other), to: from, port: 8080 };
      expect(isAllowed(rendered, connection)).toBe(false);
    }
  });
});

describe('databases', () => {
  const development = renderEnvironment('development');
  const pod = async (component: string) => podOf(await development, 'development', component);

  it.each([
    ['api', 'postgres', 5432, true],
    ['worker', 'postgres', 5432, true],
    ['migrate', 'postgres', 5432, true],
    ['postgres-backup', 'postgres', 5432, true],
    ['postgres-restore', 'postgres', 5432, true],
    ['postgres-backup', 'postgres', 22, false],
    ['postgres-backup', 'redis', 6379, false],
    ['postgres-backup', 'api', 8080, false],
    ['api', 'redis', 6379, true],
    ['worker', 'redis', 6379, true],
    ['migrate', 'redis', 6379, false],
    ['api', 'postgres', 22, false],
    ['redis', 'postgres', 5432, false],
    ['postgres', 'redis', 6379, false],
  ])('%s to %s:%i in development: %s', async (from, to, port, allowed) => {
    const connection = { from: await pod(from), to: await pod(to), port };
    expect(isAllowed(await development, connection)).toBe(allowed);
  });

  it('neither runners nor other namespaces reach those of development, and they reach nothing', async () => {
    const rendered = await development;
    for (const [component, port] of [
      ['postgres', 5432],
      ['redis', 6379],
    ] as const) {
      const database = await pod(component);
      for (const from of [runner('development'), podIn('default'), podIn('millrace-staging')]) {
        expect(isAllowed(rendered, { from, to: database, port })).toBe(false);
      }
      expect(isAllowed(rendered, { from: database, to: internet, port: 443 })).toBe(false);
      expect(isAllowed(rendered, { from: database, to: dns, port: 53, protocol: 'UDP' })).toBe(false);
    }
  });

  it.each(['staging', 'production'] as const)(
    'outside of the cluster are reached from %s at the addresses that the overlay names, and no other',
    async (environment) => {
      const rendered = await renderEnvironment(environment);
      for (const [process, to, port, allowed] of [
        ['api', '192.0.2.10', 5432, true],
        ['worker', '192.0.2.10', 5432, true],
        ['migrate', '192.0.2.10', 5432, true],
        ['api', '192.0.2.11', 6379, true],
        ['worker', '192.0.2.11', 6379, true],
        ['api', '192.0.2.10', 22, false],
        ['api', '192.0.2.12', 5432, false],
        ['worker', '192.0.2.12', 5432, false],
      ] as const) {
        const from = podOf(rendered, environment, process);
        expect(isAllowed(rendered, { from, to: address(to), port }), `${process} to ${to}:${port}`).toBe(
          allowed,
        );
      }
    },
  );
});

describe('components', () => {
  it.each([
    ['monitoring', 'monitoring to the API', between(podIn('monitoring'), 'api', 9090), true],
    ['monitoring', 'monitoring to webhooks', between(podIn('monitoring'), 'api', 8080), false],
    ['monitoring', 'monitoring to a worker', between(podIn('monitoring'), 'worker', 8081), true],
    ['monitoring', 'monitoring to another port', between(podIn('monitoring'), 'worker', 8080), false],
    ['keda', 'KEDA to a worker', between(podIn('keda'), 'worker', 8081), true],
    ['keda', 'KEDA to the API', between(podIn('keda'), 'api', 8080), false],
    ['nodeport', 'an address outside to the API', between(internet, 'api', 8080), true],
    ['nodeport', 'an address outside to the health of the API', between(internet, 'api', 9090), false],
    ['nodeport', 'an address outside to a worker', between(internet, 'worker', 8081), false],
  ] as const)('%s: %s', async (_component, _what, connection, allowed) => {
    const rendered = await everything;
    expect(isAllowed(rendered, connection(rendered, 'staging'))).toBe(allowed);
  });
});
