import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { issueCertificate } from '../../../src/worker/sandbox/kubernetes/x509.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';
import { withApi } from '../harness/api.ts';
import type { Installation } from '../harness/installation.ts';
import { settled } from '../harness/kubectl.ts';
import { MACHINE, machinePolicy } from '../harness/machine.ts';
import type { Part } from './part.ts';

const README = 'deployments/kubernetes/components/authorities/README.md';
const DAY_MS = 86_400_000;
/** Services of this machine: each has a certificate by an authority of its own. */
const SERVICES = ['test-known', 'test-stranger'] as const;

type Kustomization = Readonly<Record<string, unknown>> & {
  readonly components?: readonly string[];
  readonly configMapGenerator?: readonly {
    readonly literals?: readonly string[];
    readonly [key: string]: unknown;
  }[];
};

/** What the component says, on an installation that is ready: with authorities of one's own, in the overlay. */
export function describeAuthorities({ cluster, kubectl }: Part, installation: () => Installation): void {
  describe.runIf(cluster.isKit)('component authorities', () => {
    let server: Server;
    let port: number;
    let issued: ReadonlyMap<string, ReturnType<typeof issueCertificate>>;
    let before: string;

    const hostOf = (service: string): string => `${service}.${installation().namespace}.svc.cluster.local`;
    const urlOf = (service: string): string => `https://${hostOf(service)}:${port}/`;
    const platform = (file: string): string => join(installation().overlay, 'platform', file);
    const others = () => [
      { ...machinePolicy('worker', 'Egress', port) },
      ...SERVICES.flatMap((name) => [
        { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { clusterIP: 'None' } },
        {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: { name, labels: { 'kubernetes.io/service-name': name } },
          addressType: 'IPv4',
          endpoints: [{ addresses: [MACHINE], conditions: { ready: true } }],
        },
      ]),
    ];

    beforeAll(async () => {
      issued = new Map(
        SERVICES.map((service) => [service, issueCertificate(hostOf(service), Date.now(), DAY_MS)]),
      );
      const contexts = new Map(
        [...issued.values()].map(({ certificate, key }, index) => [
          hostOf(SERVICES[index]!), // one certificate for each
          createSecureContext({ cert: certificate, key }),
        ]),
      );
      server = createServer(
        { SNICallback: (name, done) => done(null, contexts.get(name)) },
        (_request, response) => response.end('at your service'),
      );
      server.on('tlsClientError', () => undefined); // whoever does not trust it goes away
      server.listen(0, MACHINE);
      await once(server, 'listening');
      ({ port } = server.address() as AddressInfo);
      const { namespace } = installation();
      const { code, stderr } = await kubectl.apply(others(), ['--namespace', namespace]);
      expect(code, stderr).toBe(0);
      before = await readFile(platform('kustomization.yaml'), 'utf8');
    });
    afterAll(async () => {
      await writeFile(platform('kustomization.yaml'), before);
      await rm(platform('authorities.pem'), { force: true });
      await rollOut();
      const { namespace } = installation();
      await kubectl.try(['--namespace', namespace, 'delete', '--filename', '-', '--ignore-not-found'], {
        input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: others() }),
      });
      server.closeAllConnections();
      server.close();
    }, 180_000);

    it('brings trust in them to the pods, and in no other', { timeout: 180_000 }, async () => {
      // A pod reaches the service a moment after its name and the policy are there.
      await waitFor(async () => (await askedBy('worker')) === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', {
        timeoutMs: 30_000,
        intervalMs: 1000,
        what: 'a worker that reaches the service, and does not trust it',
      });
      await writeFile(platform('authorities.pem'), issued.get('test-known')!.authority);
      await addAsDocumented();
      await rollOut();

      const { namespace } = installation();
      for (const component of ['api', 'worker']) {
        const extra = await inPod(component, 'require("node:tls").getCACertificates("extra").length');
        expect(extra, `authorities that ${component} of ${namespace} trusts besides`).toBe('1');
      }
      await withApi(kubectl, installation(), async (client) => {
        const called = async (service: string): Promise<Awaited<ReturnType<typeof client.finished>>> => {
          const { hook } = await client.deploy(calling(service));
          const { data } = await client.post(hook, {});
          return client.finished(data.executionId as string, 30_000);
        };
        expect(await called('test-known')).toMatchObject({ state: 'succeeded', output: 'at your service' });
        const refused = await called('test-stranger');
        expect(refused.state).toBe('failed');
        expect(JSON.stringify(refused['error'])).toMatch(/certificate/);
      });
    });

    const calling = (service: string): string => `name: ${service}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: call, http: { url: "${urlOf(service)}" }, retry: { attempts: 1 } }
output: steps.call.output.body
`;

    /** What an expression of JavaScript gives in a pod, with what its process is configured with. */
    const inPod = async (component: string, expression: string): Promise<string> => {
      const { namespace, prefix } = installation();
      const target = `deployment/${prefix}-millrace-${component}`;
      const script = `Promise.resolve(${expression}).then(console.log)`;
      const said = await kubectl.run(['--namespace', namespace, 'exec', target, '--', 'node', '-e', script]);
      return said.trim();
    };
    const askedBy = (component: string): Promise<string> =>
      inPod(
        component,
        `fetch(${JSON.stringify(urlOf('test-known'))}).then((one) => one.status, (error) => error.cause.code)`,
      );

    /** Adds what the README shows to the overlay, and lets steps get to the service. */
    async function addAsDocumented(): Promise<void> {
      const [, block = ''] =
        /^```yaml\n([\s\S]*?)^```$/m.exec(await readFile(join(PROJECT_ROOT, README), 'utf8')) ?? [];
      const shown = parse(block) as Kustomization;
      expect(shown.components).toHaveLength(1);
      const overlay = parse(before) as Kustomization;
      const [config, ...generators] = overlay.configMapGenerator ?? [];
      const literals = [...(config?.literals ?? []), `egress-allow-private=${MACHINE}:${port}`];
      const extended = {
        ...overlay,
        components: [...(overlay.components ?? []), ...(shown.components ?? [])],
        configMapGenerator: [{ ...config, literals }, ...generators, ...(shown.configMapGenerator ?? [])],
      };
      await writeFile(platform('kustomization.yaml'), stringify(extended));
    }

    async function rollOut(): Promise<void> {
      const { namespace, prefix } = installation();
      // A Job is never changed.
      await kubectl.run([
        '--namespace',
        namespace,
        'delete',
        'job',
        `${prefix}-millrace-migrate`,
        '--ignore-not-found',
      ]);
      const { code, stderr } = await installation().apply();
      expect(code, stderr).toBe(0);
      for (const component of ['api', 'worker']) {
        await settled(kubectl, namespace, `${prefix}-millrace-${component}`);
      }
    }
  });
}
