import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { expectNoDrift } from '../harness/drift.ts';
import { forwarding } from '../harness/forward.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { isReady, podsOf, settled, type Deployment, type List, type Pod } from '../harness/kubectl.ts';
import { table } from '../harness/report.ts';
import { describeAuthorities } from './authorities.ts';
import { describeBackups } from './backups.ts';
import { describeChangedSecrets } from './changed-secrets.ts';
import { describeCommands } from './documents.ts';
import { describeNodePort } from './nodeport.ts';
import type { Part } from './part.ts';

/** Takes a webhook, and answers with its name. */
export const HELLO = `name: hello
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: greet, transform: '{"text": "hello " + trigger.body.name}' }
output: steps.greet.output.text
`;

interface Event {
  readonly reason: string;
  readonly message: string;
}

export function describeDevelopment(part: Part): void {
  const { cluster, kubectl, report, isShort } = part;
  describe('development, as its document installs it', () => {
    let dev: Installation;

    beforeAll(async () => {
      dev = await createInstallation(kubectl, cluster.images, 'development');
      await createInstallation(kubectl, cluster.images, 'development').then((before) => before.remove());
    }, 200_000);
    afterAll(() => dev.remove(), 200_000);

    const command = async (line: string): Promise<string> => {
      const { code, stdout, stderr } = await dev.command(line);
      expect(code, `${line}\n${stderr}`).toBe(0);
      return stdout;
    };
    const platformPods = async (): Promise<readonly Pod[]> =>
      (await kubectl.get<List<Pod>>(dev.namespace, 'pods')).items;

    it('waits for its Secret, and says so', { timeout: 90_000 }, async () => {
      await command('kubectl apply -k deployments/kubernetes/overlays/development');
      await waitFor(
        async () => {
          const events = await kubectl.get<List<Event>>(dev.namespace, 'events');
          return events.items.some(
            ({ reason, message }) =>
              reason === 'FailedMount' && message.includes('secret "dev-millrace-secrets" not found'),
          );
        },
        { timeoutMs: 60_000, intervalMs: 500, what: 'an event that names the Secret' },
      );
      const pods = await platformPods();
      expect(pods.every((pod) => !isReady(pod))).toBe(true);
    });

    it(
      'is ready a while after the Secret is there, and nothing that serves has ended meanwhile',
      { timeout: 300_000 },
      async () => {
        await command('scripts/make-kubernetes-secret development | kubectl create -f -');
        const startedAt = performance.now();
        await settled(kubectl, dev.namespace, 'dev-millrace-api');
        await settled(kubectl, dev.namespace, 'dev-millrace-worker');
        await command('kubectl -n millrace-dev get pods');
        const seconds = Math.round((performance.now() - startedAt) / 1000);
        for (const { metadata, status } of await platformPods()) {
          // A Job tries until there is a database.
          if (metadata.labels?.['app.kubernetes.io/component'] === 'migrate') continue;
          const restarts = status.containerStatuses?.reduce((sum, { restartCount }) => sum + restartCount, 0);
          expect.soft(restarts, metadata.name).toBe(0);
        }
        report.section('Development from nothing', [
          `All pods were ready ${seconds} s after their Secret was made, without a restart.`,
        ]);
      },
    );

    it('turns a webhook through the Service into a succeeded execution', { timeout: 60_000 }, async () => {
      const key = await command(
        `kubectl -n millrace-dev get secret dev-millrace-secrets -o jsonpath='{.data.bootstrap-api-key}' | base64 -d`,
      );
      await forwarding(kubectl, dev.namespace, 'service/dev-millrace-api', 80, async (origin) => {
        const client = createApiClient(origin, key);
        const { hook } = await client.deploy(HELLO);
        const reply = await client.post(hook, { name: 'cluster' });
        expect(reply.status).toBe(202);
        expect(await client.finished(reply.data.executionId as string)).toMatchObject({
          state: 'succeeded',
          output: 'hello cluster',
        });
        // What an Ingress controller reaches has neither health nor metrics.
        for (const path of ['/health/live', '/health/ready', '/metrics']) {
          expect((await fetch(origin + path)).status, path).toBe(404);
        }
      });
      for (const [target, port] of [
        ['deployment/dev-millrace-api', 9090],
        ['deployment/dev-millrace-worker', 8081],
      ] as const) {
        await forwarding(kubectl, dev.namespace, target, port, async (origin) => {
          expect((await fetch(`${origin}/health/ready`)).status).toBe(200);
          expect(await (await fetch(`${origin}/metrics`)).text()).toContain('millrace_');
        });
      }
    });

    it('is not changed by being applied again', { timeout: 60_000 }, async () => {
      await expectNoDrift(kubectl, dev);
    });

    it('takes little while nothing happens', { timeout: 180_000 }, async () => {
      const usageOf = (namespace: string, pods: number): Promise<readonly (readonly string[])[]> =>
        waitFor(
          async () => {
            const args = ['--namespace', namespace, 'top', 'pods', '--no-headers'];
            const { code, stdout } = await kubectl.try(args);
            const rows = stdout
              .trim()
              .split('\n')
              .map((line) => line.split(/\s+/));
            return code === 0 && rows.length >= pods ? rows : undefined;
          },
          { timeoutMs: 150_000, intervalMs: 3000, what: `the usage of the pods of ${namespace}` },
        );
      const usage = [...(await usageOf(dev.namespace, 4)), ...(await usageOf(dev.runners, 3))];
      const rows = usage.map(([name = '', cpu = '', memory = '']) => [
        name.replace(/^dev-/, '').replace(/-[a-z0-9]{6,10}-[a-z0-9]{5}$/, ''),
        cpu,
        memory,
      ]);
      report.section('Idle', table(['pod', 'processor', 'memory'], rows));
      const memoryOf = (component: string): number =>
        Number(/^(\d+)Mi$/.exec(rows.find(([name]) => name === `millrace-${component}`)?.[2] ?? '')?.[1]);
      expect(memoryOf('api')).toBeLessThan(200);
      expect(memoryOf('worker')).toBeLessThan(300);
    });

    it(
      'stays up and unready where DATABASE_URL is wrong, and says so in one line',
      { timeout: 240_000 },
      async () => {
        const wrong = Buffer.from('postgres://millrace:canary@nowhere.invalid:5432/millrace').toString(
          'base64',
        );
        const { stdout: right } = await dev.command(
          `kubectl -n ${dev.namespace} get secret dev-millrace-secrets -o jsonpath='{.data.database-url}'`,
        );
        const setUrl = (value: string): Promise<string> =>
          kubectl.run([
            '--namespace',
            dev.namespace,
            'patch',
            'secret',
            'dev-millrace-secrets',
            '--patch',
            JSON.stringify({ data: { 'database-url': value } }),
          ]);
        const restart = (): Promise<string> =>
          command('kubectl -n millrace-dev rollout restart deployment -l app.kubernetes.io/name=millrace');
        await setUrl(wrong);
        try {
          await restart();
          const startedAt = performance.now();
          for (const component of ['api', 'worker']) {
            // Those of before may be unready for a moment, too; they know nothing of the wrong address.
            const { pod, log } = await waitFor(
              async () => {
                for (const one of await podsOf(kubectl, dev.namespace, `component=${component}`)) {
                  if (one.status.phase !== 'Running') continue;
                  const text = await kubectl.run(['--namespace', dev.namespace, 'logs', one.metadata.name]);
                  if (text.includes('nowhere.invalid')) return { pod: one, log: text };
                }
                return undefined;
              },
              { timeoutMs: 60_000, intervalMs: 500, what: `a ${component} that says what is wrong` },
            );
            expect(log).toContain('DATABASE_URL cannot be used');
            expect(log).not.toContain('canary');
            const said = log.split('\n').filter((line) => line.includes('waiting for the database'));
            // Again every minute.
            expect(said.length).toBeLessThanOrEqual(1 + (performance.now() - startedAt) / 60_000);
            expect(isReady(pod)).toBe(false);
            expect(pod.status.containerStatuses?.[0]?.restartCount).toBe(0);
            // The pods before go on until the new ones are ready: nobody is harmed by the mistake.
            const deployment = await waitFor(
              async () => {
                const now = await kubectl.get<Deployment>(
                  dev.namespace,
                  'deployment',
                  `dev-millrace-${component}`,
                );
                return now.status.readyReplicas === now.spec.replicas ? now : undefined;
              },
              { timeoutMs: 30_000, intervalMs: 500, what: `the ${component} of before to be ready` },
            );
            expect(deployment.status.updatedReplicas).toBe(1);
            expect(deployment.status.replicas).toBe(2);
          }
        } finally {
          await setUrl(right);
          await restart();
        }
        for (const component of ['api', 'worker']) {
          await settled(kubectl, dev.namespace, `dev-millrace-${component}`);
        }
      },
    );

    describeNodePort(part, () => dev);
    describeChangedSecrets(part, () => dev);
    if (isShort) return;
    describeAuthorities(part, () => dev);
    describeBackups(part, () => dev);
    // Last, for there has to be something to go back to.
    describeCommands(kubectl, () => dev);
  });
}
