import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Environment } from '../../support/manifests.ts';
import { waitFor } from '../../support/wait-for.ts';
import { withApi } from '../harness/api.ts';
import { ensureKinds } from '../harness/crds.ts';
import { expectNoDrift } from '../harness/drift.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { podsOf, settled, type Deployment, type List } from '../harness/kubectl.ts';
import { makeSecret } from '../harness/staging.ts';
import { HELLO } from './development.ts';
import type { Part } from './part.ts';

const PARTS = [
  'cluster',
  'secrets',
  'policies',
  'disruption-budgets',
  'warm-pool',
  'workloads',
  'ingress',
  'monitoring',
];

interface Autoscaler {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly minReplicas: number; readonly maxReplicas: number };
}

export function describeEnvironments({ cluster, kubectl, isShort }: Part): void {
  const environments = [
    ['staging', ['staging-millrace-api-hpa 2-6', 'staging-millrace-worker-hpa 2-10'], '1 1'],
    ['production', ['prod-millrace-api-hpa 3-20', 'prod-millrace-worker-hpa 3-30'], '2 2'],
  ] as const;
  // Production has what staging has, and more of it.
  describe.each(environments.slice(isShort ? 1 : 0))(
    '%s',
    (environment: Environment, autoscalers, budgets) => {
      let installation: Installation;
      let restoreKinds: () => Promise<void>;

      beforeAll(async () => {
        restoreKinds = await ensureKinds(kubectl);
        installation = await createInstallation(kubectl, cluster.images, environment, {
          platform: ['postgres', 'redis'],
          // A node of two cores is full with the rest.
          warmPool: 0,
        });
      }, 60_000);
      afterAll(async () => {
        await installation.remove();
        await restoreKinds();
      }, 240_000);

      it(
        'is accepted part after part, and applying all of it then changes nothing',
        { timeout: 240_000 },
        async () => {
          for (const part of PARTS) {
            const { code, stderr } = await installation.apply(['--selector', `millrace.dev/part=${part}`]);
            // Some environments have nothing of a part.
            if (!stderr.includes('no objects passed to apply')) expect(code, `${part}: ${stderr}`).toBe(0);
          }
          await expectNoDrift(kubectl, installation);
        },
      );

      it('has its autoscalers, budgets, quotas and policies', async () => {
        const scalers = await kubectl.get<List<Autoscaler>>(
          installation.namespace,
          'horizontalpodautoscalers',
        );
        expect(
          scalers.items.map(
            ({ metadata, spec }) => `${metadata.name} ${spec.minReplicas}-${spec.maxReplicas}`,
          ),
        ).toEqual(autoscalers);
        expect(
          await kubectl.run([
            '--namespace',
            installation.namespace,
            'get',
            'poddisruptionbudgets',
            '--output',
            'jsonpath={.items[*].spec.minAvailable}',
          ]),
        ).toBe(budgets);
        for (const namespace of [installation.namespace, installation.runners]) {
          for (const kind of ['resourcequotas', 'limitranges', 'networkpolicies']) {
            const { items } = await kubectl.get<List<unknown>>(namespace, kind);
            expect(items.length, `${kind} of ${namespace}`).toBeGreaterThan(0);
          }
        }
      });

      it('has its pods admitted, in the number that the autoscalers want', { timeout: 120_000 }, async () => {
        for (const component of ['api', 'worker']) {
          const wanted = environment === 'production' ? 3 : 2;
          await waitFor(
            async () =>
              (await podsOf(kubectl, installation.namespace, `component=${component}`)).length >= wanted,
            { timeoutMs: 60_000, intervalMs: 1000, what: `${wanted} pods of ${component}` },
          );
          const { status } = await kubectl.get<Deployment>(
            installation.namespace,
            'deployment',
            `${installation.prefix}-millrace-${component}`,
          );
          // Pod Security or a quota that refuses pods shows here.
          expect(status.conditions?.filter(({ type }) => type === 'ReplicaFailure') ?? []).toEqual([]);
        }
      });

      // Staging is put to more in the tests under load.
      it.runIf(cluster.isKit && !isShort && environment === 'production')(
        'is ready once it has its Secret and databases, and takes a webhook',
        { timeout: 300_000 },
        async () => {
          const { namespace, prefix } = installation;
          const inNamespace = (...args: readonly string[]): Promise<string> =>
            kubectl.run(['--namespace', namespace, ...args]);
          // There is room for one of each, and a node of tests is in no zone.
          await inNamespace('delete', 'horizontalpodautoscalers', '--all');
          const deployments = ['api', 'worker'].map((component) => `${prefix}-millrace-${component}`);
          await inNamespace('scale', 'deployment', ...deployments, '--replicas', '1');
          await kubectl.run(['label', 'node', '--all', '--overwrite', 'topology.kubernetes.io/zone=test']);
          await makeSecret(installation);
          for (const deployment of deployments) await settled(kubectl, namespace, deployment);
          await withApi(kubectl, installation, async (client) => {
            const { hook } = await client.deploy(HELLO);
            const reply = await client.post(hook, { name: 'production' });
            expect(reply.status, reply.text).toBe(202);
            expect(await client.finished(reply.data.executionId as string, 60_000)).toMatchObject({
              state: 'succeeded',
              output: 'hello production',
            });
          });
        },
      );
    },
  );
}
