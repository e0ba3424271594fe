import { expect } from 'vitest';
import type { Installation } from './installation.ts';
import type { Kubectl, KubernetesObject, List } from './kubectl.ts';

interface Stored extends KubernetesObject {
  readonly kind: string;
  readonly spec?: { readonly replicas?: number };
  readonly status?: unknown;
}

/**
 * Applies an overlay that is in force. What kubectl calls `configured` may be nothing but a patch without an effect, so that
 * the objects themselves are looked at: none is another one, and none has another content.
 */
export async function expectNoDrift(kubectl: Kubectl, installation: Installation): Promise<void> {
  const contents = async (): Promise<readonly unknown[]> => {
    const json = await kubectl.run(['get', '--kustomize', installation.overlay, '--output', 'json']);
    return (JSON.parse(json) as List<Stored>).items.map(({ metadata, spec, status: _status, ...rest }) => ({
      ...rest,
      name: metadata.name,
      uid: metadata.uid,
      labels: metadata.labels,
      // The number of replicas is the autoscaler's, which may just be at work.
      spec: spec && { ...spec, replicas: undefined },
    }));
  };
  const before = await contents();
  expect(before.length).toBeGreaterThan(20);
  const { code, stderr } = await installation.apply();
  expect(code, stderr).toBe(0);
  expect(await contents()).toEqual(before);
  const diff = await kubectl.try(['diff', '--kustomize', installation.overlay]);
  expect([diff.code, diff.stdout]).toEqual([0, '']);
}
