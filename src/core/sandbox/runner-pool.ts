import { z } from '../zod.ts';

/**
 * What a Deployment of runners and its pods say of themselves, judged: by a worker, which may read no events, and by
 * `millrace doctor --kubernetes`, which may.
 */
const conditions = z
  .array(
    z.looseObject({
      type: z.string(),
      status: z.string(),
      message: z.string().optional(),
      lastTransitionTime: z.string().optional(),
    }),
  )
  .default([]);

/** As much of a Deployment as is looked at. */
export const poolSchema = z.looseObject({
  spec: z.looseObject({ replicas: z.number().default(1) }),
  status: z.looseObject({ readyReplicas: z.number().default(0), conditions }).prefault({}),
});
export type Pool = z.output<typeof poolSchema>;

/** As much of one of its pods as is looked at. */
export const poolPodSchema = z.looseObject({
  metadata: z.looseObject({ name: z.string() }),
  status: z
    .looseObject({
      conditions,
      containerStatuses: z
        .array(
          z.looseObject({
            state: z
              .looseObject({
                waiting: z
                  .looseObject({ reason: z.string().default(''), message: z.string().default('') })
                  .optional(),
                running: z.looseObject({}).optional(),
              })
              .prefault({}),
          }),
        )
        .default([]),
    })
    .prefault({}),
});
export type PoolPod = z.output<typeof poolPodSchema>;

/** Why no runner waits. */
export type EmptyCause =
  | 'missing'
  | 'quota'
  | 'runtime_class'
  | 'refused'
  | 'no_node'
  | 'no_image'
  | 'not_made'
  | 'ends'
  | 'no_sandbox'
  | 'not_registered'
  | 'starting';

export type PoolState =
  /** Runners wait, or none is wanted. */
  | { readonly type: 'well'; readonly ready: number; readonly wanted: number }
  | {
      readonly type: 'empty';
      readonly cause: EmptyCause;
      readonly reason: string;
      /** Every pool is like this for a while after it was made, or emptied. */
      readonly mayPass: boolean;
    };
export type EmptyPool = Extract<PoolState, { readonly type: 'empty' }>;

/**
 * @param pool undefined where there is no such Deployment
 * @param pods those that it selects
 * @param events what Kubernetes has said of a pod by name, where that may be read
 */
export function judgePool(
  pool: Pool | undefined,
  pods: readonly PoolPod[],
  events: ReadonlyMap<string, string> = new Map(),
): PoolState {
  if (pool === undefined) return empty('missing', 'there is no such Deployment');
  const { spec, status } = pool;
  if (spec.replicas === 0 || status.readyReplicas > 0) {
    return { type: 'well', ready: status.readyReplicas, wanted: spec.replicas };
  }
  const refusal = status.conditions.find((one) => one.type === 'ReplicaFailure' && one.status === 'True');
  if (refusal !== undefined) return refused(refusal.message ?? 'its pods are refused');
  const judged = pods.map((pod) => judgePod(pod, events));
  return judged.find(({ mayPass }) => !mayPass) ?? judged[0] ?? passing('starting', 'it has made no pod yet');
}

function refused(message: string): EmptyPool {
  if (message.includes('exceeded quota')) return empty('quota', message);
  if (/runtimeclass/i.test(message)) return empty('runtime_class', message);
  return empty('refused', message);
}

/** Why the kubelet waits, and will go on to. */
const WAITING: Readonly<Record<string, EmptyCause>> = {
  ErrImagePull: 'no_image',
  ImagePullBackOff: 'no_image',
  InvalidImageName: 'no_image',
  ErrImageNeverPull: 'no_image',
  CreateContainerConfigError: 'not_made',
  CreateContainerError: 'not_made',
  RunContainerError: 'not_made',
  CrashLoopBackOff: 'ends',
};

function judgePod({ metadata, status }: PoolPod, events: ReadonlyMap<string, string>): EmptyPool {
  const { name } = metadata;
  const condition = (type: string) =>
    status.conditions.find((one) => one.type === type && one.status === 'False');
  const unscheduled = condition('PodScheduled');
  if (unscheduled !== undefined)
    return empty('no_node', `${name}: ${unscheduled.message ?? 'it has no node'}`);
  for (const { state } of status.containerStatuses) {
    const cause = WAITING[state.waiting?.reason ?? ''];
    if (cause !== undefined)
      return empty(cause, `${name}: ${state.waiting?.reason} ${state.waiting?.message}`.trim());
  }
  const isRunning =
    status.containerStatuses.length > 0 &&
    status.containerStatuses.every(({ state }) => state.running !== undefined);
  // Before events, which Kubernetes keeps for an hour, whatever has become of the pod.
  if (isRunning) return passing('not_registered', `${name}: it runs, and no worker knows it`);
  const event = events.get(name);
  if (event !== undefined) return empty('no_sandbox', `${name}: ${event}`);
  return condition('PodReadyToStartContainers') === undefined
    ? passing('starting', `${name}: it is starting`)
    : passing('no_sandbox', `${name}: its node has made no sandbox for it`);
}

const empty = (cause: EmptyCause, reason: string): EmptyPool => ({
  type: 'empty',
  cause,
  reason,
  mayPass: false,
});
const passing = (cause: EmptyCause, reason: string): EmptyPool => ({
  ...empty(cause, reason),
  mayPass: true,
});

/** What to do about it, in the namespace of the runners. */
export function poolRemedy(cause: EmptyCause, namespace: string): string {
  const kubectl = `kubectl -n ${namespace}`;
  switch (cause) {
    case 'missing':
      return 'kubectl apply -k deployments/kubernetes/overlays/<environment> -l millrace.dev/part=warm-pool';
    case 'quota':
      return `raise ResourceQuota runners of ${namespace}, or let fewer wait: \`replicas\` in the overlay's runners/kustomization.yaml`;
    case 'runtime_class':
      return 'kubectl apply -k deployments/kubernetes/cluster; the nodes need runsc, by the component gvisor-installer or gke-sandbox';
    case 'refused':
      return `correct what the message names in the overlay; ${kubectl} describe replicasets`;
    case 'no_node':
      return 'add nodes that have gVisor, or lower the requests in the overlay';
    case 'no_image':
      return 'correct the image, or let the node pull it: kustomize edit set image millrace/runner=…';
    case 'not_made':
      return `make what the message names; ${kubectl} describe pods`;
    case 'ends':
      return `${kubectl} logs POD --all-containers --previous tells why it ended`;
    case 'no_sandbox':
      return `${kubectl} get events; a node without the handler of RuntimeClass gvisor gets it by the component gvisor-installer or gke-sandbox`;
    case 'not_registered':
      return `${kubectl} logs POD -c relay tells which gateway it does not reach`;
    case 'starting':
      return `wait; ${kubectl} get events`;
  }
}
