import type { Kubectl } from './kubectl.ts';

/** Kinds of controllers that the cluster has not, so that it knows their names; test/kubernetes checks their schemas. */
const KINDS = [
  { group: 'external-secrets.io', version: 'v1', kind: 'ExternalSecret', plural: 'externalsecrets' },
  { group: 'external-secrets.io', version: 'v1', kind: 'SecretStore', plural: 'secretstores' },
  { group: 'monitoring.coreos.com', version: 'v1', kind: 'ServiceMonitor', plural: 'servicemonitors' },
  { group: 'monitoring.coreos.com', version: 'v1', kind: 'PodMonitor', plural: 'podmonitors' },
  { group: 'monitoring.coreos.com', version: 'v1', kind: 'PrometheusRule', plural: 'prometheusrules' },
  { group: 'cert-manager.io', version: 'v1', kind: 'Certificate', plural: 'certificates' },
  { group: 'cert-manager.io', version: 'v1', kind: 'CertificateRequest', plural: 'certificaterequests' },
  { group: 'acme.cert-manager.io', version: 'v1', kind: 'Challenge', plural: 'challenges' },
  { group: 'keda.sh', version: 'v1alpha1', kind: 'ScaledObject', plural: 'scaledobjects' },
] as const;

/** @returns what takes those away again that were not there */
export async function ensureKinds(kubectl: Kubectl): Promise<() => Promise<void>> {
  const made: string[] = [];
  for (const { group, version, kind, plural } of KINDS) {
    const name = `${plural}.${group}`;
    if ((await kubectl.try(['get', 'customresourcedefinition', name])).code === 0) continue;
    const schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const { code, stderr } = await kubectl.apply([
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name },
        spec: {
          group,
          scope: 'Namespaced',
          names: { kind, plural, singular: kind.toLowerCase() },
          versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: schema } }],
        },
      },
    ]);
    if (code !== 0) throw new Error(`${name} was not accepted: ${stderr}`);
    await kubectl.run(['wait', '--for', 'condition=Established', `customresourcedefinition/${name}`]);
    made.push(name);
  }
  return async () => {
    if (made.length > 0)
      await kubectl.run(['delete', 'customresourcedefinition', ...made, '--timeout', '30s']);
  };
}
