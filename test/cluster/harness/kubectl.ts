import { waitFor } from '../../support/wait-for.ts';
import type { Access } from './kit.ts';
import { run, runWell, type Ran, type RunOptions } from './run.ts';

/** kubectl of one cluster. */
export interface Kubectl {
  readonly env: NodeJS.ProcessEnv;
  /** Never rejects for how it ended. */
  try(args: readonly string[], options?: RunOptions): Promise<Ran>;
  /** @throws Error with what it said, unless it ended well */
  run(args: readonly string[], options?: RunOptions): Promise<string>;
  /** What `kubectl get … -o json` says. */
  get<T = KubernetesObject>(namespace: string, ...what: readonly string[]): Promise<T>;
  apply(objects: readonly unknown[], args?: readonly string[]): Promise<Ran>;
}

export interface KubernetesObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    /** Of its spec: one more with each change. */
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
}

export interface List<T> {
  readonly items: readonly T[];
}

export interface Pod extends KubernetesObject {
  readonly spec: { readonly containers: readonly { readonly name: string; readonly image: string }[] };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
    }[];
    readonly containerStatuses?: readonly { readonly restartCount: number; readonly ready: boolean }[];
  };
}

export interface Deployment extends KubernetesObject {
  readonly spec: { readonly replicas: number };
  readonly status: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
  };
}

export function createKubectl({ kubeconfig, path }: Access): Kubectl {
  const env = { ...process.env, KUBECONFIG: kubeconfig, PATH: path };
  const kubectl: Kubectl = {
    env,
    try: (args, options) => run(['kubectl', ...args], { env, ...options }),
    run: (args, options) => runWell(['kubectl', ...args], { env, ...options }),
    async get(namespace, ...what) {
      return JSON.parse(await kubectl.run(['--namespace', namespace, 'get', ...what, '--output', 'json']));
    },
    apply: (items, args = []) =>
      kubectl.try(['apply', '--filename', '-', ...args], {
        input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
      }),
  };
  return kubectl;
}

export const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  status.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;

export const podsOf = async (
  kubectl: Kubectl,
  namespace: string,
  selector: string,
): Promise<readonly Pod[]> => (await kubectl.get<List<Pod>>(namespace, 'pods', '--selector', selector)).items;

/** Waits until a Deployment has all its pods of the newest kind, ready, and none that still goes. */
export async function settled(
  kubectl: Kubectl,
  namespace: string,
  deployment: string,
  timeoutMs = 240_000,
): Promise<void> {
  await waitFor(
    async () => {
      const { metadata, spec, status } = await kubectl.get<Deployment>(namespace, 'deployment', deployment);
      const component = metadata.labels?.['app.kubernetes.io/component'] ?? '';
      const pods = await podsOf(kubectl, namespace, `app.kubernetes.io/component=${component}`);
      return (
        status.observedGeneration === metadata.generation &&
        status.updatedReplicas === spec.replicas &&
        status.readyReplicas === spec.replicas &&
        pods.length === spec.replicas
      );
    },
    { timeoutMs, intervalMs: 500, what: `${deployment} to settle` },
  );
}

/** Deletes namespaces without giving their pods time: nothing in them is wanted any more. */
export async function removeNamespaces(kubectl: Kubectl, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await kubectl.try([
      '--namespace',
      name,
      'delete',
      'deployments,statefulsets,jobs,horizontalpodautoscalers,poddisruptionbudgets',
      '--all',
      '--ignore-not-found',
      '--wait=false',
      '--cascade=background',
    ]);
    await kubectl.try(['--namespace', name, 'delete', 'pods', '--all', '--force', '--grace-period=0']);
  }
  const args = ['delete', 'namespace', ...names, '--ignore-not-found', '--timeout', '170s'];
  await kubectl.run(args, { timeoutMs: 180_000 });
}
