import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';
import { installController, type Controller } from '../harness/controllers.ts';
import { expectNoDrift } from '../harness/drift.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { findKit } from '../harness/kit.ts';
import { removeNamespaces, settled, type Kubectl, type KubernetesObject } from '../harness/kubectl.ts';
import { NOT_RUN } from '../harness/report.ts';
import { secretOf, type Values } from '../harness/secret.ts';
import { expectChangeToArrive } from './changed-secrets.ts';
import type { Part } from './part.ts';

const SECRET = 'dev-millrace-secrets';
const STORE = 'millrace-test-store';
/** Under which the component finds it in the store. */
const KEPT = 'dev-millrace';
/** What the component does not have: its first API key, and the passwords of its own databases. */
const OF_DEVELOPMENT = ['bootstrap-api-key', 'postgres-password', 'redis-password'];

/** Of the report. */
const SEALED_ANEW = 'A Secret sealed anew';
const CHANGED_IN_STORE = 'A secret changed in its store';

interface Sealed {
  readonly spec: { readonly encryptedData: Values };
}

interface Owned extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & {
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[];
  };
}

/** Development with the components for secrets, and with the controllers that they are for. */
export function describeSecrets(part: Part): void {
  if (!part.isAll) {
    for (const title of [SEALED_ANEW, CHANGED_IN_STORE]) part.report.section(title, [NOT_RUN]);
  }
  describe.runIf(part.isAll)('development, whose Secret a controller makes', () => {
    describeSealedSecrets(part);
    describeExternalSecrets(part);
  });
}

function describeSealedSecrets({ cluster, kubectl, report }: Part): void {
  describe('sealed-secrets', () => {
    let controller: Controller;
    let dev: Installation;

    beforeAll(async () => {
      controller = await installController(kubectl, await findKit(process.env), 'sealed-secrets');
      dev = await createInstallation(kubectl, cluster.images, 'development', {
        platform: ['sealed-secrets'],
        resources: { 'sealed-secret.yaml': '# sealed below\n' },
      });
    }, 1_800_000);
    afterAll(async () => {
      await dev.remove();
      await controller.remove();
    }, 300_000);

    /** With kubeseal, which looks for the controller where it usually is. */
    const seal = async (line: string, env: NodeJS.ProcessEnv = {}): Promise<string> => {
      const { code, stdout, stderr } = await dev.command(line, {
        PATH: `${controller.programs}:${kubectl.env['PATH']}`,
        SEALED_SECRETS_CONTROLLER_NAMESPACE: 'millrace-test-sealed-secrets',
        ...env,
      });
      expect(code, `${line}\n${stderr}`).toBe(0);
      return stdout.trim();
    };
    const file = (): string => join(dev.overlay, 'platform/sealed-secret.yaml');
    const apply = async (): Promise<void> => {
      const { code, stderr } = await dev.apply();
      expect(code, stderr).toBe(0);
    };

    it(
      'opens what was sealed as its README says, and the platform starts',
      { timeout: 400_000 },
      async () => {
        const [all] = await sealing();
        await seal(all);
        expect(await readFile(file(), 'utf8')).toMatch(/^ {4}jwt-secret: Ag/m);
        await apply();

        await allSettled(kubectl, dev);
        expect(await ownersOf(kubectl, dev)).toEqual([`SealedSecret ${SECRET}`]);
        await expectNoDrift(kubectl, dev);
      },
    );

    it('brings a value that was sealed anew to the processes', { timeout: 480_000 }, async () => {
      const seconds = await expectChangeToArrive(kubectl, dev, async (values) => {
        const [, one] = await sealing();
        const sealed = parse(await readFile(file(), 'utf8')) as Sealed;
        const encryptedData: Record<string, string> = { ...sealed.spec.encryptedData };
        for (const [key, VALUE] of Object.entries(values)) encryptedData[key] = await seal(one, { VALUE });
        await writeFile(file(), stringify({ ...sealed, spec: { ...sealed.spec, encryptedData } }));
        await apply();
      });
      report.section(SEALED_ANEW, [
        `API and worker had been started anew with it, and were ready, ${seconds} s after it was sealed.`,
      ]);
    });
  });
}

function describeExternalSecrets({ cluster, kubectl, report }: Part): void {
  describe('external-secrets', () => {
    let controller: Controller;
    let dev: Installation;

    beforeAll(async () => {
      controller = await installController(kubectl, await findKit(process.env), 'external-secrets');
      dev = await createInstallation(kubectl, cluster.images, 'development', {
        platform: ['external-secrets'],
        resources: { 'store.yaml': storeManifest() },
      });
      await extendExternalSecret(dev);
      const made = await dev.command('scripts/make-kubernetes-secret development');
      const { stringData } = JSON.parse(made.stdout) as { readonly stringData: Values };
      const applied = await kubectl.apply(storeObjects(dev.namespace, stringData));
      expect(applied.code, applied.stderr).toBe(0);
    }, 1_800_000);
    afterAll(async () => {
      await dev.remove();
      await removeNamespaces(kubectl, [STORE]);
      await controller.remove();
    }, 300_000);

    const apply = async (): Promise<void> => {
      const { code, stderr } = await dev.apply();
      expect(code, stderr).toBe(0);
    };
    const inStore = (...args: readonly string[]): Promise<string> =>
      kubectl.run(['--namespace', STORE, ...args]);

    it('makes the Secret from what is kept, and the platform starts', { timeout: 400_000 }, async () => {
      await apply();

      await allSettled(kubectl, dev);
      expect(await ownersOf(kubectl, dev)).toEqual([`ExternalSecret ${SECRET}`]);
      await expectNoDrift(kubectl, dev);
    });

    it('brings a value that was changed in the store to the processes', { timeout: 480_000 }, async () => {
      const seconds = await expectChangeToArrive(kubectl, dev, async (values) => {
        await inStore('patch', 'secret', KEPT, '--patch', JSON.stringify({ stringData: values }));
      });
      report.section(CHANGED_IN_STORE, [
        `API and worker had been started anew with it, and were ready, ${seconds} s after the change (External Secrets looked every 5 s).`,
      ]);
    });

    it('leaves the Secret where the store has lost it', { timeout: 120_000 }, async () => {
      const before = await secretOf(kubectl, dev);
      await inStore('delete', 'secret', KEPT);
      await waitFor(async () => (await readiness()) === 'False', {
        timeoutMs: 60_000,
        intervalMs: 500,
        what: 'External Secrets to miss it',
      });
      expect(await secretOf(kubectl, dev)).toEqual(before);
      const restored = await kubectl.apply([secret(STORE, KEPT, before)]);
      expect(restored.code, restored.stderr).toBe(0);
      await waitFor(async () => (await readiness()) === 'True', { timeoutMs: 90_000, intervalMs: 500 });
    });

    it(
      'takes the Secret along with the ExternalSecret, and makes it again',
      { timeout: 120_000 },
      async () => {
        const before = await secretOf(kubectl, dev);
        const inNamespace = ['--namespace', dev.namespace];
        await kubectl.run([...inNamespace, 'delete', 'externalsecret', SECRET, '--timeout', '30s']);
        const isThere = async (): Promise<boolean> =>
          (await kubectl.try([...inNamespace, 'get', 'secret', SECRET])).code === 0;
        await waitFor(async () => !(await isThere()), { timeoutMs: 60_000, intervalMs: 500 });
        await apply();
        await waitFor(isThere, { timeoutMs: 60_000, intervalMs: 500 });
        expect(await secretOf(kubectl, dev)).toEqual(before);
        await allSettled(kubectl, dev);
      },
    );

    const readiness = (): Promise<string> =>
      kubectl.run([
        '--namespace',
        dev.namespace,
        'get',
        'externalsecret',
        SECRET,
        '--output',
        'jsonpath={.status.conditions[?(@.type=="Ready")].status}',
      ]);
  });
}

async function allSettled(kubectl: Kubectl, dev: Installation): Promise<void> {
  for (const name of ['dev-millrace-api', 'dev-millrace-worker']) await settled(kubectl, dev.namespace, name);
}

async function ownersOf(kubectl: Kubectl, dev: Installation): Promise<readonly string[]> {
  const { metadata } = await kubectl.get<Owned>(dev.namespace, 'secret', SECRET);
  return (metadata.ownerReferences ?? []).map(({ kind, name }) => `${kind} ${name}`);
}

const secret = (namespace: string, name: string, stringData: Values): unknown => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace },
  stringData,
});

/** What the README of component sealed-secrets says, for development: staging's databases are elsewhere. */
async function sealing(): Promise<readonly [all: string, one: string]> {
  const readme = join(PROJECT_ROOT, 'deployments/kubernetes/components/sealed-secrets/README.md');
  const text = await readFile(readme, 'utf8');
  const [all = '', one = ''] = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block]) =>
    block!
      .replace('DATABASE_URL=… REDIS_URL=… ', '')
      .replace('millrace-staging', 'millrace-dev')
      .replaceAll('staging-', 'dev-')
      .replaceAll('staging', 'development'),
  );
  expect([all, one]).toEqual([
    expect.stringContaining('| kubeseal '),
    expect.stringContaining('| kubeseal '),
  ]);
  return [all, one];
}

/** A namespace of the cluster instead of a service in a cloud; the rest is as the stores of the component. */
const storeManifest = (): string =>
  [
    {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'millrace-secrets', labels: { 'millrace.dev/part': 'secrets' } },
      automountServiceAccountToken: false,
    },
    {
      apiVersion: 'external-secrets.io/v1',
      kind: 'SecretStore',
      metadata: { name: 'millrace', labels: { 'millrace.dev/part': 'secrets' } },
      spec: {
        provider: {
          kubernetes: {
            remoteNamespace: STORE,
            server: {
              url: 'https://kubernetes.default.svc',
              caProvider: { type: 'ConfigMap', name: 'kube-root-ca.crt', key: 'ca.crt' },
            },
            // Kustomize knows of no names in this kind of store.
            auth: { serviceAccount: { name: 'dev-millrace-secrets' } },
          },
        },
      },
    },
  ]
    .map((one) => stringify(one))
    .join('---\n');

const storeObjects = (namespace: string, kept: Values): readonly unknown[] => [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: STORE } },
  secret(STORE, KEPT, kept),
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'reader', namespace: STORE },
    rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'list', 'watch'] }],
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: 'reader', namespace: STORE },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
    subjects: [{ kind: 'ServiceAccount', name: 'dev-millrace-secrets', namespace }],
  },
];

/** As somebody does who wants more keys, and sooner. */
async function extendExternalSecret({ overlay }: Installation): Promise<void> {
  const file = join(overlay, 'platform/kustomization.yaml');
  const kustomization = parse(await readFile(file, 'utf8')) as { readonly patches: readonly unknown[] };
  const operations = [
    { op: 'replace', path: '/spec/refreshInterval', value: '5s' },
    ...OF_DEVELOPMENT.map((property) => ({
      op: 'add',
      path: '/spec/data/-',
      value: { secretKey: property, remoteRef: { key: 'millrace', property } },
    })),
  ];
  const patch = {
    target: { kind: 'ExternalSecret', name: 'millrace-secrets' },
    patch: stringify(operations),
  };
  await writeFile(file, stringify({ ...kustomization, patches: [...kustomization.patches, patch] }));
}
