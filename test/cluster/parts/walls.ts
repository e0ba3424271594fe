import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../support/wait-for.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { restrictedPod, type PodManifest } from '../harness/pods.ts';
import type { Part } from './part.ts';

/** A pod as it may be in a namespace of runners, changed in one way. */
const runner = (change: (pod: PodManifest) => unknown = (pod) => pod): unknown =>
  change(restrictedPod({ name: 'candidate', runtimeClassName: 'gvisor' }));

const withVolume = (volume: unknown) => (pod: PodManifest) => ({
  ...pod,
  spec: { ...pod.spec, volumes: [{ name: 'extra', ...(volume as object) }] },
});
const token = (audience: string | undefined, expirationSeconds: number) =>
  withVolume({
    projected: { sources: [{ serviceAccountToken: { path: 'token', audience, expirationSeconds } }] },
  });

const REFUSED: readonly (readonly [what: string, pod: unknown, says: RegExp])[] = [
  [
    'without gVisor',
    runner((pod) => ({ ...pod, spec: { ...pod.spec, runtimeClassName: undefined } })),
    /runtimeClassName: gvisor/,
  ],
  ['with a Secret', runner(withVolume({ secret: { secretName: 'any' } })), /hold no Secret/],
  ['with a token for the API server', runner(token(undefined, 3600)), /audience `millrace-runner`/],
  ['with a token for longer than an hour', runner(token('millrace-runner', 7200)), /lives an hour/],
  [
    'with the token of every pod',
    runner((pod) => ({ ...pod, spec: { ...pod.spec, automountServiceAccountToken: true } })),
    /automountServiceAccountToken: false/,
  ],
  [
    'with a variable from a Secret',
    runner((pod) => ({
      ...pod,
      spec: {
        ...pod.spec,
        containers: pod.spec.containers.map((container) => ({
          ...container,
          env: [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'any', key: 'key' } } }],
        })),
      },
    })),
    /hold no Secret/,
  ],
  [
    'with a persistent volume',
    runner(withVolume({ persistentVolumeClaim: { claimName: 'any' } })),
    /keep nothing/,
  ],
  [
    'with a folder of the node',
    runner(withVolume({ hostPath: { path: '/' } })),
    /nothing of the node|hostPath/,
  ],
];

const VIOLATIONS: readonly (readonly [what: string, change: (pod: PodManifest) => unknown])[] = [
  ['is privileged', (pod) => withContainer(pod, { securityContext: { privileged: true } })],
  ['runs as root', (pod) => ({ ...pod, spec: { ...pod.spec, securityContext: { runAsUser: 0 } } })],
  [
    'keeps capabilities',
    (pod) => withContainer(pod, { securityContext: { allowPrivilegeEscalation: false } }),
  ],
  ['uses the network of the node', (pod) => ({ ...pod, spec: { ...pod.spec, hostNetwork: true } })],
  ['mounts a folder of the node', withVolume({ hostPath: { path: '/' } })],
];
const withContainer = (pod: PodManifest, more: object): unknown => ({
  ...pod,
  spec: { ...pod.spec, containers: pod.spec.containers.map((container) => ({ ...container, ...more })) },
});

export function describeWalls({ cluster, kubectl }: Part): void {
  describe('the walls of the namespaces', () => {
    let dev: Installation;

    beforeAll(async () => {
      dev = await createInstallation(kubectl, cluster.images, 'development');
      const applied = await dev.apply(['--selector', 'millrace.dev/part in (cluster, policies)']);
      if (applied.code !== 0) throw new Error(applied.stderr);
      // ServiceAccounts and admission policies come into force a moment later.
      await waitFor(async () => (await attempt(dev.runners, runner())).code === 0, {
        timeoutMs: 30_000,
        intervalMs: 500,
        what: 'a pod to be let into the namespace of runners',
      });
      await waitFor(async () => (await attempt(dev.runners, REFUSED[0]![1])).code !== 0, {
        timeoutMs: 30_000,
        intervalMs: 500,
        what: 'the admission policy to be in force',
      });
    }, 100_000);
    afterAll(() => dev.remove(), 200_000);

    const attempt = (namespace: string, pod: unknown) =>
      kubectl.try(['--namespace', namespace, 'create', '--dry-run=server', '--filename', '-'], {
        input: JSON.stringify(pod),
      });

    it.each(REFUSED)('a pod %s is not let into the namespace of runners', async (_, pod, says) => {
      const { code, stderr } = await attempt(dev.runners, pod);
      expect([code, stderr]).toEqual([1, expect.stringMatching(says)]);
    });

    it('a pod with the token for the gateway is let in', async () => {
      const { code, stderr } = await attempt(dev.runners, runner(token('millrace-runner', 3600)));
      expect(code, stderr).toBe(0);
    });

    it.each(VIOLATIONS)('Pod Security refuses a pod that %s, in both namespaces', async (_, change) => {
      for (const namespace of [dev.namespace, dev.runners]) {
        const { code, stderr } = await attempt(namespace, runner(change));
        expect([code, stderr]).toEqual([1, expect.stringContaining('violates PodSecurity "restricted')]);
      }
    });

    it('a quota ends what a namespace takes', async () => {
      const greedy = runner((pod) =>
        withContainer(pod, { resources: { requests: { cpu: '4' }, limits: { cpu: '4', memory: '11Gi' } } }),
      );
      const { code, stderr } = await attempt(dev.namespace, greedy);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/exceeded quota|maximum memory usage/)]);
    });
  });
}
