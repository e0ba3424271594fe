import type pg from 'pg';
import { expect, it } from 'vitest';
import type { Installation } from '../harness/installation.ts';
import { podsOf, settled, type Kubectl } from '../harness/kubectl.ts';
import type { ClusterContext } from '../setup.ts';

export interface Staged {
  readonly cluster: ClusterContext;
  readonly kubectl: Kubectl;
  readonly staging: () => Installation;
  readonly sql: () => pg.Pool;
  /** Does something while webhooks come, and takes no answer but a good one. */
  readonly under: (what: string, work: () => Promise<void>) => Promise<void>;
}

const COMPONENTS = ['api', 'worker'] as const;

/** From one release to the next and back while webhooks come, as docs/kubernetes.md says. */
export function describeUpgrades({ cluster, kubectl, staging, sql, under }: Staged): void {
  const deploymentOf = (component: string): string => `staging-millrace-${component}`;
  const run = (...args: readonly string[]): Promise<string> =>
    kubectl.run(['--namespace', staging().namespace, ...args], { timeoutMs: 300_000 });
  const hasMigration = async (): Promise<boolean> => {
    const { rowCount } = await sql().query('select 1 from schema_migration where version = 999');
    return rowCount === 1;
  };
  const expectImages = async (images: Pick<ClusterContext['images'], 'api' | 'worker'>): Promise<void> => {
    for (const component of COMPONENTS) {
      await settled(kubectl, staging().namespace, deploymentOf(component));
      const pods = await podsOf(kubectl, staging().namespace, `app.kubernetes.io/component=${component}`);
      const used = new Set(pods.flatMap(({ spec }) => spec.containers.map(({ image }) => image)));
      expect([...used]).toEqual([images[component]]);
    }
  };
  const rolledOut = async (): Promise<void> => {
    for (const component of COMPONENTS) {
      await run('rollout', 'status', `deployment/${deploymentOf(component)}`, '--timeout', '280s');
    }
  };

  it('an upgrade to the next release, with its migration', { timeout: 400_000 }, async () => {
    expect(await hasMigration()).toBe(false);
    await under('an upgrade to the next release, with its migration', async () => {
      const { api, worker } = cluster.next;
      await staging().setImages([`millrace/api=${api}`, `millrace/worker=${worker}`]);
      await run('delete', 'job', 'staging-millrace-migrate', '--ignore-not-found');
      const { code, stderr } = await staging().apply();
      expect(code, stderr).toBe(0);
      await rolledOut();
      await expectImages(cluster.next);
    });
    expect(await hasMigration()).toBe(true);
  });

  it('going back from it, on its schema', { timeout: 400_000 }, async () => {
    await under('going back from it, on its schema', async () => {
      for (const component of COMPONENTS) {
        await run('rollout', 'undo', `deployment/${deploymentOf(component)}`);
      }
      await rolledOut();
      await expectImages(cluster.images);
    });
    expect(await hasMigration()).toBe(true);
    // The load went on on the schema of the release after it.
    const { rows } = await sql().query<{ noted: string }>('select count(*)::text as noted from next_release');
    expect(Number(rows[0]?.noted)).toBeGreaterThan(0);
  });
}
