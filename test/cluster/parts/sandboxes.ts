import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLedger, type Ledger } from '../../faults/harness/ledger.ts';
import { newTenant } from '../../faults/harness/tenant.ts';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { withApi as withApiOf } from '../harness/api.ts';
import { withDatabase } from '../harness/database.ts';
import { evict, OVER_BUDGET } from '../harness/evict.ts';
import { createInstallation, type Installation } from '../harness/installation.ts';
import { isReady, podsOf, settled, type Deployment, type List, type Pod } from '../harness/kubectl.ts';
import { MACHINE, machineAccess } from '../harness/machine.ts';
import { table } from '../harness/report.ts';
import { run as runCommand } from '../harness/run.ts';
import type { Part } from './part.ts';
import { describeSharedPool } from './shared-pool.ts';

const WAITING = 'millrace.dev/pool';
const CLAIMED = 'millrace.dev/claimed-by';
const POOLS = ['runner-warm-pool', 'runner-warm-pool-python'] as const;
/** What the worker logs. */
const EMPTY = 'no runner of the warm pool is ready';
const FULL_AGAIN = 'the warm pool has runners again';
const WARM_SAMPLES = 20;
const COLD_SAMPLES = 3;
const REUSED_SAMPLES = 20;
const CONTAINER_SAMPLES = 3;

/** Which kernel it runs on, in which pod, and where it gets to from there. */
const PROBE = `
import ctypes, os, socket, time

def reach(host, port):
    started = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=2).close()
        return "reached"
    except OSError as error:
        return f"{type(error).__name__} after {time.monotonic() - started:.1f} s"

def run(ctx, input):
    log = ctypes.create_string_buffer(4096)
    length = ctypes.CDLL(None).klogctl(3, log, 4096)
    return {
        "kernel": log.raw[:max(0, length)].decode(),
        "pod": socket.gethostname(),
        "user": os.getuid(),
        "environment": sorted(os.environ),
        # The image has empty folders where the relay's volumes go.
        "token": any(files for top in ("/etc/millrace", "/var/run/secrets") for _, _, files in os.walk(top)),
        "reach": {f"{host}:{port}": reach(host, port) for host, port in input["targets"]},
    }
`;
/** Of the step that does not end by itself. */
const ENDLESS_S = 15;
const ENDLESS = `export default async (ctx, { isEndless }) => {
  for (; isEndless; ) {}
  return 'it ended';
};
`;
const CLOCK = 'export default async () => ({ at: Date.now() });\n';

const workflow = (name: string, file: string, more = ''): string => `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: look, code: steps/${file}, ${more}input: '\${{ trigger.body }}' }
output: steps.look.output
`;

/** What a program sees in an image that has nothing of ours, and in a pod of its own. */
const SEEN = `
cat > /tmp/input
printf '{"input": %s, "user": "%s", "capabilities": "%s", "interfaces": "%s", "environment": "%s", "refused": "%s", "kernel": "%s", "pod": "%s"}' \\
  "$(cat /tmp/input)" "$(id -u):$(id -g)" "$(grep CapEff /proc/self/status | cut -f2)" \\
  "$(grep -o '^ *[a-z0-9]*:' /proc/net/dev | tr -d ' \\n')" "$(env | cut -d= -f1 | sort | tr '\\n' ' ')" \\
  "$(touch /new 2>/dev/null || echo yes)" "$(cat /proc/version)" "$(cat /etc/hostname)"
echo seen >&2
`;
const container = (name: string, image: string, line: string, more = ''): string => `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - id: run
    container: { image: "${image}", command: [/bin/sh, -c, ${JSON.stringify(line)}] }
    input: '\${{ trigger.body }}'
    retry: { attempts: 1 }${more}
output: steps.run.output
`;

interface Looked {
  readonly kernel: string;
  readonly pod: string;
  readonly user: number;
  readonly environment: readonly string[];
  readonly token: boolean;
  readonly reach: Readonly<Record<string, string>>;
}

export function describeSandboxes({ cluster, kubectl, report, isShort }: Part): void {
  describe('code in runner pods', () => {
    let dev: Installation;
    /** What code calls, where the cluster reaches this machine. */
    let ledger: Ledger | undefined;

    beforeAll(async () => {
      // Any image with a shell will do for container steps.
      const literals = [`sandbox-images-allow=${cluster.images.postgres}`];
      if (cluster.isKit) {
        ledger = await startLedger(MACHINE);
        literals.push(`egress-allow-private=${MACHINE}:${ledger.port}`);
      }
      dev = await createInstallation(kubectl, cluster.images, 'development', {
        literals,
        resources: ledger === undefined ? {} : { 'test-access.yaml': machineAccess(ledger.port) },
      });
      await createInstallation(kubectl, cluster.images, 'development').then((before) => before.remove());
      const applied = await dev.apply();
      expect(applied.code, applied.stderr).toBe(0);
      const made = await dev.command('scripts/make-kubernetes-secret development | kubectl create -f -');
      expect(made.code, made.stderr).toBe(0);
      await settled(kubectl, dev.namespace, 'dev-millrace-api');
      await settled(kubectl, dev.namespace, 'dev-millrace-worker');
      await poolsReady();
    }, 400_000);
    afterAll(async () => {
      await dev.remove();
      await ledger?.close();
    }, 200_000);

    const poolReady = async (name: string): Promise<boolean> => {
      const { metadata, spec, status } = await kubectl.get<Deployment>(dev.runners, 'deployment', name);
      const pods = await podsOf(
        kubectl,
        dev.runners,
        `${WAITING}=${metadata.name === POOLS[0] ? 'javascript' : 'python'}`,
      );
      return status.readyReplicas === spec.replicas && pods.filter(isReady).length === spec.replicas;
    };
    const poolsReady = async (timeoutMs = 150_000): Promise<void> => {
      for (const name of POOLS) {
        await waitFor(() => poolReady(name), { timeoutMs, intervalMs: 1000, what: `${name} to be full` });
      }
    };
    const deleteWaiting = (): Promise<string> =>
      kubectl.run(['--namespace', dev.runners, 'delete', 'pods', '--selector', WAITING, '--wait=false']);
    const withApi = <T>(work: (client: ApiClient) => Promise<T>): Promise<T> => withApiOf(kubectl, dev, work);
    const deploy = async (
      client: ApiClient,
      name: string,
      file: string,
      text: string,
      more?: string,
    ): Promise<string> => (await client.deploy(workflow(name, file, more), { [`steps/${file}`]: text })).hook;
    const run = async (client: ApiClient, hook: string, body: object = { targets: [] }) => {
      const reply = await client.post(hook, body as never);
      expect(reply.status, reply.text).toBe(202);
      const execution = await client.finished(reply.data.executionId as string, 90_000);
      expect(execution.state, JSON.stringify(execution)).toBe('succeeded');
      return execution;
    };
    const look = async (client: ApiClient, hook: string, targets: readonly unknown[] = []): Promise<Looked> =>
      (await run(client, hook, { targets })).output as unknown as Looked;

    it('runs on the kernel of gVisor, as nobody, and reaches nothing', { timeout: 120_000 }, async () => {
      const worker = (await podsOf(kubectl, dev.namespace, 'app.kubernetes.io/component=worker'))[0]!;
      await withApi(async (client) => {
        const hook = await deploy(client, 'look', 'look.py', PROBE);
        const seen = await look(client, hook, [
          [worker.status.podIP, 8082],
          [worker.status.podIP, 8081],
          ['10.96.0.1', 443],
          ['169.254.169.254', 80],
          ['127.0.0.1', 8083],
        ]);
        expect(seen.kernel).toMatch(/gVisor/);
        expect(seen.user).toBe(65_532);
        expect(seen.token).toBe(false);
        expect(seen.environment.filter((name) => name.startsWith('KUBERNETES'))).toEqual([]);
        for (const [target, outcome] of Object.entries(seen.reach)) {
          expect.soft(outcome, target).not.toBe('reached');
        }
        // Code that has opened sockets costs its sandbox, so that this is another one, which stays.
        const { pod } = await look(client, hook);
        const labels = await waitFor(
          async () => {
            const pods = await podsOf(kubectl, dev.runners, CLAIMED);
            return pods.find(({ metadata }) => metadata.name === pod)?.metadata.labels;
          },
          { timeoutMs: 10_000, what: `${pod} to be marked as claimed` },
        );
        expect(labels).toMatchObject({ [CLAIMED]: worker.metadata.name });
        expect(labels).not.toHaveProperty([WAITING]);
        report.section('The kernel that code sees', [
          '```',
          ...seen.kernel.trim().split('\n').slice(0, 3),
          '```',
        ]);
      });
    });

    it(
      'never meets code of another tenant or workflow in its pod, and the pool fills again',
      { timeout: 240_000 },
      async () => {
        await withApi(async (first) => {
          const api = { port: Number(new URL(first.base).port) };
          const second = await withDatabase(kubectl, dev, (sql) => newTenant({ sql, api }));
          const seen: string[] = [];
          // To the letter the same workflow, but for whose it is.
          for (const [client, name] of [
            [first, 'mine'],
            [second, 'mine'],
            [second, 'yours'],
            [first, 'yours'],
          ] as const) {
            await poolsReady();
            const hook = await deploy(client, name, 'look.py', PROBE);
            const { pod } = await look(client, hook);
            expect((await look(client, hook)).pod).toBe(pod);
            expect(seen).not.toContain(pod);
            seen.push(pod);
          }
          const startedAt = performance.now();
          await poolsReady(60_000);
          expect(performance.now() - startedAt).toBeLessThan(60_000);
        });
      },
    );

    it.skipIf(isShort)(
      'ends code that never ends from outside, with its pod, and goes on in another',
      { timeout: 180_000 },
      async () => {
        const claimed = async (): Promise<readonly string[]> =>
          (await podsOf(kubectl, dev.runners, CLAIMED)).map(({ metadata }) => metadata.name);
        await poolsReady();
        await withApi(async (client) => {
          const limits = `timeout: ${ENDLESS_S}s, retry: { attempts: 1 }, `;
          const hook = await deploy(client, 'endless', 'endless.ts', ENDLESS, limits);
          const before = await claimed();
          const reply = await client.post(hook, { isEndless: true });
          const pod = await waitFor(async () => (await claimed()).find((name) => !before.includes(name)), {
            timeoutMs: ENDLESS_S * 1000,
            intervalMs: 200,
            what: 'the pod of the step to be marked',
          });
          const execution = await client.finished(reply.data.executionId as string, 60_000);
          expect(execution).toMatchObject({ state: 'failed', error: { code: 'timeout' } });
          await waitFor(
            async () =>
              !(await kubectl.get<List<Pod>>(dev.runners, 'pods')).items.some(
                ({ metadata }) => metadata.name === pod,
              ),
            { timeoutMs: 60_000, intervalMs: 500, what: `${pod} to be gone` },
          );
          expect((await run(client, hook, { isEndless: false })).output).toBe('it ended');
        });
      },
    );

    it.skipIf(isShort)(
      'loses half of those that wait at most, when nodes are drained',
      { timeout: 180_000 },
      async () => {
        await poolsReady();
        await waitFor(
          async () => {
            const allowed = '{.status.disruptionsAllowed}';
            const args = ['--namespace', dev.runners, 'get', 'poddisruptionbudget', POOLS[0]];
            return (await kubectl.run([...args, '--output', `jsonpath=${allowed}`])) === '1';
          },
          { timeoutMs: 30_000, intervalMs: 500, what: 'the budget to allow that one of two goes' },
        );
        const waiting = await podsOf(kubectl, dev.runners, `${WAITING}=javascript`);
        expect(waiting).toHaveLength(2);
        // At once, before there is another in the place of the first.
        const answers = await Promise.all(
          waiting.map(({ metadata }) => evict(kubectl, dev.runners, metadata.name)),
        );
        const refusals = answers.filter((answer) => answer !== 'evicted');
        expect(refusals).toEqual([expect.stringContaining(OVER_BUDGET)]);
        await poolsReady(60_000);
      },
    );

    it(
      'finds pods again within a minute when all that waited are deleted',
      { timeout: 120_000 },
      async () => {
        await poolsReady();
        const startedAt = performance.now();
        await deleteWaiting();
        await waitFor(async () => !(await poolReady(POOLS[0])), { timeoutMs: 20_000 });
        await poolsReady(60_000);
        const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
        report.section('A deleted pool', [
          `All runners that waited were deleted, and as many were ready ${seconds} s later.`,
        ]);
      },
    );

    it.skipIf(isShort).each([
      {
        what: 'the RuntimeClass',
        remove: ['delete', 'runtimeclass', 'gvisor'],
        reason: /RuntimeClass "gvisor" not found/i,
        finding: /^ERROR +kubernetes\.runtime_class +there is no RuntimeClass gvisor\n +→ kubectl apply -k /m,
        mend: () => dev.command('kubectl apply -k deployments/kubernetes/cluster'),
      },
      {
        what: 'its Deployment',
        remove: ['delete', 'deployment', POOLS[0]],
        reason: /there is no such Deployment/,
        finding:
          /^ERROR +kubernetes\.runners .*there is no such Deployment.*\n +→ kubectl apply -k .* -l millrace\.dev\/part=warm-pool$/m,
        mend: () => dev.apply(['--selector', 'millrace.dev/part=warm-pool']),
      },
    ])(
      'says that $what is gone, and is full again when somebody does what it says',
      { timeout: 400_000 },
      async ({ remove, reason, finding, mend }) => {
        await poolsReady();
        const [worker] = await podsOf(kubectl, dev.namespace, 'app.kubernetes.io/component=worker');
        const said = async (message: string): Promise<readonly Record<string, unknown>[]> => {
          const log = await kubectl.run(['--namespace', dev.namespace, 'logs', worker!.metadata.name]);
          return log
            .split('\n')
            .filter((line) => line.startsWith('{'))
            .map((line) => JSON.parse(line) as Record<string, unknown>)
            .filter(({ msg }) => msg === message);
        };
        const before = (await said(EMPTY)).length;
        const again = (await said(FULL_AGAIN)).length;
        await kubectl.run(['--namespace', dev.runners, ...remove]);
        await deleteWaiting();
        const line = await waitFor(
          async () => (await said(EMPTY)).slice(before).find((one) => reason.test(String(one['reason']))),
          { timeoutMs: 120_000, intervalMs: 1000, what: 'the worker to say what is missing' },
        );
        expect(line['remedy']).toMatch(/^kubectl apply -k /);
        const doctor = await runCommand(
          [process.execPath, 'bin/millrace.js', 'doctor', '--kubernetes', '-n', dev.namespace],
          { env: kubectl.env },
        );
        expect(doctor.stdout).toMatch(finding);
        expect(doctor.code).toBe(1);

        const mended = await mend();
        expect(mended.code, mended.stderr).toBe(0);
        // Kubernetes tries less and less often what it could not do.
        await poolsReady();
        await waitFor(async () => (await said(FULL_AGAIN)).length > again, {
          timeoutMs: 60_000,
          intervalMs: 1000,
          what: 'the worker to say that all is well again',
        });
      },
    );

    it.skipIf(isShort)(
      'is claimed in milliseconds from the pool, and in seconds without one',
      { timeout: 500_000 },
      async () => {
        await withApi(async (client) => {
          const latency = async (hook: string): Promise<number> => {
            const execution = await run(client, hook, {});
            const step = (execution['steps'] as unknown as readonly { readonly startedAt: string }[])[0]!;
            return (execution.output as { readonly at: number }).at - Date.parse(step.startedAt);
          };
          // Once each: pods that idle until they are given up take from the node what the next one needs.
          const fresh = async (name: string): Promise<number> =>
            latency(await deploy(client, name, 'clock.ts', `${CLOCK}// ${name}\n`, 'isolation: execution, '));
          const warm: number[] = [];
          for (let index = 0; index < WARM_SAMPLES; index++) {
            await poolsReady();
            warm.push(await fresh(`warm-${index}`));
          }
          const hook = await deploy(client, 'reused', 'clock.ts', CLOCK);
          await latency(hook);
          const reused: number[] = [];
          for (let index = 0; index < REUSED_SAMPLES; index++) reused.push(await latency(hook));
          const cold: number[] = [];
          await kubectl.run(['--namespace', dev.runners, 'scale', 'deployment', POOLS[0], '--replicas=0']);
          await waitFor(
            async () => (await podsOf(kubectl, dev.runners, `${WAITING}=javascript`)).length === 0,
            {
              timeoutMs: 60_000,
            },
          );
          for (let index = 0; index < COLD_SAMPLES; index++) cold.push(await fresh(`cold-${index}`));
          await kubectl.run(['--namespace', dev.runners, 'scale', 'deployment', POOLS[0], '--replicas=2']);
          const row = (what: string, all: readonly number[]) => {
            const sorted = all.toSorted((a, b) => a - b);
            const at = (part: number): number =>
              sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
            return [what, all.length, at(0.5), at(0.99)] as const;
          };
          report.section('From the claim of a sandbox to the first instruction of the author', [
            ...table(
              ['sandbox', 'samples', 'p50 ms', 'p99 ms'],
              [
                row('waiting in the pool', warm),
                row('reused', reused),
                row('made when the pool is empty', cold),
              ],
            ),
          ]);
          // Wide bounds: what it takes is in the report.
          expect(row('', warm)[2]).toBeLessThan(2000);
          expect(row('', cold)[2]).toBeLessThan(30_000);
        });
      },
    );

    it('gives a step that asks for more a pod that has it', { timeout: 120_000 }, async () => {
      await withApi(async (client) => {
        const definition = workflow('larger', 'look.py').replace(
          'code: steps/look.py,',
          'code: steps/look.py, resources: { memory: 384Mi },',
        );
        const { hook } = await client.deploy(definition, { 'steps/look.py': PROBE });
        const { pod } = await look(client, hook);
        const limits = await kubectl.run([
          '--namespace',
          dev.runners,
          'get',
          'pod',
          pod,
          '--output',
          'jsonpath={.spec.containers[?(@.name=="runner")].resources.limits.memory}',
        ]);
        expect(pod).toMatch(/^runner-cold-/);
        expect(limits).toBe('384Mi');
      });
    });

    it(
      'runs a container step in a pod of its image, which is gone afterwards',
      { timeout: 240_000 },
      async () => {
        const stepPods = async (): Promise<readonly string[]> =>
          (await podsOf(kubectl, dev.runners, CLAIMED))
            .map(({ metadata }) => metadata.name)
            .filter((name) => name.startsWith('step-'));
        await withApi(async (client) => {
          const { hook } = await client.deploy(container('see', cluster.images.postgres, SEEN));
          const seconds: number[] = [];
          for (let index = 0; index < CONTAINER_SAMPLES; index++) {
            const startedAt = performance.now();
            const execution = await run(client, hook, { number: index });
            seconds.push((performance.now() - startedAt) / 1000);
            expect(execution.output).toMatchObject({
              input: { number: index },
              user: '65532:65532',
              capabilities: '0000000000000000',
              interfaces: 'lo:',
              refused: 'yes',
              kernel: expect.stringMatching(/gvisor/i),
              pod: expect.stringMatching(/^step-/),
            });
            const { environment } = execution.output as { readonly environment: string };
            expect(environment).toContain('MILLRACE_IDEMPOTENCY_KEY');
            // As the image has it, and without what Kubernetes adds.
            expect(environment).toContain('LANG ');
            expect(environment).not.toContain('KUBERNETES');
          }
          await waitFor(async () => (await stepPods()).length === 0, {
            timeoutMs: 60_000,
            what: 'the pods of container steps to be gone',
          });
          report.section('Container steps', [
            `From the webhook to the end of a program that ends at once: ${seconds.map((one) => one.toFixed(1)).join(', ')} s.`,
          ]);
        });
      },
    );

    it.skipIf(isShort)(
      'says of a container step what went wrong, as one machine does',
      { timeout: 300_000 },
      async () => {
        const { postgres } = cluster.images;
        await withApi(async (client) => {
          for (const [name, image, line, more, code] of [
            ['exit-code', postgres, 'echo why >&2; exit 3', '', ['code_error']],
            ['late', postgres, 'sleep 600', '\n    timeout: 2s', ['timeout']],
            ['large', postgres, 'while true; do cat /bin/sh; done', '', ['output_too_large']],
            // Who is ended for want of memory is not always known to the kubelet.
            [
              'hungry',
              postgres,
              'x=aaaaaaaa; while true; do x=$x$x; done',
              '',
              ['out_of_memory', 'resource_limit'],
            ],
            ['not-listed', cluster.images.redis, 'true', '', ['image_not_found']],
          ] as const) {
            const { hook } = await client.deploy(container(name, image, line, more));
            const reply = await client.post(hook, {});
            const execution = await client.finished(reply.data.executionId as string, 120_000);
            const { error } = execution as unknown as { readonly error: { readonly code: string } };
            expect.soft(code, `${name}: ${JSON.stringify(error)}`).toContain(error.code);
          }
        });
      },
    );

    if (!isShort) {
      describeSharedPool(
        { cluster, kubectl, report },
        () => dev,
        () => ledger!, // as the cluster is the kit's
      );
    }

    it('leaves no pod behind when its worker is killed', { timeout: 240_000 }, async () => {
      await withApi(async (client) => {
        const hook = await deploy(client, 'before-the-end', 'look.py', PROBE);
        const { pod } = await look(client, hook);
        await kubectl.run([
          '--namespace',
          dev.namespace,
          'delete',
          'pods',
          '--selector',
          'app.kubernetes.io/component=worker',
          '--force',
          '--grace-period=0',
        ]);
        await waitFor(
          async () =>
            !(await podsOf(kubectl, dev.runners, CLAIMED)).some(({ metadata }) => metadata.name === pod),
          { timeoutMs: 150_000, intervalMs: 500, what: 'the pod of the killed worker to be deleted' },
        );
        await settled(kubectl, dev.namespace, 'dev-millrace-worker');
        expect((await look(client, hook)).pod).not.toBe(pod);
      });
    });
  });
}
