import { judgePool, poolPodSchema, poolSchema, type PoolState } from '../../../core/sandbox/runner-pool.ts';
import { z } from '../../../core/zod.ts';
import type { Runtime } from '../driver.ts';
import { KubernetesError, type KubernetesApi } from './api.ts';
import { POOL_LABEL, POOLS } from './names.ts';
import { templateSchema, type PodTemplate } from './pod-template.ts';

/** The Deployments that keep runners ready. Nobody but who applies the manifests may make one. */
export interface WarmPools {
  /**
   * What cold pods are made after. Where the Deployment is gone, it is as this worker saw it last.
   *
   * @throws KubernetesError
   */
  template(runtime: Runtime): Promise<PodTemplate>;
  /** @throws KubernetesError for all but a Deployment that is gone, which is an answer */
  look(runtime: Runtime): Promise<PoolState>;
}

const deploymentSchema = poolSchema.extend({
  spec: poolSchema.shape.spec.extend({ template: templateSchema }),
});
type Deployment = z.output<typeof deploymentSchema>;
const podsSchema = z.object({ items: z.array(poolPodSchema) });

export function createWarmPools({
  api,
  namespace,
}: {
  readonly api: KubernetesApi;
  /** Of the runners. */
  readonly namespace: string;
}): WarmPools {
  const seen = new Map<Runtime, PodTemplate>();

  const get = async (runtime: Runtime): Promise<Deployment> => {
    const found = await api.call({
      path: `/apis/apps/v1/namespaces/${namespace}/deployments/${POOLS[runtime]}`,
      answer: deploymentSchema,
    });
    seen.set(runtime, found.spec.template);
    return found;
  };

  return {
    async template(runtime) {
      try {
        return (await get(runtime)).spec.template;
      } catch (raw) {
        const last = seen.get(runtime);
        if (isMissing(raw) && last !== undefined) return last;
        throw raw;
      }
    },
    async look(runtime) {
      const pool = await get(runtime).catch((raw: unknown) => {
        if (isMissing(raw)) return undefined;
        throw raw;
      });
      const judged = judgePool(pool, []);
      if (judged.type === 'well' || !judged.mayPass) return judged;
      const selector = encodeURIComponent(`${POOL_LABEL}=${runtime}`);
      const { items } = await api.call({
        path: `/api/v1/namespaces/${namespace}/pods?labelSelector=${selector}`,
        answer: podsSchema,
      });
      return judgePool(pool, items);
    },
  };
}

const isMissing = (raw: unknown): boolean => raw instanceof KubernetesError && raw.status === 404;
