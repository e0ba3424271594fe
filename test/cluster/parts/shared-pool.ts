import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check } from '../../faults/harness/checker.ts';
import type { Ledger } from '../../faults/harness/ledger.ts';
import { startLoad, type Load } from '../../faults/harness/load.ts';
import { putHookCredential } from '../../faults/harness/stage.ts';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { openApi } from '../harness/api.ts';
import { openDatabase } from '../harness/database.ts';
import type { Installation } from '../harness/installation.ts';
import { isReady, podsOf, settled, type Pod } from '../harness/kubectl.ts';
import { MACHINE } from '../harness/machine.ts';
import type { Part } from './part.ts';

const WORKER = 'dev-millrace-worker';
const POOLS = { 'runner-warm-pool': 2, 'runner-warm-pool-python': 1 } as const;
const WAITING = 'millrace.dev/pool=javascript';
const CLAIMED = 'millrace.dev/claimed-by';
const PER_SECOND = 2;
const MOST_TRIES = 20;

/** Below which the step calls. */
const PATH = '/shared-pool/';
/** Takes a while, so that some are under way whenever a worker is told to stop. */
const CALL = `export default async (ctx, { url }) => {
  await new Promise((resolve) => setTimeout(resolve, 500));
  const headers = { 'idempotency-key': ctx.idempotencyKey };
  const response = await ctx.fetch(url, { method: 'POST', headers });
  return response.status;
};
`;
const calling = (port: number): string => `name: shared-pool
triggers: { push: { webhook: { verify: { scheme: github, credential: hook } } } }
steps:
  - { id: call, code: steps/call.js, egress: ["${MACHINE}:${port}"], input: { url: "http://${MACHINE}:${port}${PATH}call" } }
`;

/** Long enough for its pod to be seen with the name of its worker. */
const STAY = 'export default () => new Promise((resolve) => setTimeout(resolve, 4000));\n';
const STAYING = `name: alone
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: stay, code: steps/stay.js, isolation: execution }
`;

/** Two workers, to whom the runners that wait are common, on development as it is otherwise. */
export function describeSharedPool(
  { cluster, kubectl, report }: Pick<Part, 'cluster' | 'kubectl' | 'report'>,
  installation: () => Installation,
  ledger: () => Ledger,
): void {
  describe.runIf(cluster.isKit)('two workers with one pool', () => {
    let client: ApiClient;
    let sql: pg.Pool;
    let load: Load | undefined;

    const namespace = (): string => installation().namespace;
    const runners = (): string => installation().runners;
    const scale = (where: string, deployment: string, replicas: number): Promise<string> =>
      kubectl.run(['--namespace', where, 'scale', 'deployment', deployment, '--replicas', String(replicas)]);
    const workers = (): Promise<readonly Pod[]> =>
      podsOf(kubectl, namespace(), 'app.kubernetes.io/component=worker');
    const namesOf = (pods: readonly Pod[]): readonly string[] => pods.map(({ metadata }) => metadata.name);
    const owners = async (): Promise<readonly (string | undefined)[]> =>
      (await podsOf(kubectl, runners(), CLAIMED)).map(({ metadata }) => metadata.labels?.[CLAIMED]);
    const allClaim = (names: readonly string[]): Promise<boolean> =>
      waitFor(
        async () => {
          const known = await owners();
          return names.every((name) => known.includes(name));
        },
        { timeoutMs: 90_000, intervalMs: 500, what: `runners of ${names.join(' and ')}` },
      );

    beforeAll(async () => {
      // Four workers while they roll, and runners that idle, are more than a small node holds. Nor is a runner to be left
      // that was started because the pool was empty: it would be taken as well.
      await scale(namespace(), WORKER, 0);
      await waitFor(async () => (await workers()).length === 0, { timeoutMs: 60_000, intervalMs: 500 });
      await kubectl.run(['--namespace', runners(), 'delete', 'pods', '--selector', '!millrace.dev/pool']);
      await scale(runners(), 'runner-warm-pool', 1);
      await scale(runners(), 'runner-warm-pool-python', 0);
      await scale(namespace(), WORKER, 2);
      await settled(kubectl, namespace(), WORKER);
      client = await openApi(kubectl, installation());
      sql = await openDatabase(kubectl, installation());
      await putHookCredential(client);
    }, 200_000);
    afterAll(async () => {
      await load?.stop();
      for (const [name, replicas] of Object.entries(POOLS)) await scale(runners(), name, replicas);
      await scale(namespace(), WORKER, 1);
      await settled(kubectl, namespace(), WORKER);
      await sql.end();
    }, 200_000);

    it('have the same runner wait for both of them', { timeout: 300_000 }, async () => {
      const both = await workers();
      const { hook } = await client.deploy(STAYING, { 'steps/stay.js': STAY });
      const seen = new Set<string>();
      for (let tries = 0; seen.size < both.length; tries++) {
        expect(tries).toBeLessThan(MOST_TRIES);
        const waiting = await theOneThatWaits(both);
        const reply = await client.post(hook, {});
        expect(reply.status, reply.text).toBe(202);
        // It is never another pod that is taken, whichever worker has the step.
        const owner = await waitFor(
          async () => {
            const { metadata } = await kubectl.get<Pod>(runners(), 'pod', waiting);
            return metadata.labels?.[CLAIMED];
          },
          { timeoutMs: 30_000, intervalMs: 200, what: `${waiting} to be claimed` },
        );
        expect(namesOf(both)).toContain(owner);
        seen.add(owner);
        expect(await client.finished(reply.data.executionId as string, 60_000)).toMatchObject({
          state: 'succeeded',
        });
      }
    });

    it(
      'run code in runners of their own each, and lose none of it while they roll',
      { timeout: 400_000 },
      async () => {
        const { hook } = await client.deploy(calling(ledger().port), { 'steps/call.js': CALL });
        const before = namesOf(await workers());
        expect(before).toHaveLength(2);
        load = startLoad({ origin: client.base, hook, perSecond: PER_SECOND });
        await allClaim(before);
        const span = await load.during(async () => {
          await delay(2000);
          await kubectl.run(['--namespace', namespace(), 'rollout', 'restart', `deployment/${WORKER}`]);
          await settled(kubectl, namespace(), WORKER);
          const now = namesOf(await workers());
          expect(now.filter((name) => before.includes(name))).toEqual([]);
          await allClaim(now);
        });
        await load.stop();

        expect(span.answers).toEqual({ 202: span.sent.length });
        const endpointId = hook.slice('/hooks/'.length);
        const counts = await check({
          sql,
          ledger: ledger(),
          endpointId,
          path: PATH,
          stepsEach: 1,
          sent: load.sent,
          boundMs: 120_000,
        });
        const { rows } = await sql.query<{ code: string; attempts: number }>(
          `select s.error->>'code' as code, count(*)::int as attempts
           from step_run s join execution e on e.id = s.execution_id join delivery d on d.id = e.delivery_id
           where d.endpoint_id = $1 and s.state <> 'succeeded' group by 1`,
          [endpointId],
        );
        expect(rows.filter(({ code }) => code !== 'sandbox_lost')).toEqual([]);
        report.section('Code steps while workers roll', [
          `Development with two workers took ${PER_SECOND} webhooks a second, each an execution of a \`code\` step that calls a service, while both workers were replaced.`,
          `Of ${load.sent.length} requests ${counts.ok} were accepted, which became ${counts.executions} executions. Lost: ${counts.lost}; doubled: ${counts.duplicates}; steps that ran`,
          `again after their outcome was recorded: ${counts.reRun}; attempts that lost their sandbox: ${rows[0]?.attempts ?? 0}, with ${counts.lostLeases} lost leases.`,
        ]);
      },
    );

    /** Waits until the pool's only pod has registered with all workers. */
    const theOneThatWaits = (all: readonly Pod[]): Promise<string> =>
      waitFor(
        async () => {
          const [pod, ...others] = (await podsOf(kubectl, runners(), WAITING)).filter(isReady);
          if (pod === undefined || others.length > 0) return undefined;
          const { name } = pod.metadata;
          const log = await kubectl.run(['--namespace', runners(), 'logs', name, '--container', 'relay']);
          const registered = log.split('\n').filter((line) => line.includes('"registered"'));
          const isKnown = ({ status }: Pod): boolean =>
            registered.some((line) => line.includes(`"${status.podIP}:`));
          return all.every(isKnown) ? name : undefined;
        },
        { timeoutMs: 90_000, intervalMs: 500, what: 'a runner that both workers know' },
      );
  });
}
