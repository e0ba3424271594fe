import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check } from '../../faults/harness/checker.ts';
import { startLedger, type Ledger } from '../../faults/harness/ledger.ts';
import { startLoad, type Load, type Span } from '../../faults/harness/load.ts';
import { deployLedgerWorkflow, putHookCredential, type Target } from '../../faults/harness/stage.ts';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { evict, OVER_BUDGET } from '../harness/evict.ts';
import type { Installation } from '../harness/installation.ts';
import { findKit, type Kit } from '../harness/kit.ts';
import { isReady, podsOf, settled, type Pod } from '../harness/kubectl.ts';
import { MACHINE } from '../harness/machine.ts';
import { table } from '../harness/report.ts';
import { API, installStaging, WORKER, type Staging } from '../harness/staging.ts';
import { describeAutoscaling } from './autoscaling.ts';
import { describeIngress } from './ingress.ts';
import type { Part } from './part.ts';
import { describeUpgrades } from './upgrades.ts';

const PER_SECOND = 20;

interface Event {
  readonly what: string;
  readonly span: Span;
}

export function describeRollouts({ cluster, kubectl, report }: Part): void {
  describe.runIf(cluster.isKit)('staging under a steady load of webhooks', () => {
    let installed: Staging;
    let staging: Installation;
    let ledger: Ledger;
    let sql: pg.Pool;
    let load: Load;
    let target: Target;
    let client: ApiClient;
    let kit: Kit;
    const events: Event[] = [];

    beforeAll(async () => {
      kit = await findKit(process.env);
      ledger = await startLedger(MACHINE);
      installed = await installStaging(kubectl, cluster.images, ledger.port);
      ({ installation: staging, client, sql } = installed);
      await putHookCredential(client);
      target = await deployLedgerWorkflow(client, ledger, 'rollouts');
      load = startLoad({ origin: installed.origin, hook: target.hook, perSecond: PER_SECOND });
    }, 400_000);
    afterAll(async () => {
      await load.stop();
      await installed.remove();
      await ledger.close();
    }, 240_000);

    const run = (...args: readonly string[]): Promise<string> =>
      kubectl.run(['--namespace', staging.namespace, ...args], { timeoutMs: 300_000 });
    const pods = (component: string): Promise<readonly Pod[]> =>
      podsOf(kubectl, staging.namespace, `app.kubernetes.io/component=${component}`);
    /** Does something while webhooks come, and takes no answer but a good one. */
    const under = async (what: string, work: () => Promise<void>): Promise<void> => {
      const span = await load.during(async () => {
        await delay(2000);
        await work();
        await delay(2000);
      });
      events.push({ what, span });
      expect(span.sent.length, 'webhooks were sent').toBeGreaterThan(3 * PER_SECOND);
      // With when it happened, which tells what was just going on.
      const refused = span.sent
        .filter(({ outcome }) => outcome !== 'ok')
        .map(
          ({ answer, sentAtMs, tookMs }) =>
            `${answer} at ${new Date(sentAtMs).toISOString()} after ${Math.round(tookMs)} ms`,
        );
      expect(refused, JSON.stringify(span.answers)).toEqual([]);
      expect(span.answers).toEqual({ 202: span.sent.length });
    };

    it.each([
      ['rolling restart of the API', API],
      ['rolling restart of the workers', WORKER],
    ])('%s', { timeout: 300_000 }, async (what, deployment) => {
      const component = deployment === API ? 'api' : 'worker';
      const before = new Set((await pods(component)).map(({ metadata }) => metadata.uid));
      await under(what, async () => {
        await run('rollout', 'restart', `deployment/${deployment}`);
        await run('rollout', 'status', `deployment/${deployment}`, '--timeout', '240s');
        await settled(kubectl, staging.namespace, deployment);
      });
      expect((await pods(component)).filter(({ metadata }) => before.has(metadata.uid))).toEqual([]);
    });

    it('pods deleted at random', { timeout: 300_000 }, async () => {
      let deleted = 0;
      await under('pods deleted at random (2 of the API, 2 workers)', async () => {
        for (const component of ['api', 'worker', 'worker', 'api']) {
          const ready = (await pods(component)).filter(isReady);
          const victim = ready[Math.floor(Math.random() * ready.length)];
          expect(victim, `a pod of ${component}`).toBeDefined();
          await run('delete', 'pod', victim!.metadata.name, '--wait=false'); // just looked
          deleted++;
          await settled(kubectl, staging.namespace, component === 'api' ? API : WORKER);
        }
      });
      expect(deleted).toBe(4);
    });

    it('the node is drained: every pod is evicted, as the budgets allow', { timeout: 300_000 }, async () => {
      let refusals = 0;
      await under('a drain: both pods of the API and both workers evicted', async () => {
        const victims = [...(await pods('api')), ...(await pods('worker'))];
        expect(victims).toHaveLength(4);
        for (const { metadata } of victims) {
          await waitFor(
            async () => {
              const answer = await evict(kubectl, staging.namespace, metadata.name);
              if (answer === 'evicted') return true;
              expect(answer).toContain(OVER_BUDGET);
              refusals++;
              return false;
            },
            { timeoutMs: 120_000, intervalMs: 500, what: `the eviction of ${metadata.name}` },
          );
        }
        for (const deployment of [API, WORKER]) await settled(kubectl, staging.namespace, deployment);
      });
      // The second pod of each had to wait for another one in the place of the first.
      expect(refusals).toBeGreaterThan(0);
    });

    describeUpgrades({ cluster, kubectl, staging: () => staging, sql: () => sql, under });
    describeAutoscaling({ kubectl, staging: () => staging, client: () => client, under });

    it('workers from 1 to 3 and back', { timeout: 400_000 }, async () => {
      // It would take its own number again.
      await run('delete', 'horizontalpodautoscaler', `${WORKER}-hpa`);
      await under('workers from 1 to 3 and back', async () => {
        for (const replicas of [1, 3, 1]) {
          await run('scale', `deployment/${WORKER}`, '--replicas', String(replicas));
          await settled(kubectl, staging.namespace, WORKER);
        }
      });
    });

    it('the pod of Redis deleted', { timeout: 200_000 }, async () => {
      const [before] = await pods('redis');
      await under('the pod of Redis deleted', async () => {
        await run('delete', 'pod', 'staging-millrace-redis-0');
        await waitFor(
          async () => {
            const [now] = await pods('redis');
            return now !== undefined && now.metadata.uid !== before?.metadata.uid && isReady(now);
          },
          { timeoutMs: 120_000, intervalMs: 500, what: 'another Redis' },
        );
      });
    });

    it('nothing was lost, and nothing ran twice', { timeout: 200_000 }, async () => {
      await load.stop();
      const counts = await check({
        sql,
        ledger,
        endpointId: target.endpointId,
        path: target.path,
        stepsEach: target.stepsEach,
        sent: load.sent,
        boundMs: 120_000,
      });
      const { ok, executions, lost, duplicates, reRun, repeatedInFlight, lostLeases } = counts;
      report.section('Under load', [
        `Staging (two of the API, two workers) took ${PER_SECOND} signed webhooks a second, each an execution of three \`http\` steps, while:`,
        '',
        ...table(
          ['what happened', 'requests', 'not 2xx', 'p99'],
          events.map(({ what, span }) => [
            what,
            span.sent.length,
            span.sent.length - (span.answers['202'] ?? 0),
            `${Math.round(span.p99Ms)} ms`,
          ]),
        ),
        '',
        `Of all ${load.sent.length} requests ${ok} were accepted, which became ${executions} executions. Lost: ${lost}; doubled: ${duplicates}; steps that ran again after`,
        `their outcome was recorded: ${reRun}; steps that were cut off and ran again under the same key: ${repeatedInFlight}, with ${lostLeases} lost leases.`,
      ]);
    });

    describeIngress({ kubectl, kit: () => kit, staging: () => staging, client: () => client });
  });
}
