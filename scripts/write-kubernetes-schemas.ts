// Writes test/kubernetes/schemas, against which the tests check manifests: `node scripts/write-kubernetes-schemas.ts`. The
// schemas come from the Go modules of Kubernetes and of those whose kinds the components use; it needs Go, and downloads
// some 200 MB when they are not in Go's cache.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

/** The oldest Kubernetes that is supported, and the newest that it is tested with. */
const KUBERNETES = { 'v1.30': 'v1.30.14', 'v1.34': 'v1.34.1' } as const;

/** Kinds of Kubernetes that the manifests have. */
const KINDS: readonly string[] = [
  'v1 ConfigMap',
  'v1 LimitRange',
  'v1 Namespace',
  'v1 PodTemplate',
  'v1 PersistentVolumeClaim',
  'v1 ResourceQuota',
  'v1 Secret',
  'v1 Service',
  'v1 ServiceAccount',
  'admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy',
  'admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding',
  'apps/v1 DaemonSet',
  'apps/v1 Deployment',
  'apps/v1 StatefulSet',
  'autoscaling/v2 HorizontalPodAutoscaler',
  'batch/v1 CronJob',
  'batch/v1 Job',
  'networking.k8s.io/v1 Ingress',
  'networking.k8s.io/v1 NetworkPolicy',
  'node.k8s.io/v1 RuntimeClass',
  'policy/v1 PodDisruptionBudget',
  'rbac.authorization.k8s.io/v1 ClusterRole',
  'rbac.authorization.k8s.io/v1 ClusterRoleBinding',
  'rbac.authorization.k8s.io/v1 Role',
  'rbac.authorization.k8s.io/v1 RoleBinding',
];

/** Definitions of kinds that others bring along: module, file, and the version of the kind that is used. */
const CUSTOM: readonly (readonly [module: string, file: string, version: string])[] = [
  [
    'github.com/external-secrets/external-secrets@v1.3.2',
    'config/crds/bases/external-secrets.io_externalsecrets.yaml',
    'v1',
  ],
  [
    'github.com/external-secrets/external-secrets@v1.3.2',
    'config/crds/bases/external-secrets.io_secretstores.yaml',
    'v1',
  ],
  [
    'github.com/bitnami-labs/sealed-secrets@v0.40.0',
    'helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml',
    'v1alpha1',
  ],
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml',
    'v1',
  ],
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml',
    'v1',
  ],
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml',
    'v1',
  ],
  ['github.com/kedacore/keda/v2@v2.21.0', 'config/crd/bases/keda.sh_scaledobjects.yaml', 'v1alpha1'],
  ['sigs.k8s.io/gateway-api@v1.3.0', 'config/crd/standard/gateway.networking.k8s.io_gateways.yaml', 'v1'],
  ['sigs.k8s.io/gateway-api@v1.3.0', 'config/crd/standard/gateway.networking.k8s.io_httproutes.yaml', 'v1'],
];

interface Schema {
  readonly [key: string]: unknown;
}
interface Swagger {
  readonly definitions: Readonly<Record<string, Schema>>;
}
interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

const target = fileURLToPath(new URL('../test/kubernetes/schemas/', import.meta.url));
const DEFINITION = '#/definitions/';

function moduleFolder(module: string): string {
  const answer = execFileSync('go', ['mod', 'download', '-json', module], { encoding: 'utf8', cwd: '/' });
  return (JSON.parse(answer) as { readonly Dir: string }).Dir;
}

/** As kubeconform looks for it: `deployment-apps-v1.json`. */
const fileNameOf = ({ group, version, kind }: GroupVersionKind): string =>
  `${[kind, ...(group === '' ? [] : [group.split('.')[0]]), version].join('-').toLowerCase()}.json`;

const WORDS = new Set(['description', 'externalDocs', 'example', 'title', 'default']);
const LEFT_OUT = (key: string): boolean => WORDS.has(key) || key.startsWith('x-kubernetes-');
const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A schema without its words, and strict: a property that it does not know is a mistake. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (!isObject(schema)) return schema;
  if (schema['x-kubernetes-int-or-string'] === true || schema['format'] === 'int-or-string') {
    return { type: ['string', 'integer'] };
  }
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties' && isObject(value)) {
      // Names of properties, which may be the words of a schema.
      result[key] = Object.fromEntries(Object.entries(value).map(([name, one]) => [name, strict(one)]));
    } else if (key === 'nullable') continue;
    else if (!LEFT_OUT(key)) result[key] = strict(value);
  }
  if (schema['nullable'] === true && typeof result['type'] === 'string')
    result['type'] = [result['type'], 'null'];
  const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true || 'additionalProperties' in schema;
  if (isObject(result['properties']) && !isOpen) result['additionalProperties'] = false;
  return result;
}

/** Those definitions that the named ones need, themselves included. */
function closure(definitions: Swagger['definitions'], names: readonly string[]): readonly string[] {
  const found = new Set<string>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    for (const [, reference] of JSON.stringify(definitions[name]).matchAll(
      /"\$ref":"#\/definitions\/([^"]+)"/g,
    )) {
      open.push(reference!);
    }
  }
  return [...found].sort();
}

const write = (folder: string, name: string, value: unknown): void =>
  writeFileSync(join(folder, name), `${JSON.stringify(value, undefined, 1)}\n`);

function writeKubernetes(folder: string, version: string): void {
  const file = join(moduleFolder(`k8s.io/kubernetes@${version}`), 'api/openapi-spec/swagger.json');
  const { definitions } = JSON.parse(readFileSync(file, 'utf8')) as Swagger;
  const kinds = new Map<string, readonly [definition: string, kind: GroupVersionKind]>();
  for (const [name, schema] of Object.entries(definitions)) {
    const of = schema['x-kubernetes-group-version-kind'] as readonly GroupVersionKind[] | undefined;
    if (of?.length !== 1) continue;
    const [{ group, version: v, kind }] = of as readonly [GroupVersionKind];
    kinds.set(`${group === '' ? v : `${group}/${v}`} ${kind}`, [name, of[0]!]);
  }
  const wanted = KINDS.map((kind) => {
    const found = kinds.get(kind);
    if (found === undefined) throw new Error(`Kubernetes ${version} has no ${kind}`);
    return found;
  });
  for (const [name, kind] of wanted) {
    write(folder, fileNameOf(kind), { $ref: `_definitions.json${DEFINITION}${name}` });
  }
  const names = closure(
    definitions,
    wanted.map(([name]) => name),
  );
  write(folder, '_definitions.json', {
    definitions: Object.fromEntries(
      names.map((name) => [name, adapt(name, strict(definitions[name]) as Schema)]),
    ),
  });
}

/** What the API server takes besides what the definition says: a quantity may be a number. */
const adapt = (name: string, schema: Schema): Schema =>
  name.endsWith('.resource.Quantity') ? { type: ['string', 'number'] } : schema;

interface CustomResourceDefinition {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly {
      readonly name: string;
      readonly schema: { readonly openAPIV3Schema: Schema };
    }[];
  };
}

function writeCustom(folder: string, [module, file, version]: readonly [string, string, string]): void {
  const { spec } = parse(readFileSync(join(moduleFolder(module), file), 'utf8')) as CustomResourceDefinition;
  const found = spec.versions.find(({ name }) => name === version);
  if (found === undefined) throw new Error(`${file} has no version ${version}`);
  const schema = strict(found.schema.openAPIV3Schema) as Schema & { readonly properties: Schema };
  const { status: _, ...properties } = schema.properties;
  write(folder, fileNameOf({ group: spec.group, version, kind: spec.names.kind }), { ...schema, properties });
}

rmSync(target, { recursive: true, force: true });
for (const [name, version] of Object.entries(KUBERNETES)) {
  const folder = join(target, name);
  mkdirSync(folder, { recursive: true });
  writeKubernetes(folder, version);
}
const customFolder = join(target, 'custom');
mkdirSync(customFolder);
for (const definition of CUSTOM) writeCustom(customFolder, definition);
