import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderWith, type Rendered, workloadsOf } from '../../support/manifests.ts';
import { waitFor } from '../../support/wait-for.ts';
import { makeStands, type Connection, type Stand, type Stands } from '../harness/connections.ts';
import { ensureKinds } from '../harness/crds.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { removeNamespaces, type List, type Pod } from '../harness/kubectl.ts';
import { openOutside, type Outside } from '../harness/outside.ts';
import { table } from '../harness/report.ts';
import type { Part } from './part.ts';

const COMPONENTS = ['monitoring', 'keda'];
/** Others in the cluster, by the names that the policies know them under. */
const NEIGHBOURS = ['traefik', 'monitoring', 'keda', 'millrace-test-neighbour'];
const PLATFORM = ['api', 'worker', 'migrate', 'backup', 'postgres', 'redis'];

/** A pod with the labels and ports of a component. */
function standOf(rendered: Rendered, component: string, namespace: string): Stand {
  const workload = workloadsOf(rendered).find(
    ({ spec }) => spec.template.metadata.labels['app.kubernetes.io/component'] === component,
  );
  if (workload === undefined) throw new Error(`nothing runs as ${component}`);
  const { metadata, spec } = workload.spec.template;
  return {
    name: component,
    namespace,
    labels: metadata.labels,
    ports: spec.containers.flatMap(({ ports }) => ports ?? []),
  };
}

const LISTENER = [{ name: 'http', containerPort: 8080 }];
/** Of OTLP, for traces. */
const TRACES = [
  { name: 'otlp-grpc', containerPort: 4317 },
  { name: 'otlp-http', containerPort: 4318 },
];

export function describePolicies({ cluster, kubectl, report }: Part): void {
  describe.runIf(cluster.isKit)('the network policies, by packets', () => {
    let dev: Installation;
    let stands: Stands;
    let outside: Outside;
    let connections: readonly Connection[] = [];
    let restoreKinds: () => Promise<void>;
    const madeNamespaces: string[] = [];

    beforeAll(async () => {
      restoreKinds = await ensureKinds(kubectl);
      outside = await openOutside();
      dev = await createInstallation(kubectl, cluster.images, 'development', { platform: COMPONENTS });
      const applied = await dev.apply(['--selector', 'millrace.dev/part in (cluster, policies)']);
      if (applied.code !== 0) throw new Error(applied.stderr);
      for (const name of NEIGHBOURS) {
        if ((await kubectl.try(['create', 'namespace', name])).code === 0) madeNamespaces.push(name);
      }
      const rendered = await renderWith('development', { platform: COMPONENTS });
      stands = await makeStands(kubectl, [
        ...PLATFORM.map((component) => standOf(rendered, component, dev.namespace)),
        // Labelled as something of ours, too: a label alone opens nothing in the namespace of runners.
        ...['runner', 'runner-beside'].map((name) => ({
          name,
          namespace: dev.runners,
          runtimeClassName: 'gvisor',
          labels: {
            app: 'millrace',
            'app.kubernetes.io/name': 'millrace',
            'app.kubernetes.io/component': 'runner',
          },
          ports: LISTENER,
        })),
        ...NEIGHBOURS.map((name) => ({ name, namespace: name, ports: [...LISTENER, ...TRACES] })),
      ]);
      const dns = await kubectl.get<List<Pod>>('kube-system', 'pods', '--selector', 'k8s-app=kube-dns');
      const apiServer = await kubectl.run([
        'get',
        'endpointslices',
        '--selector',
        'kubernetes.io/service-name=kubernetes',
        '--output',
        'jsonpath={.items[0].endpoints[0].addresses[0]}',
      ]);
      connections = rows(dns.items[0]!.status.podIP!, apiServer.trim(), outside); // DNS runs in every cluster
    }, 300_000);
    afterAll(async () => {
      await outside.close();
      // Of namespaces that were there before, and stay.
      for (const name of NEIGHBOURS) {
        await kubectl.try(['--namespace', name, 'delete', 'pod', name, '--force', '--grace-period=0']);
      }
      await removeNamespaces(kubectl, madeNamespaces);
      await dev.remove();
      await restoreKinds();
    }, 300_000);

    const outcomes = async (some: readonly Connection[]): Promise<readonly (readonly [string, boolean])[]> =>
      Promise.all(some.map(async (one) => [describeConnection(one), await stands.connects(one)] as const));

    it('let through what is needed', { timeout: 180_000 }, async () => {
      const allowed = connections.filter((one) => one.allowed);
      // A pod's own rules are in force a moment after it runs.
      await waitFor(async () => (await outcomes(allowed)).every(([, connects]) => connects), {
        timeoutMs: 20_000,
        intervalMs: 500,
      }).catch(() => undefined);
      expect((await outcomes(allowed)).filter(([, connects]) => !connects)).toEqual([]);
    });

    it('stop everything else', { timeout: 240_000 }, async () => {
      const denied = connections.filter((one) => !one.allowed);
      expect((await outcomes(denied)).filter(([, connects]) => connects)).toEqual([]);
    });

    it(
      'are what stops it: without them each of these connections comes about',
      { timeout: 240_000 },
      async () => {
        const denied = connections.filter((one) => !one.allowed);
        for (const namespace of [dev.namespace, dev.runners]) {
          await kubectl.run(['--namespace', namespace, 'delete', 'networkpolicies', '--all']);
        }
        let silent: readonly (readonly [string, boolean])[] = [];
        await waitFor(
          async () => {
            silent = (await outcomes(denied)).filter(([, connects]) => !connects);
            return silent.length === 0;
          },
          { timeoutMs: 30_000, intervalMs: 500 },
        ).catch(() => undefined);
        expect(silent).toEqual([]);
        report.section('Connections', [
          'Each was tried with packets. Those that must not come about were tried again without the policies, and then did.',
          '',
          ...table(
            ['from', 'to', 'port', 'must'],
            connections.map(({ from, to, port, protocol, allowed }) => [
              from,
              nameOf(to),
              protocol === 'DNS' ? `${port} (UDP)` : port,
              allowed ? 'connect' : 'not connect',
            ]),
          ),
        ]);
      },
    );

    const names = new Map<string, string>();
    const nameOf = (to: string): string => names.get(to) ?? to;
    const describeConnection = ({ from, to, port, protocol }: Connection): string =>
      `${from} → ${nameOf(to)}:${port}${protocol === 'DNS' ? ' (UDP)' : ''}`;

    function rows(
      dns: string,
      apiServer: string,
      { internet, privateNetwork, metadata }: Outside,
    ): readonly Connection[] {
      names.set(dns, 'kube-dns');
      names.set(apiServer, 'the API server');
      names.set(internet, 'the internet');
      names.set(privateNetwork, 'a private network');
      names.set(metadata, 'cloud metadata');
      const allowed = (from: string, to: string, port: number): Connection => ({
        from,
        to,
        port,
        allowed: true,
      });
      const denied = (from: string, to: string, port: number): Connection => ({
        from,
        to,
        port,
        allowed: false,
      });
      const clients = ['api', 'worker', 'migrate'];
      return [
        allowed('traefik', 'api', 8080),
        denied('traefik', 'api', 9090),
        denied('traefik', 'worker', 8081),
        denied('traefik', 'postgres', 5432),
        ...clients.flatMap((from) => [
          allowed(from, 'postgres', 5432),
          allowed(from, dns, 53),
          { from, to: dns, port: 53, protocol: 'DNS' as const, allowed: true },
          // Workers look after the pods of runners.
          from === 'worker' ? allowed(from, apiServer, 6443) : denied(from, apiServer, 6443),
          denied(from, metadata, 80),
          denied(from, privateNetwork, 443),
          denied(from, 'runner', 8080),
        ]),
        allowed('api', 'redis', 6379),
        allowed('worker', 'redis', 6379),
        denied('migrate', 'redis', 6379),
        allowed('backup', 'postgres', 5432),
        allowed('backup', dns, 53),
        denied('backup', 'redis', 6379),
        denied('backup', 'api', 8080),
        denied('backup', apiServer, 6443),
        denied('backup', internet, 443),
        allowed('worker', internet, 443),
        allowed('worker', internet, 5432),
        denied('api', internet, 443),
        denied('migrate', internet, 443),
        denied('api', 'worker', 8081),
        denied('worker', 'api', 8080),
        denied('worker', 'api', 9090),
        ...['postgres', 'redis'].flatMap((from) => [
          denied(from, 'api', 8080),
          denied(from, dns, 53),
          denied(from, internet, 443),
        ]),
        allowed('monitoring', 'api', 9090),
        allowed('monitoring', 'worker', 8081),
        denied('monitoring', 'api', 8080),
        denied('monitoring', 'postgres', 5432),
        ...TRACES.flatMap(({ containerPort }) => [
          allowed('api', 'monitoring', containerPort),
          allowed('worker', 'monitoring', containerPort),
          ...['migrate', 'runner'].map((from) => denied(from, 'monitoring', containerPort)),
          // Elsewhere the same port is not the collector's.
          ...['api', 'worker'].map((from) => denied(from, 'millrace-test-neighbour', containerPort)),
        ]),
        allowed('keda', 'worker', 8081),
        denied('keda', 'api', 9090),
        ...['runner', 'millrace-test-neighbour'].flatMap((from) => [
          denied(from, 'api', 8080),
          denied(from, 'api', 9090),
          denied(from, 'worker', 8081),
          denied(from, 'postgres', 5432),
          denied(from, 'redis', 6379),
        ]),
        allowed('runner', 'worker', 8082),
        denied('millrace-test-neighbour', 'worker', 8082),
        denied('api', 'worker', 8082),
        denied('runner', dns, 53),
        { from: 'runner', to: dns, port: 53, protocol: 'DNS', allowed: false },
        denied('runner', apiServer, 6443),
        denied('runner', metadata, 80),
        denied('runner', internet, 443),
        denied('runner', privateNetwork, 443),
        denied('runner', 'runner-beside', 8080),
        denied('runner', 'traefik', 8080),
        denied('millrace-test-neighbour', 'runner', 8080),
      ];
    }
  });
}
