import type { Kubectl } from './kubectl.ts';

/** Evicts a pod, as a drain of its node does. Gives `evicted`, or what the API server said against it. */
export async function evict(kubectl: Kubectl, namespace: string, name: string): Promise<string> {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } };
  const { code, stderr } = await kubectl.try(
    ['create', '--raw', `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, '--filename', '-'],
    { input: JSON.stringify(eviction) },
  );
  return code === 0 ? 'evicted' : stderr;
}

/** Of a refusal for the sake of a budget. */
export const OVER_BUDGET = "violate the pod's disruption budget";
