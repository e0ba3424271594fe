import { expect, it } from 'vitest';
import { startLoad } from '../../faults/harness/load.ts';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { Installation } from '../harness/installation.ts';
import type { Deployment, Kubectl } from '../harness/kubectl.ts';
import { WORKER } from '../harness/staging.ts';

const NUMBERS = JSON.stringify(Array.from({ length: 300 }, (_, index) => index));
/** Some milliseconds of a worker's processor each, and nothing else. */
const BUSY = `name: busy
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
${['a', 'b', 'c', 'd', 'e']
  .map(
    (id) =>
      `  - { id: ${id}, transform: '${NUMBERS}.map(n, ${NUMBERS}.filter(m, n * m > 40000).size()).size()' }`,
  )
  .join('\n')}
output: steps.e.output
`;

export interface Scaled {
  readonly kubectl: Kubectl;
  readonly staging: () => Installation;
  readonly client: () => ApiClient;
  readonly under: (what: string, work: () => Promise<void>) => Promise<void>;
}

export function describeAutoscaling({ kubectl, staging, client, under }: Scaled): void {
  it('busy workers become more, by the autoscaler', { timeout: 500_000 }, async () => {
    const deployment = (): Promise<Deployment> =>
      kubectl.get<Deployment>(staging().namespace, 'deployment', WORKER);
    const wanted = async (): Promise<number> => (await deployment()).spec.replicas;
    expect(await wanted()).toBe(2);
    const { hook } = await client().deploy(BUSY);
    await under('busy workers become more, by the autoscaler', async () => {
      const busy = startLoad({ origin: client().base, hook, perSecond: 20 });
      try {
        await waitFor(async () => (await wanted()) > 2, {
          timeoutMs: 300_000,
          intervalMs: 2000,
          what: 'the autoscaler to want more than two',
        });
      } finally {
        await busy.stop();
      }
      expect(new Set(busy.sent.map(({ answer }) => answer))).toEqual(new Set([202]));
      // A small node may have no room for all that it wants by now.
      await waitFor(async () => ((await deployment()).status.readyReplicas ?? 0) > 2, {
        timeoutMs: 120_000,
        intervalMs: 1000,
        what: 'a third worker to be ready',
      });
    });
    const scaler = await kubectl.run([
      '--namespace',
      staging().namespace,
      'get',
      'horizontalpodautoscaler',
      `${WORKER}-hpa`,
      '--output',
      'jsonpath={.status.currentMetrics[?(@.resource.name=="cpu")].resource.current.averageUtilization}',
    ]);
    expect(Number(scaler)).toBeGreaterThan(0);
  });
}
