import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { cacheDirectory } from './cache-directory.ts';
import { PROJECT_ROOT } from './processes.ts';

const run = promisify(execFile);

export const ENVIRONMENTS = ['development', 'staging', 'production'] as const;
export type Environment = (typeof ENVIRONMENTS)[number];
export const MANIFESTS = join(PROJECT_ROOT, 'deployments/kubernetes');

/** Which prefix and namespaces belong to an environment. */
export const PREFIX: Readonly<Record<Environment, string>> = {
  development: 'dev',
  staging: 'staging',
  production: 'prod',
};

type Labels = Readonly<Record<string, string>>;

export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: 'In';
    readonly values: readonly string[];
  }[];
}

export interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly configMapKeyRef?: { readonly name: string; readonly key: string };
    readonly secretKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
    readonly fieldRef?: { readonly fieldPath: string };
  };
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly EnvironmentVariable[];
  readonly envFrom?: unknown;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
  readonly resources?: Readonly<Record<'requests' | 'limits', Readonly<Record<string, string>>>>;
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface PodSpec {
  readonly runtimeClassName?: string;
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly {
    readonly name: string;
    readonly hostPath?: unknown;
    readonly secret?: {
      readonly secretName: string;
      readonly items?: readonly { readonly key: string; readonly path: string }[];
    };
    readonly configMap?: { readonly name: string };
    readonly persistentVolumeClaim?: { readonly claimName: string };
    readonly projected?: { readonly sources: readonly Readonly<Record<string, unknown>>[] };
  }[];
}

interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Meta;
}

export interface Workload extends Manifest {
  readonly spec: {
    readonly replicas?: number;
    readonly selector?: LabelSelector;
    readonly strategy?: { readonly rollingUpdate?: { readonly maxSurge: number } };
    readonly template: { readonly metadata: { readonly labels: Labels }; readonly spec: PodSpec };
  };
}

export interface Peer {
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
export interface Rule {
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
  readonly ports?: readonly {
    readonly protocol: string;
    readonly port: number | string;
    readonly endPort?: number;
  }[];
}

/** The kinds that tests look into, as far as they look. */
export interface Kinds {
  readonly ConfigMap: Manifest & { readonly data: Labels };
  readonly Deployment: Workload;
  readonly StatefulSet: Workload;
  readonly DaemonSet: Workload;
  readonly PodTemplate: Manifest & { readonly template: Workload['spec']['template'] };
  readonly Job: Workload;
  readonly CronJob: Manifest & {
    readonly spec: {
      readonly schedule: string;
      readonly suspend?: boolean;
      readonly jobTemplate: { readonly spec: Workload['spec'] };
    };
  };
  readonly PersistentVolumeClaim: Manifest;
  readonly Service: Manifest & {
    readonly spec: {
      readonly type?: string;
      readonly selector: Labels;
      readonly ports: readonly {
        readonly name: string;
        readonly port: number;
        readonly targetPort: string;
        readonly nodePort?: number;
      }[];
    };
  };
  readonly HorizontalPodAutoscaler: Manifest & {
    readonly spec: {
      readonly scaleTargetRef: { readonly kind: string; readonly name: string };
      readonly minReplicas: number;
      readonly maxReplicas: number;
      readonly metrics: readonly {
        readonly resource: {
          readonly name: string;
          readonly target: { readonly averageUtilization: number };
        };
      }[];
    };
  };
  readonly PodDisruptionBudget: Manifest & {
    readonly spec: {
      readonly minAvailable?: number;
      readonly maxUnavailable?: string;
      readonly selector: LabelSelector;
    };
  };
  readonly Ingress: Manifest & {
    readonly spec: {
      readonly tls?: readonly { readonly hosts: readonly string[]; readonly secretName: string }[];
      readonly rules: readonly {
        readonly host: string;
        readonly http: {
          readonly paths: readonly {
            readonly path: string;
            readonly backend: {
              readonly service: { readonly name: string; readonly port: { readonly name: string } };
            };
          }[];
        };
      }[];
    };
  };
  readonly NetworkPolicy: Manifest & {
    readonly spec: {
      readonly podSelector: LabelSelector;
      readonly policyTypes: readonly ('Ingress' | 'Egress')[];
      readonly ingress?: readonly Rule[];
      readonly egress?: readonly Rule[];
    };
  };
  readonly Namespace: Manifest;
  readonly ResourceQuota: Manifest & { readonly spec: { readonly hard: Labels } };
  readonly Role: Manifest & {
    readonly rules: readonly (Readonly<Record<'apiGroups' | 'resources' | 'verbs', readonly string[]>> & {
      readonly resourceNames?: readonly string[];
    })[];
  };
  readonly ClusterRole: Kinds['Role'];
  readonly RoleBinding: Manifest & {
    readonly roleRef: { readonly kind: string; readonly name: string };
    readonly subjects: readonly {
      readonly kind: string;
      readonly name: string;
      readonly namespace?: string;
    }[];
  };
  readonly ClusterRoleBinding: Kinds['RoleBinding'];
  readonly Secret: Manifest & { readonly data?: unknown; readonly stringData?: unknown };
  readonly ServiceAccount: Manifest & { readonly automountServiceAccountToken?: boolean };
  readonly RuntimeClass: Manifest & { readonly handler: string; readonly scheduling?: unknown };
  readonly ValidatingAdmissionPolicy: Manifest & {
    readonly spec: {
      readonly matchConstraints: { readonly namespaceSelector: LabelSelector };
      readonly variables: readonly { readonly name: string; readonly expression: string }[];
      readonly validations: readonly { readonly expression: string; readonly message: string }[];
    };
  };
  readonly ValidatingAdmissionPolicyBinding: Manifest & {
    readonly spec: { readonly policyName: string; readonly validationActions: readonly string[] };
  };
  readonly ExternalSecret: Manifest & {
    readonly spec: {
      readonly secretStoreRef: { readonly name: string };
      readonly target: { readonly name: string };
      readonly data: readonly { readonly secretKey: string; readonly remoteRef: { readonly key: string } }[];
    };
  };
  readonly SecretStore: Manifest & { readonly spec: { readonly provider: unknown } };
  readonly SealedSecret: Manifest & {
    readonly spec: { readonly template: { readonly metadata: Meta } };
  };
  readonly ScaledObject: Manifest & {
    readonly spec: {
      readonly scaleTargetRef: { readonly name: string };
      readonly minReplicaCount: number;
      readonly maxReplicaCount: number;
      readonly advanced: { readonly horizontalPodAutoscalerConfig: { readonly name: string } };
      readonly triggers: readonly {
        readonly type: string;
        readonly metricType: string;
        readonly metadata: Labels;
      }[];
    };
  };
  readonly ServiceMonitor: Manifest & {
    readonly spec: {
      readonly selector: LabelSelector;
      readonly endpoints: readonly { readonly port: string; readonly path: string }[];
    };
  };
  readonly PodMonitor: Manifest & {
    readonly spec: {
      readonly selector: LabelSelector;
      readonly podMetricsEndpoints: readonly { readonly port: string; readonly path: string }[];
    };
  };
  readonly HTTPRoute: Manifest & {
    readonly spec: {
      readonly hostnames: readonly string[];
      readonly parentRefs: readonly { readonly name: string; readonly sectionName: string }[];
      readonly rules: readonly {
        readonly matches: readonly { readonly path: { readonly value: string } }[];
        readonly backendRefs: readonly { readonly name: string; readonly port: number }[];
      }[];
    };
  };
  readonly Gateway: Manifest & {
    readonly spec: { readonly listeners: readonly { readonly name: string; readonly hostname: string }[] };
  };
}

/** What Kustomize makes of a folder. */
export interface Rendered {
  readonly text: string;
  readonly all: readonly Manifest[];
  of<K extends keyof Kinds>(kind: K): readonly Kinds[K][];
  /** @throws when there is not exactly one of that name; without a name, of that kind */
  one<K extends keyof Kinds>(kind: K, name?: string): Kinds[K];
}

/** What API and workers are configured with. */
export function configurationOf(rendered: Rendered): Kinds['ConfigMap'] {
  const [configuration, ...others] = rendered
    .of('ConfigMap')
    .filter(({ metadata }) => metadata.name.includes('millrace-config'));
  if (configuration === undefined || others.length > 0) throw new Error('one configuration was expected');
  return configuration;
}

/** Everything that makes pods. */
export const workloadsOf = (rendered: Rendered): readonly Workload[] => [
  ...(['Deployment', 'StatefulSet', 'DaemonSet', 'Job'] as const).flatMap((kind) => rendered.of(kind)),
  ...rendered
    .of('CronJob')
    .map(({ spec, ...manifest }): Workload => ({ ...manifest, spec: spec.jobTemplate.spec })),
];

/** A program that scripts/setup-test-machine has built. */
export const tool = (name: string): string => join(cacheDirectory(), 'tools', name);

export async function render(folder: string): Promise<Rendered> {
  const { stdout } = await run(tool('kustomize'), ['build', folder], { maxBuffer: 16 * 1024 * 1024 });
  return parseRendered(stdout);
}

export function parseRendered(text: string): Rendered {
  const all = parseAllDocuments(text).map((document) => document.toJS() as Manifest);
  const of = <K extends keyof Kinds>(kind: K): readonly Kinds[K][] =>
    all.filter((one) => one.kind === kind) as unknown as readonly Kinds[K][];
  return {
    text,
    all,
    of,
    one(kind, name) {
      const found = of(kind).filter((one) => name === undefined || one.metadata.name === name);
      if (found.length !== 1)
        throw new Error(`${found.length} objects are ${kind} ${name ?? ''}: one was expected`);
      return found[0]!;
    },
  };
}

// The files do not change while tests look at them.
const environments = new Map<Environment, Promise<Rendered>>();

export function renderEnvironment(environment: Environment): Promise<Rendered> {
  const rendering = environments.get(environment) ?? render(join(MANIFESTS, 'overlays', environment));
  environments.set(environment, rendering);
  return rendering;
}

export interface Additions {
  /** Components for the namespace of the platform. */
  readonly platform?: readonly string[];
  /** Components for the namespace of runners. */
  readonly runners?: readonly string[];
  /** Components for what all environments share. */
  readonly cluster?: readonly string[];
  /** What a rollout sets, as `kustomize edit set image` takes it. */
  readonly images?: readonly string[];
  /** Further files beside the platform's kustomization. */
  readonly resources?: Readonly<Record<string, string>>;
  /** Further keys of the ConfigMap. */
  readonly literals?: readonly string[];
  /** Further patches of the namespace of runners. */
  readonly runnerPatches?: readonly unknown[];
  /** How many runners of each runtime wait, where that is not the overlay's number. */
  readonly warmPool?: number;
}

/** The overlay as somebody has it who has added components as their README says. */
export async function renderWith(environment: Environment, additions: Additions): Promise<Rendered> {
  const copy = await mkdtemp(join(tmpdir(), 'millrace-manifests-'));
  try {
    await cp(MANIFESTS, copy, { recursive: true });
    return await render(await extendOverlay(copy, environment, additions));
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/**
 * Adds to an overlay in a copy of the manifests.
 *
 * @returns the overlay's folder
 */
export async function extendOverlay(
  copy: string,
  environment: Environment,
  additions: Additions,
): Promise<string> {
  const overlay = join(copy, 'overlays', environment);
  const platform = join(overlay, 'platform');
  await extend(
    platform,
    'components',
    (additions.platform ?? []).map((name) => `../../../components/${name}`),
  );
  await extendRunners(overlay, additions);
  await extend(platform, 'resources', Object.keys(additions.resources ?? {}));
  for (const [file, text] of Object.entries(additions.resources ?? {})) {
    await writeFile(join(platform, file), text);
  }
  if (additions.literals !== undefined) await extendConfig(platform, additions.literals);
  if (additions.images !== undefined) {
    await run(tool('kustomize'), ['edit', 'set', 'image', ...additions.images], { cwd: overlay });
  }
  if (additions.warmPool !== undefined) {
    const replicas = ['runner-warm-pool', 'runner-warm-pool-python'].map(
      (name) => `${name}=${additions.warmPool}`,
    );
    await run(tool('kustomize'), ['edit', 'set', 'replicas', ...replicas], { cwd: join(overlay, 'runners') });
  }
  await extend(
    overlay,
    'components',
    (additions.cluster ?? []).map((name) => `../../components/${name}`),
  );
  return overlay;
}

/** Adds to the runners of an overlay, also of one that is in use already. */
export async function extendRunners(
  overlay: string,
  { runners = [], runnerPatches = [] }: Pick<Additions, 'runners' | 'runnerPatches'>,
): Promise<void> {
  const folder = join(overlay, 'runners');
  await extend(
    folder,
    'components',
    runners.map((name) => `../../../components/${name}`),
  );
  if (runners.includes('keda-runners')) await withoutReplicas(folder);
  await extend(folder, 'patches', runnerPatches);
}

/** As component `keda-runners` asks for. */
async function withoutReplicas(folder: string): Promise<void> {
  const file = join(folder, 'kustomization.yaml');
  const { replicas: _, ...rest } = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  await writeFile(file, stringify(rest));
}

async function extendConfig(folder: string, literals: readonly string[]): Promise<void> {
  const file = join(folder, 'kustomization.yaml');
  const kustomization = parse(await readFile(file, 'utf8')) as {
    readonly configMapGenerator: readonly { readonly literals: readonly string[] }[];
  };
  const [generator, ...others] = kustomization.configMapGenerator;
  const extended = { ...generator, literals: [...(generator?.literals ?? []), ...literals] };
  await writeFile(file, stringify({ ...kustomization, configMapGenerator: [extended, ...others] }));
}

async function extend(
  folder: string,
  list: 'components' | 'resources' | 'patches',
  more: readonly unknown[],
): Promise<void> {
  const file = join(folder, 'kustomization.yaml');
  const kustomization = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  const before = (kustomization[list] ?? []) as readonly unknown[];
  await writeFile(file, stringify({ ...kustomization, [list]: [...before, ...more] }));
}

/** What the README of component `prepull` adds for the images of container steps. */
export async function stepImagePatches(): Promise<readonly unknown[]> {
  const readme = await readFile(join(MANIFESTS, 'components/prepull/README.md'), 'utf8');
  const [, block] = /```yaml\n(patches:\n[^`]*)```/.exec(readme)!; // a README without it fails whoever asks
  return (parse(block!) as { readonly patches: readonly unknown[] }).patches;
}

/** Every component that an overlay of somebody may have, in one; but for those of {@link OTHERS}. */
export const renderEverything = (): Promise<Rendered> =>
  renderWith('staging', {
    platform: ['external-secrets', 'external-secrets/aws', 'gateway-api', 'keda', 'monitoring', 'nodeport'],
    runners: ['keda-runners', 'prepull'],
    cluster: ['gke-sandbox', 'gvisor-installer'],
  });

const SEALED_SECRET = `
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: { name: millrace-secrets }
spec:
  encryptedData: { database-url: AgBy, redis-url: AgBy, jwt-secret: AgBy, encryption-key: AgBy }
  template: { metadata: { name: millrace-secrets } }
`;
const AUTHORITIES = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: millrace-authorities
  labels: { app.kubernetes.io/part-of: millrace, millrace.dev/part: workloads }
data: { authorities.pem: certificates }
`;

/** Components that stand instead of others, with the files that are somebody's own. */
export const OTHERS = {
  'sealed-secrets': async () =>
    renderWith('staging', {
      platform: ['sealed-secrets', 'authorities'],
      resources: { 'sealed-secret.yaml': SEALED_SECRET, 'authorities.yaml': AUTHORITIES },
      runners: ['prepull'],
      runnerPatches: await stepImagePatches(),
    }),
  vault: () => renderWith('staging', { platform: ['external-secrets', 'external-secrets/vault'] }),
} satisfies Readonly<Record<string, () => Promise<Rendered>>>;

export function matches(selector: LabelSelector, labels: Labels): boolean {
  const equal = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return (
    equal && (selector.matchExpressions ?? []).every(({ key, values }) => values.includes(labels[key] ?? ''))
  );
}
