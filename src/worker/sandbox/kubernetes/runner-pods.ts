import { z } from '../../../core/zod.ts';
import type { Runtime, SandboxLimits } from '../driver.ts';
import { KubernetesError, type KubernetesApi } from './api.ts';
import {
  AUDIENCE,
  CLAIMED_LABEL,
  COLD,
  IMAGE_POOL,
  IMAGE_TEMPLATE,
  POOL_LABEL,
  RUNNER_CONTAINER,
  RUNNER_SERVICE_ACCOUNT,
  RUNTIME_CLASS,
} from './names.ts';
import { podForImage, podFromTemplate, templateSchema, type ImagePod } from './pod-template.ts';
import { podStatusSchema, progressOf, type PodProgress } from './pod-progress.ts';
import { parseQuantity } from './quantity.ts';
import type { WarmPools } from './warm-pools.ts';

/** Which pod dials, as Kubernetes vouches for it. */
export interface RunnerPod {
  readonly uid: string;
  readonly name: string;
  readonly pool: string;
  readonly limits: Pick<SandboxLimits, 'memoryBytes' | 'cpus'>;
}
export interface FoundPod {
  readonly uid: string;
  readonly name: string;
  readonly claimedBy: string | undefined;
  readonly createdAtMs: number;
}

/** The pods of the namespace of runners. */
export interface RunnerPods {
  /** Whose token this is, if it is a runner's, whatever has become of it; undefined refuses. */
  identify(token: string): Promise<Pick<RunnerPod, 'uid' | 'name'> | undefined>;
  /** Whose token this is, if it is a runner's that has run nothing; undefined refuses. */
  authenticate(token: string): Promise<RunnerPod | undefined>;
  /** Writes down that it is this worker's. @throws when it is another's by now, or gone */
  claim(pod: RunnerPod): Promise<void>;
  /** @returns its uid */
  createCold(runtime: Runtime, limits: SandboxLimits): Promise<string>;
  /** Makes a pod for one program of an image, which is this worker's. @throws KubernetesError when it is refused */
  createForImage(pod: Omit<ImagePod, 'worker'>): Promise<Pick<RunnerPod, 'uid' | 'name'>>;
  /** How far it has come; undefined when it is gone. */
  look(pod: Pick<RunnerPod, 'uid' | 'name'>): Promise<PodProgress | undefined>;
  /** Idempotent. */
  remove(pod: Pick<RunnerPod, 'uid' | 'name'>): Promise<void>;
  /** Those that are claimed, and those that were made cold. */
  list(): Promise<readonly FoundPod[]>;
}

const labels = z.record(z.string(), z.string()).optional();
const podSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    labels,
    creationTimestamp: z.string(),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({
    runtimeClassName: z.string().optional(),
    containers: z.array(
      z.object({
        name: z.string(),
        resources: z.object({ limits: z.record(z.string(), z.string()).optional() }).optional(),
      }),
    ),
  }),
});
type Pod = z.infer<typeof podSchema>;
const reviewSchema = z.object({
  status: z.object({
    authenticated: z.boolean().optional(),
    audiences: z.array(z.string()).optional(),
    user: z
      .object({
        username: z.string().optional(),
        extra: z.record(z.string(), z.array(z.string())).optional(),
      })
      .optional(),
  }),
});
const anything = z.unknown();

export function createRunnerPods(deps: {
  readonly api: KubernetesApi;
  readonly pools: Pick<WarmPools, 'template'>;
  /** Of the runners. */
  readonly namespace: string;
  /** The pod of this worker. */
  readonly worker: string;
}): RunnerPods {
  const { api, pools, namespace, worker } = deps;
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  const label = (name: string): string => `/metadata/labels/${name.replace('/', '~1')}`;

  const identify: RunnerPods['identify'] = async (token) => {
    const { status } = await api.call({
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [AUDIENCE] },
      },
      answer: reviewSchema,
    });
    const name = status.user?.extra?.['authentication.kubernetes.io/pod-name']?.[0];
    const uid = status.user?.extra?.['authentication.kubernetes.io/pod-uid']?.[0];
    if (
      status.authenticated !== true ||
      status.audiences?.includes(AUDIENCE) !== true ||
      status.user?.username !== `system:serviceaccount:${namespace}:${RUNNER_SERVICE_ACCOUNT}` ||
      name === undefined ||
      uid === undefined
    ) {
      return undefined;
    }
    return { uid, name };
  };

  return {
    identify,
    async authenticate(token) {
      const who = await identify(token);
      if (who === undefined) return undefined;
      const pod = await unlessGone(
        api.call({ path: `${pods}/${encodeURIComponent(who.name)}`, answer: podSchema }),
      );
      return pod?.metadata.uid === who.uid ? unclaimed(pod) : undefined;
    },
    async claim({ name, pool }) {
      await api.call({
        method: 'PATCH',
        path: `${pods}/${name}`,
        contentType: 'application/json-patch+json',
        body: [
          { op: 'test', path: label(POOL_LABEL), value: pool },
          { op: 'remove', path: label(POOL_LABEL) },
          { op: 'add', path: label(CLAIMED_LABEL), value: worker },
        ],
        answer: anything,
      });
    },
    async createCold(runtime, limits) {
      const body = podFromTemplate(await pools.template(runtime), limits);
      const created = await api.call({ method: 'POST', path: pods, body, answer: podSchema });
      return created.metadata.uid;
    },
    async createForImage(pod) {
      const { template } = await api.call({
        path: `/api/v1/namespaces/${namespace}/podtemplates/${IMAGE_TEMPLATE}`,
        answer: z.object({ template: templateSchema }),
      });
      const body = podForImage(template, { ...pod, worker });
      const { metadata } = await api.call({ method: 'POST', path: pods, body, answer: podSchema });
      return { uid: metadata.uid, name: metadata.name };
    },
    async look({ name, uid }) {
      const pod = await unlessGone(
        api.call({
          path: `${pods}/${name}`,
          answer: z.object({ metadata: z.object({ uid: z.string() }), status: podStatusSchema.optional() }),
        }),
      );
      return pod?.metadata.uid === uid ? progressOf(pod.status ?? {}) : undefined;
    },
    async remove({ name, uid }) {
      await unlessGone(
        api.call({
          method: 'DELETE',
          path: `${pods}/${name}`,
          body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid } },
          answer: anything,
        }),
      );
    },
    async list() {
      const selectors = [CLAIMED_LABEL, `${POOL_LABEL}=${COLD}`];
      const lists = await Promise.all(
        selectors.map((selector) =>
          api.call({
            path: `${pods}?labelSelector=${encodeURIComponent(selector)}`,
            answer: z.object({ items: z.array(podSchema) }),
          }),
        ),
      );
      return lists.flatMap(({ items }) =>
        items
          .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
          .map(({ metadata }) => ({
            uid: metadata.uid,
            name: metadata.name,
            claimedBy: metadata.labels?.[CLAIMED_LABEL],
            createdAtMs: Date.parse(metadata.creationTimestamp),
          })),
      );
    },
  };
}

/** What may be claimed of it; undefined for what may not. One for an image waits for the worker that has made it. */
function unclaimed({ metadata, spec }: Pod): RunnerPod | undefined {
  const pool = metadata.labels?.[POOL_LABEL];
  const container = spec.containers.find(({ name }) => name === RUNNER_CONTAINER);
  const memoryBytes = parseQuantity(container?.resources?.limits?.['memory']);
  const cpus = parseQuantity(container?.resources?.limits?.['cpu']);
  if (
    pool === undefined ||
    (metadata.labels?.[CLAIMED_LABEL] !== undefined && pool !== IMAGE_POOL) ||
    metadata.deletionTimestamp !== undefined ||
    spec.runtimeClassName !== RUNTIME_CLASS ||
    memoryBytes === undefined ||
    cpus === undefined
  ) {
    return undefined;
  }
  return { uid: metadata.uid, name: metadata.name, pool, limits: { memoryBytes, cpus } };
}

/** A pod that is gone, or another one of its name (409 of a precondition), is as good as none. */
async function unlessGone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (raw) {
    if (raw instanceof KubernetesError && (raw.status === 404 || raw.status === 409)) return undefined;
    throw raw;
  }
}
