import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { extendRunners, tool } from '../../support/manifests.ts';
import { waitFor } from '../../support/wait-for.ts';
import { expectNoDrift } from '../harness/drift.ts';
import { startGate, type Gate } from '../harness/gate.ts';
import { findKit } from '../harness/kit.ts';
import { podsOf, type Deployment, type KubernetesObject } from '../harness/kubectl.ts';
import { MACHINE } from '../harness/machine.ts';
import { NOT_RUN, table } from '../harness/report.ts';
import { runWell } from '../harness/run.ts';
import { API, installStaging, WORKER, type Staging } from '../harness/staging.ts';
import type { Part } from './part.ts';

const AGE = 's0-metric-api-millrace_queue_oldest_age_seconds';
const DEPTH = 's1-metric-api-millrace_queue_depth';
/** Of webhooks sent at once. */
const AT_ONCE = 20;
/** Executions that wait for an answer give their slot away; with this much in hand, some dozens may. */
const LOAD = 'x'.repeat(1_000_000);
const CPU_TARGET = 75;
/** Of the report. */
const SCALED = 'Workers scaled by their queue';
/** As many as a node of two cores holds. */
const MOST = 3;

/** An execution that waits for an answer, which takes none of a worker's time. */
const patient = (url: string): string => `name: patient
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: wait, http: { method: POST, url: "${url}/" } }
`;

const WORKERS = 'app.kubernetes.io/component=worker';
const POOL = 'runner-warm-pool';
/** For each runner that waits, as the component has it. */
const CLAIMS_A_RUNNER = 6;
const POOLS_SCALED = 'Warm pools scaled by their claims';

/** Takes a runner of its own each time. */
const ALONE = `name: alone
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: run, code: steps/run.js, isolation: execution }
`;

interface Reading {
  readonly averageUtilization?: number;
  /** Quantities, as `12500m`. */
  readonly averageValue?: string;
  readonly value?: string;
}

interface Autoscaler extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & {
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[];
  };
  readonly spec: {
    readonly minReplicas: number;
    readonly maxReplicas: number;
    readonly behavior: Readonly<
      Record<'scaleUp' | 'scaleDown', { readonly stabilizationWindowSeconds: number }>
    >;
  };
  readonly status: {
    readonly desiredReplicas: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
    readonly currentMetrics?: readonly {
      readonly resource?: { readonly name: string; readonly current: Reading };
      readonly external?: { readonly metric: { readonly name: string }; readonly current: Reading };
    }[];
  };
}

/** What an autoscaler knew when it decided. */
interface Decision {
  readonly replicas: number;
  /** Which metric asked for so many. */
  readonly because: string;
  readonly cpu: number;
  readonly age: number;
  /** For each worker. */
  readonly depth: number;
}

const toNumber = (quantity = ''): number =>
  quantity.endsWith('m') ? Number(quantity.slice(0, -1)) / 1000 : Number(quantity || 'NaN');

/** @returns undefined while it does not know all of its metrics */
function decisionOf({ status }: Autoscaler): Decision | undefined {
  const external = (name: string): Reading | undefined =>
    status.currentMetrics?.find((metric) => metric.external?.metric.name === name)?.external?.current;
  const cpu = status.currentMetrics?.find(({ resource }) => resource?.name === 'cpu')?.resource?.current;
  const active = status.conditions?.find(({ type }) => type === 'ScalingActive');
  const decision = {
    replicas: status.desiredReplicas,
    because: active?.message ?? '',
    cpu: cpu?.averageUtilization ?? Number.NaN,
    age: toNumber(external(AGE)?.value),
    depth: toNumber(external(DEPTH)?.averageValue),
  };
  const knows = [decision.cpu, decision.age, decision.depth].every((value) => !Number.isNaN(value));
  return active?.status === 'True' && knows ? decision : undefined;
}

/** Component keda on staging, with KEDA itself. Building it takes ten minutes, the first time. */
export function describeKeda({ cluster, kubectl, report, isAll }: Part): void {
  if (!isAll) for (const title of [SCALED, POOLS_SCALED]) report.section(title, [NOT_RUN]);
  describe.runIf(isAll)('the workers of staging, with KEDA', () => {
    let gate: Gate;
    let staging: Staging;
    let hook: string;
    let sent = 0;
    const rows: (readonly (string | number)[])[] = [];

    beforeAll(async () => {
      await (await findKit(process.env)).up(['keda']);
      gate = await startGate(MACHINE);
      staging = await installStaging(kubectl, cluster.images, gate.port);
      ({ hook } = await staging.client.deploy(patient(gate.url)));
    }, 1_800_000);
    afterAll(async () => {
      await staging.remove();
      await gate.close();
    }, 240_000);

    const namespace = (): string => staging.installation.namespace;
    const autoscaler = (): Promise<Autoscaler> =>
      kubectl.get<Autoscaler>(namespace(), 'horizontalpodautoscaler', `${WORKER}-hpa`);
    const workers = (): Promise<Deployment> => kubectl.get<Deployment>(namespace(), 'deployment', WORKER);
    const patch = (kind: string, name: string, spec: object): Promise<string> =>
      kubectl.run([
        '--namespace',
        namespace(),
        'patch',
        kind,
        name,
        '--type=merge',
        '--patch',
        JSON.stringify({ spec }),
      ]);
    const decided = async (
      what: string,
      isIt: (decision: Decision) => boolean,
      timeoutMs = 120_000,
    ): Promise<Decision> =>
      waitFor(
        async () => {
          const decision = decisionOf(await autoscaler());
          return decision !== undefined && isIt(decision) ? decision : undefined;
        },
        { timeoutMs, intervalMs: 500, what },
      );

    it('belong to it from then on, with what they are scaled by', { timeout: 180_000 }, async () => {
      const before = await autoscaler();
      await runWell([tool('kustomize'), 'edit', 'add', 'component', '../../../components/keda'], {
        cwd: join(staging.installation.overlay, 'platform'),
      });
      const { code, stderr } = await staging.installation.apply();
      expect(code, stderr).toBe(0);

      await decided('KEDA to give the age and the depth', () => true);
      const after = await autoscaler();
      expect(after.metadata.uid).toBe(before.metadata.uid);
      expect(after.metadata.ownerReferences?.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
        `ScaledObject ${WORKER}`,
      ]);
      expect([after.spec.minReplicas, after.spec.maxReplicas]).toEqual([2, 10]);
      expect(after.spec.behavior.scaleUp.stabilizationWindowSeconds).toBe(0);
      expect(after.spec.behavior.scaleDown.stabilizationWindowSeconds).toBe(600);
      await expectNoDrift(kubectl, staging.installation);

      // From here on: no more than the node holds, and nobody waits for ten minutes.
      const scaleDown = {
        stabilizationWindowSeconds: 15,
        policies: [{ type: 'Pods', value: MOST, periodSeconds: 15 }],
      };
      const behavior = { scaleDown };
      await patch('scaledobject', WORKER, {
        maxReplicaCount: MOST,
        advanced: { horizontalPodAutoscalerConfig: { behavior } },
      });
      await waitFor(async () => (await autoscaler()).spec.maxReplicas === MOST, { timeoutMs: 60_000 });
    });

    it.each([
      // Below the 100 a worker that the length is to have. Small ones, being so few, would find room in the two workers;
      // large ones fill the hands of the third, too.
      ['how long executions wait', AGE, { waiting: 80, load: LOAD, isTakenWhole: false }],
      // Their age would ask for as many three quarters of a minute later.
      ['how many executions wait', DEPTH, { waiting: 900, load: '', isTakenWhole: true }],
    ] as const)(
      'become more by %s while their processors have time, and less afterwards',
      { timeout: 400_000 },
      async (what, metric, { waiting, load, isTakenWhole }) => {
        // One that is leaving still has its place on the node, which the third one needs.
        await waitFor(async () => (await podsOf(kubectl, namespace(), WORKERS)).length === 2, {
          timeoutMs: 120_000,
          intervalMs: 1000,
          what: 'no more than two workers',
        });
        await decided('idle workers', ({ replicas, cpu }) => replicas === 2 && cpu < CPU_TARGET / 2);
        gate.shut();
        await occupyWorkers();
        await send(waiting, load);
        const sentAt = performance.now();
        const { queued = 0 } = await counts();
        expect(queued).toBeGreaterThan(waiting / 2);

        const up = await decided('more than two workers', ({ replicas }) => replicas > 2);
        const upAfterMs = performance.now() - sentAt;
        expect(up.because).toContain(metric);
        expect(up.cpu).toBeLessThan(CPU_TARGET);
        if (metric === AGE) expect(up.depth).toBeLessThan(100);
        await waitFor(async () => ((await workers()).status.readyReplicas ?? 0) > 2, {
          timeoutMs: 120_000,
          intervalMs: 1000,
          what: 'a third worker',
        });
        const isTaken = (left = 0): boolean => (isTakenWhole ? left === 0 : left < queued);
        await waitFor(async () => isTaken((await counts())['queued']), {
          timeoutMs: 60_000,
          intervalMs: 1000,
          what: 'the third worker to take what waits',
        });

        gate.open();
        const openedAt = performance.now();
        await waitFor(async () => (await counts())['succeeded'] === sent, {
          timeoutMs: 120_000,
          intervalMs: 1000,
          what: 'all executions to succeed',
        });
        await waitFor(async () => (await workers()).spec.replicas === 2, {
          timeoutMs: 180_000,
          intervalMs: 1000,
          what: 'two workers again',
        });
        rows.push([
          what,
          `${Math.round(up.age)} s`,
          Math.round(up.depth),
          `${up.cpu} %`,
          `${up.replicas} after ${Math.round(upAfterMs / 1000)} s`,
          `2 after ${Math.round((performance.now() - openedAt) / 1000)} s`,
        ]);
        report.section(SCALED, [
          `Staging with component keda: two workers, ${MOST} at most, whose processors had time (the autoscaler's target is ${CPU_TARGET} %). They`,
          'became more by',
          '',
          ...table(
            ['by', 'oldest age', 'length for each worker', 'processors then', 'wanted', 'back at'],
            rows,
          ),
          '',
          'once all had their answer, with 15 s instead of 600 s before workers become less.',
        ]);
      },
    );

    it('keep more runners ready while workflows take many', { timeout: 900_000 }, async () => {
      const { runners, overlay } = staging.installation;
      const pool = (): Promise<Deployment> => kubectl.get<Deployment>(runners, 'deployment', POOL);
      const waiting = async (): Promise<number> => (await pool()).status.readyReplicas ?? 0;
      const scaler = (): Promise<Autoscaler> =>
        kubectl.get<Autoscaler>(runners, 'horizontalpodautoscaler', `${POOL}-hpa`);
      const limits = (least: number, most: number) => [
        { op: 'replace', path: '/spec/minReplicaCount', value: least },
        { op: 'replace', path: '/spec/maxReplicaCount', value: most },
        {
          op: 'replace',
          path: '/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown',
          value: {
            stabilizationWindowSeconds: 15,
            policies: [{ type: 'Pods', value: 2, periodSeconds: 15 }],
          },
        },
      ];
      // As few as a node of two cores holds beside one API and one worker.
      await extendRunners(overlay, {
        runners: ['keda-runners'],
        runnerPatches: [
          { target: { kind: 'ScaledObject', name: `${POOL}$` }, patch: JSON.stringify(limits(1, 3)) },
          { target: { kind: 'ScaledObject', name: `${POOL}-python` }, patch: JSON.stringify(limits(1, 1)) },
        ],
      });
      const { code, stderr } = await staging.installation.apply();
      expect(code, stderr).toBe(0);
      await waitFor(async () => (await scaler()).spec.minReplicas === 1, {
        timeoutMs: 60_000,
        intervalMs: 1000,
        what: 'the pool to have its autoscaler',
      });
      await expectNoDrift(kubectl, staging.installation);
      await patch('scaledobject', WORKER, { minReplicaCount: 1, maxReplicaCount: 1 });
      await patch('horizontalpodautoscaler', `${API}-hpa`, { minReplicas: 1, maxReplicas: 1 });
      await waitFor(
        async () => {
          const components = ['api', 'worker'].map((one) => `app.kubernetes.io/component=${one}`);
          const pods = await Promise.all(components.map((one) => podsOf(kubectl, namespace(), one)));
          return pods.every(({ length }) => length === 1) && (await waiting()) === 1;
        },
        { timeoutMs: 240_000, intervalMs: 1000, what: 'one runner to wait beside one API and one worker' },
      );

      const { hook: alone } = await staging.client.deploy(ALONE, {
        'steps/run.js': 'export default () => 1;\n',
      });
      const startedAt = performance.now();
      let taken = 0;
      let grown: Autoscaler | undefined;
      while (grown === undefined) {
        expect(taken).toBeLessThan(100);
        const reply = await staging.client.post(alone, {});
        expect(reply.status, reply.text).toBe(202);
        expect(await staging.client.finished(reply.data.executionId as string, 120_000)).toMatchObject({
          state: 'succeeded',
        });
        taken++;
        const now = await scaler();
        if (now.status.desiredReplicas > 1) grown = now;
      }
      const grownAfterMs = performance.now() - startedAt;
      expect(taken).toBeGreaterThan(CLAIMS_A_RUNNER);
      expect(grown.status.conditions?.find(({ type }) => type === 'ScalingActive')?.message).toContain(
        'javascript_claims_per_minute',
      );
      await waitFor(async () => (await waiting()) > 1, {
        timeoutMs: 60_000,
        intervalMs: 500,
        what: 'more runners to wait',
      });
      const most = await waiting();

      const quietAt = performance.now();
      await waitFor(async () => (await pool()).spec.replicas === 1, {
        timeoutMs: 240_000,
        intervalMs: 1000,
        what: 'one runner to wait again',
      });
      report.section(POOLS_SCALED, [
        `Staging with component keda-runners, one runner at least, one for each ${CLAIMS_A_RUNNER} claims a minute: ${taken} executions with a runner each had`,
        `${grown.status.desiredReplicas} wait after ${Math.round(grownAfterMs / 1000)} s (${most} ready), and one ${Math.round((performance.now() - quietAt) / 1000)} s after the last of them, with 15 s instead of 600 s`,
        'before pools become smaller.',
      ]);
    });

    const counts = async (): Promise<Readonly<Record<string, number>>> => {
      const { data } = await staging.client.call('GET', '/api/v1/executions/stats?workflow=patient');
      return data.counts as Readonly<Record<string, number>>;
    };

    /** Sends executions that wait for their answers until one waits for a worker instead, and goes on waiting. */
    async function occupyWorkers(): Promise<void> {
      const isTaken = async (): Promise<boolean> => {
        const before = gate.held();
        await send(1, LOAD);
        return waitFor(() => gate.held() > before, { timeoutMs: 5000 }).then(
          () => true,
          // One that is merely slow to start would have the workers take all that comes after it, too.
          async () => (await counts())['queued'] === 0,
        );
      };
      while (await isTaken()) expect(sent).toBeLessThan(2000);
    }

    async function send(count: number, load = ''): Promise<void> {
      for (let left = count; left > 0; left -= AT_ONCE) {
        const replies = await Promise.all(
          Array.from({ length: Math.min(AT_ONCE, left) }, () =>
            staging.client.post(hook, { n: sent++, load }),
          ),
        );
        expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([202]));
      }
    }
  });
}
