import { coerceError } from '../../core/errors/app-error.ts';
import { examine, failure, ok, skipped, warning, type Finding } from '../../core/health/finding.ts';
import { z } from '../../core/zod.ts';
import { listOf, podSpec, type Ask, type Workload } from './cluster.ts';
import { examineRunners } from './runners.ts';

const OLDEST = 30;
const OURS = 'labelSelector=app.kubernetes.io%2Fname%3Dmillrace';

/** What is missing in a cluster for Millrace in `namespace`, and the command that makes it. */
export async function examineCluster(
  ask: Ask,
  namespace: string,
  now: () => number = () => Date.now(),
): Promise<readonly Finding[]> {
  let version: z.output<typeof versionShape>;
  try {
    version = versionShape.parse(await ask('/version'));
  } catch (raw) {
    return [
      failure(
        'kubernetes.api_server',
        `the API server cannot be asked: ${coerceError(raw).message}`,
        'set KUBECONFIG, or choose a context with --context; `kubectl version` has to work',
      ),
    ];
  }
  const remedy = 'let the user of your kubectl context read this, or mend what the message says';
  let deployments: readonly Workload[];
  let jobs: readonly Workload[];
  try {
    deployments = await listOf(ask, `/apis/apps/v1/namespaces/${namespace}/deployments?${OURS}`);
    jobs = await listOf(ask, `/apis/batch/v1/namespaces/${namespace}/jobs?${OURS}`);
  } catch (raw) {
    return [versionFinding(version), failure('kubernetes.namespace', coerceError(raw).message, remedy)];
  }
  return examine(
    [
      ['kubernetes.api_server', () => [versionFinding(version)]],
      ['kubernetes.namespace', () => namespaceFindings(ask, namespace, deployments)],
      ['kubernetes.secret', () => secretFindings(ask, namespace, [...deployments, ...jobs])],
      ['kubernetes.runtime_class', () => runtimeClassFindings(ask)],
      ['kubernetes.network_policy', () => policyEngineFindings(ask, version.gitVersion)],
      ['kubernetes.metrics', () => resourceMetricsFindings(ask)],
      ['kubernetes.migrate', () => migrateFindings(jobs)],
      ['kubernetes.pods', () => podFindings(ask, namespace)],
      ['kubernetes.runners', () => examineRunners(ask, namespace, deployments, now())],
    ],
    remedy,
  );
}

const versionShape = z.looseObject({ major: z.string(), minor: z.string(), gitVersion: z.string() });

function versionFinding({ major, minor, gitVersion }: z.output<typeof versionShape>): Finding {
  const check = 'kubernetes.api_server';
  const isOld = Number(major) === 1 && Number.parseInt(minor, 10) < OLDEST;
  return isOld
    ? failure(check, `Kubernetes ${gitVersion} is too old`, `1.${OLDEST} or newer is needed`)
    : ok(check, `Kubernetes ${gitVersion} answers`);
}

/** The overlay that is meant for a namespace. */
const overlayOf = (namespace: string): string =>
  ({ 'millrace-dev': 'development', 'millrace-staging': 'staging', 'millrace-prod': 'production' })[
    namespace
  ] ?? '<environment>';

async function namespaceFindings(
  ask: Ask,
  namespace: string,
  deployments: readonly Workload[],
): Promise<readonly Finding[]> {
  const check = 'kubernetes.namespace';
  const apply = `kubectl apply -k deployments/kubernetes/overlays/${overlayOf(namespace)}`;
  if ((await ask(`/api/v1/namespaces/${namespace}`)) === undefined) {
    return [failure(check, `there is no namespace ${namespace}`, apply)];
  }
  if (deployments.length === 0) {
    return [
      failure(
        check,
        `there is no Millrace in ${namespace}`,
        `${apply}, or name another one with --namespace`,
      ),
    ];
  }
  return deployments.map(({ metadata: { name }, spec: { replicas = 1 }, status: { availableReplicas } }) =>
    availableReplicas > 0
      ? ok('kubernetes.deployment', `${name}: ${availableReplicas} of ${replicas} are available`)
      : failure(
          'kubernetes.deployment',
          `${name}: none of ${replicas} is available`,
          `mend what is found below, then: kubectl -n ${namespace} logs deployment/${name}`,
        ),
  );
}

/** The keys that pods cannot start without, by the Secret that has to have them. */
export function neededSecrets(
  all: readonly { readonly spec: Workload['spec'] }[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const needed = new Map<string, Set<string>>();
  const need = (name: string, keys: readonly string[]): void => {
    const known = needed.get(name) ?? new Set();
    for (const key of keys) known.add(key);
    needed.set(name, known);
  };
  for (const { spec } of all) {
    const { volumes, containers } = spec.template.spec;
    for (const { secret } of volumes) {
      if (secret !== undefined && secret.optional !== true)
        need(
          secret.secretName,
          (secret.items ?? []).map(({ key }) => key),
        );
    }
    for (const { env } of containers) {
      for (const { valueFrom } of env) {
        const found = valueFrom?.secretKeyRef;
        if (found !== undefined && found.optional !== true)
          need(found.name, found.key === undefined ? [] : [found.key]);
      }
    }
  }
  return needed;
}

async function secretFindings(
  ask: Ask,
  namespace: string,
  all: readonly Workload[],
): Promise<readonly Finding[]> {
  const check = 'kubernetes.secret';
  const environment = overlayOf(namespace);
  const make = `scripts/make-kubernetes-secret ${environment} | kubectl create -f -`;
  return Promise.all(
    [...neededSecrets(all)].map(async ([name, keys]) => {
      const found = (await ask(`/api/v1/namespaces/${namespace}/secrets/${name}`)) as
        { readonly data?: Readonly<Record<string, string>> } | undefined;
      if (found === undefined) {
        return failure(
          check,
          `pods wait for the Secret ${name}`,
          `${make}; with External Secrets: kubectl -n ${namespace} describe externalsecret`,
        );
      }
      const missing = [...keys].filter((key) => found.data?.[key] === undefined);
      return missing.length === 0
        ? ok(check, `the Secret ${name} has its ${keys.size} keys`)
        : failure(
            check,
            `the Secret ${name} lacks ${missing.join(', ')}`,
            `kubectl -n ${namespace} edit secret ${name}, or delete it and ${make}`,
          );
    }),
  );
}

async function runtimeClassFindings(ask: Ask): Promise<readonly Finding[]> {
  const check = 'kubernetes.runtime_class';
  const found = (await ask('/apis/node.k8s.io/v1/runtimeclasses/gvisor')) as
    { readonly handler?: string } | undefined;
  if (found === undefined) {
    return [
      failure(
        check,
        'there is no RuntimeClass gvisor',
        'kubectl apply -k deployments/kubernetes/cluster; the nodes need runsc, by the component gvisor-installer or gke-sandbox',
      ),
    ];
  }
  const { handler = '?' } = found;
  const { items } = nodes.parse((await ask('/api/v1/nodes').catch(() => undefined)) ?? { items: [] });
  const known = items.filter(({ status }) => status.runtimeHandlers.length > 0);
  // Nodes say which they have since Kubernetes 1.30, where their container runtime tells them and the user may read nodes.
  if (
    known.length > 0 &&
    known.length === items.length &&
    !known.some(({ status }) => status.runtimeHandlers.some(({ name }) => name === handler))
  ) {
    return [
      failure(
        check,
        `no node has the handler ${handler} of the RuntimeClass gvisor: no runner can start`,
        'install gVisor on the nodes, by the component gvisor-installer or gke-sandbox',
      ),
    ];
  }
  return [ok(check, `the RuntimeClass gvisor runs pods with the handler ${handler}`)];
}
const nodes = z.looseObject({
  items: z.array(
    z.looseObject({
      status: z.looseObject({ runtimeHandlers: z.array(z.looseObject({ name: z.string() })).default([]) }),
    }),
  ),
});

/** What is known to enforce NetworkPolicy, by the DaemonSet it runs as. */
const ENGINES =
  /^(calico-node|canal|cilium|anetd|antrea-agent|kube-router|weave-net|ovnkube-node|ovs-node|kindnet|azure-npm|romana-agent|nsx-node-agent|kube-network-policies)/;

async function policyEngineFindings(ask: Ask, gitVersion: string): Promise<readonly Finding[]> {
  const check = 'kubernetes.network_policy';
  if (/\+k3s|\+rke2/.test(gitVersion)) return [ok(check, `${gitVersion} enforces NetworkPolicy by itself`)];
  const { items } = daemonSets.parse((await ask('/apis/apps/v1/daemonsets')) ?? { items: [] });
  const found = items.find(
    ({ metadata, spec }) =>
      ENGINES.test(metadata.name) ||
      // Amazon's plug-in does when its agent is there.
      (metadata.name === 'aws-node' &&
        spec.template.spec.containers.some(({ name }) => name.includes('nodeagent'))),
  );
  if (found !== undefined) return [ok(check, `${found.metadata.name} enforces NetworkPolicy`)];
  // Calico's agent may be a service of the nodes instead.
  const calico = await ask('/apis/crd.projectcalico.org/v1/clusterinformations/default');
  if (calicoSchema.safeParse(calico).success) return [ok(check, 'Calico enforces NetworkPolicy')];
  return [
    warning(
      check,
      'no engine is known here that enforces NetworkPolicy: without one every pod reaches every other',
      'install one (Calico, Cilium, kube-router), or turn on your provider’s',
    ),
  ];
}
const calicoSchema = z.looseObject({ spec: z.looseObject({ datastoreReady: z.literal(true) }) });
const daemonSets = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ template: z.looseObject({ spec: podSpec }) }),
    }),
  ),
});

async function resourceMetricsFindings(ask: Ask): Promise<readonly Finding[]> {
  const check = 'kubernetes.metrics';
  const found = await ask('/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io');
  return [
    found === undefined
      ? warning(
          check,
          'there is no metrics-server: autoscalers do nothing',
          'install metrics-server, https://github.com/kubernetes-sigs/metrics-server',
        )
      : ok(check, 'metrics-server is registered'),
  ];
}

function migrateFindings(jobs: readonly Workload[]): readonly Finding[] {
  const check = 'kubernetes.migrate';
  if (jobs.length === 0)
    return [skipped(check, 'there is no Job of migrations; it is removed a while after it was done')];
  return jobs.map(({ metadata: { name }, status: { succeeded } }) =>
    succeeded > 0
      ? ok(check, `${name} is done`)
      : warning(check, `${name} is not done`, `kubectl logs job/${name}; pods start when it is`),
  );
}

const pods = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      status: z.looseObject({
        containerStatuses: z
          .array(
            z.looseObject({
              restartCount: z.number(),
              state: z
                .looseObject({
                  waiting: z.looseObject({ reason: z.string(), message: z.string().optional() }).optional(),
                })
                .default({}),
            }),
          )
          .default([]),
        conditions: z
          .array(
            z.looseObject({
              type: z.string(),
              status: z.string(),
              reason: z.string().optional(),
              message: z.string().optional(),
            }),
          )
          .default([]),
      }),
    }),
  ),
});

const WAITING: Readonly<Record<string, string>> = {
  ImagePullBackOff: 'correct the image, or let the node pull it: kustomize edit set image …',
  ErrImagePull: 'correct the image, or let the node pull it: kustomize edit set image …',
  CreateContainerConfigError: 'make the Secret or ConfigMap that the message names',
  CrashLoopBackOff: 'kubectl logs --previous tells why it ended; 78 is a wrong configuration',
};

async function podFindings(ask: Ask, namespace: string): Promise<readonly Finding[]> {
  const { items } = pods.parse((await ask(`/api/v1/namespaces/${namespace}/pods?${OURS}`)) ?? { items: [] });
  const found = items.flatMap(({ metadata: { name }, status: { containerStatuses, conditions } }) => {
    const unscheduled = conditions.find(
      ({ type, status, reason }) =>
        type === 'PodScheduled' && status === 'False' && reason === 'Unschedulable',
    );
    if (unscheduled !== undefined) {
      return [
        failure(
          'kubernetes.pods',
          `${name} fits on no node: ${unscheduled.message ?? ''}`,
          'add nodes, or lower the requests in the overlay',
        ),
      ];
    }
    return containerStatuses.flatMap(({ state: { waiting }, restartCount }) => {
      const remedy = waiting && WAITING[waiting.reason];
      if (waiting === undefined || remedy === undefined) return [];
      return [
        failure(
          'kubernetes.pods',
          `${name} waits: ${waiting.reason} (${restartCount} restarts) ${waiting.message ?? ''}`.trim(),
          remedy,
        ),
      ];
    });
  });
  return found.length > 0 ? found : [ok('kubernetes.pods', `no pod of ${items.length} is stuck`)];
}
