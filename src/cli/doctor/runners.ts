import { failure, ok, skipped, type Finding } from '../../core/health/finding.ts';
import {
  judgePool,
  poolPodSchema,
  poolRemedy,
  poolSchema,
  type EmptyPool,
  type Pool,
  type PoolPod,
} from '../../core/sandbox/runner-pool.ts';
import { z } from '../../core/zod.ts';
import type { Ask, Workload } from './cluster.ts';

const CHECK = 'kubernetes.runners';
const RUNTIME_CLASS = 'gvisor';
/** The Deployments of the pools, and what their pods are labelled with. */
const POOLS = { 'runner-warm-pool': 'javascript', 'runner-warm-pool-python': 'python' } as const;
const POOL_LABEL = 'millrace.dev/pool';
/** Within this time of its last change, a pool without a runner may be on its way. */
const PATIENCE_MS = 60_000;

/** Whether runners wait in the namespace that the workers of `namespace` are told, and if not, why. */
export async function examineRunners(
  ask: Ask,
  namespace: string,
  deployments: readonly Workload[],
  nowMs: number,
): Promise<readonly Finding[]> {
  const runners = await runnerNamespace(ask, namespace, deployments);
  if (runners === undefined) return [skipped(CHECK, 'no worker says where its runners are')];
  const [{ items: pods }, events] = await Promise.all([
    podsSchema.parseAsync((await ask(`/api/v1/namespaces/${runners}/pods`)) ?? { items: [] }),
    failedPods(ask, runners),
  ]);
  const found = await Promise.all(
    Object.entries(POOLS).map(async ([name, runtime]) => {
      const raw = await ask(`/apis/apps/v1/namespaces/${runners}/deployments/${name}`);
      const pool = raw === undefined ? undefined : poolSchema.parse(raw);
      const own = pods.filter(({ metadata }) => metadata.labels[POOL_LABEL] === runtime);
      return poolFinding(`${runners}/${name}`, pool, own, { events, runners, nowMs });
    }),
  );
  return [...found, ...pods.filter(isUnsafe).map((pod) => unsafe(pod, runners))];
}

/** What the worker's Deployment has as RUNNER_NAMESPACE, by itself or from a ConfigMap. */
async function runnerNamespace(
  ask: Ask,
  namespace: string,
  deployments: readonly Workload[],
): Promise<string | undefined> {
  const variable = deployments
    .flatMap(({ spec }) => spec.template.spec.containers.flatMap(({ env }) => env))
    .find(({ name }) => name === 'RUNNER_NAMESPACE');
  const from = variable?.valueFrom?.configMapKeyRef;
  if (from?.key === undefined) return variable?.value;
  const config = configMapSchema.parse(
    (await ask(`/api/v1/namespaces/${namespace}/configmaps/${from.name}`)) ?? {},
  );
  return config.data[from.key];
}
const configMapSchema = z.looseObject({ data: z.record(z.string(), z.string()).default({}) });

const podsSchema = z.looseObject({
  items: z.array(
    poolPodSchema.extend({
      metadata: z.looseObject({
        name: z.string(),
        labels: z.record(z.string(), z.string()).default({}),
      }),
      spec: z.looseObject({ runtimeClassName: z.string().optional() }).default({}),
    }),
  ),
});
type RunnerPod = z.output<typeof podsSchema>['items'][number];

/** The last that Kubernetes has said of each pod which got no sandbox, or no volume. */
async function failedPods(ask: Ask, namespace: string): Promise<ReadonlyMap<string, string>> {
  const reasons = ['FailedCreatePodSandBox', 'FailedMount'];
  const lists = await Promise.all(
    reasons.map((reason) => ask(`/api/v1/namespaces/${namespace}/events?fieldSelector=reason%3D${reason}`)),
  );
  return new Map(
    lists
      .flatMap((list) => eventsSchema.parse(list ?? { items: [] }).items)
      .map(({ reason, message, involvedObject }) => [involvedObject.name, `${reason} ${message}`]),
  );
}
const eventsSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      reason: z.string(),
      message: z.string().default(''),
      involvedObject: z.looseObject({ name: z.string() }),
    }),
  ),
});

function poolFinding(
  name: string,
  pool: Pool | undefined,
  pods: readonly PoolPod[],
  facts: {
    readonly events: ReadonlyMap<string, string>;
    readonly runners: string;
    readonly nowMs: number;
  },
): Finding {
  const state = judgePool(pool, pods, facts.events);
  if (state.type === 'well') return ok(CHECK, `${name}: ${state.ready} of ${state.wanted} wait`);
  const message = `${name}: no runner waits: ${state.reason}`;
  return isOnItsWay(state, pool, facts.nowMs)
    ? skipped(CHECK, `${message}; look again in a minute`)
    : failure(CHECK, message, poolRemedy(state.cause, facts.runners));
}

/** The Deployment says since when it has had no runner that is ready. */
function isOnItsWay({ mayPass }: EmptyPool, pool: Pool | undefined, nowMs: number): boolean {
  const since = pool?.status.conditions.find(({ type }) => type === 'Available')?.lastTransitionTime;
  return mayPass && since !== undefined && nowMs - Date.parse(since) < PATIENCE_MS;
}

const isUnsafe = ({ spec }: RunnerPod): boolean => spec.runtimeClassName !== RUNTIME_CLASS;

const unsafe = ({ metadata, spec }: RunnerPod, runners: string): Finding =>
  failure(
    CHECK,
    `${runners}/${metadata.name} is of runtime class ${spec.runtimeClassName ?? '(none)'}, not of ${RUNTIME_CLASS}`,
    `kubectl -n ${runners} delete pod ${metadata.name}; kubectl apply -k deployments/kubernetes/cluster, whose admission policy refuses such pods`,
  );
