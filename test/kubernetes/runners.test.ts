import { describe, expect, it } from 'vitest';
import { sandboxKeys } from '../../src/core/config/sandbox-keys.ts';
import type { Runtime } from '../../src/worker/sandbox/driver.ts';
import {
  AUDIENCE,
  GATEWAY_CONFIG_MAP,
  GATEWAY_PORT_NAME,
  IMAGE_TEMPLATE,
  POOL_LABEL,
  POOLS,
  RUNNER_CONTAINER,
  RUNNER_SERVICE_ACCOUNT,
  RUNTIME_CLASS,
  SERVER_NAME,
} from '../../src/worker/sandbox/kubernetes/names.ts';
import { podForImage, templateSchema } from '../../src/worker/sandbox/kubernetes/pod-template.ts';
import { parseQuantity } from '../../src/worker/sandbox/kubernetes/quantity.ts';
import {
  DENO_ARGUMENTS,
  DENO_INSIDE,
  ENTER_INSIDE,
  JAVASCRIPT_RUNNER_INSIDE,
  PROGRAM_INSIDE,
  PROVIDE_INSIDE,
  PYTHON_ARGUMENTS,
  PYTHON_RUNNER_INSIDE,
  RELAY_INSIDE,
} from '../../src/worker/sandbox/rootfs/layout.ts';
import { isAllowed, type Endpoint } from '../support/connections.ts';
import {
  configurationOf,
  ENVIRONMENTS,
  PREFIX,
  renderEnvironment,
  type Container,
  type PodSpec,
  type Rendered,
  type Workload,
} from '../support/manifests.ts';

/** In the relay's own volume. */
const USED_FILE = '/tmp/used';
const POOL_ENTRIES = Object.entries(POOLS) as readonly (readonly [Runtime, string])[];
const commandOf = ({ command = [], args = [] }: Container): readonly string[] => [...command, ...args];
const containerOf = ({ spec }: Workload, name: string): Container =>
  spec.template.spec.containers.find((one) => one.name === name)!;

describe.each(ENVIRONMENTS)('the runners of %s', (environment) => {
  const prefix = PREFIX[environment];
  const platform = `millrace-${prefix}`;
  const runners = `millrace-runners-${prefix}`;
  const rendering = renderEnvironment(environment);
  const pool = async (runtime: Runtime): Promise<Workload> =>
    (await rendering).one('Deployment', POOLS[runtime]);

  it('wait in a Deployment for each runtime, in the namespace that workers are told', async () => {
    const { data } = configurationOf(await rendering);
    expect(data).toMatchObject({
      'sandbox-driver': 'kubernetes',
      'runner-namespace': runners,
      'gateway-name': `${prefix}-millrace-gateway`,
    });
    for (const [runtime] of POOL_ENTRIES) {
      const { metadata, spec } = await pool(runtime);
      expect(metadata.namespace).toBe(runners);
      expect(spec.selector?.matchLabels).toHaveProperty([POOL_LABEL], runtime);
      expect(spec.template.metadata.labels).toHaveProperty([POOL_LABEL], runtime);
    }
    const counts = await Promise.all(
      POOL_ENTRIES.map(async ([runtime]) => (await pool(runtime)).spec.replicas),
    );
    expect(counts).toEqual(environment === 'development' ? [2, 1] : [5, 2]);
  });

  it.each(POOL_ENTRIES)(
    'for %s start the programs of their image, without a right more than needed',
    async (runtime) => {
      const workload = await pool(runtime);
      const relay = commandOf(containerOf(workload, 'relay'));
      const runner = commandOf(containerOf(workload, RUNNER_CONTAINER));
      const at = relay.indexOf(RELAY_INSIDE);
      expect(relay.slice(0, at)).toEqual([
        DENO_INSIDE,
        ...DENO_ARGUMENTS,
        '--allow-net',
        `--allow-read=/etc/millrace,${USED_FILE}`,
        `--allow-write=${USED_FILE}`,
      ]);
      const [name, runnerPort, readyPort, gatewayFolder, tokenFile, serverName, usedFile] = relay.slice(
        at + 1,
      );
      expect([name, serverName, usedFile]).toEqual([runtime, SERVER_NAME, USED_FILE]);
      expect(containerOf(workload, 'relay').ports).toEqual([
        { name: 'ready', containerPort: Number(readyPort) },
      ]);
      expect([gatewayFolder, tokenFile]).toEqual(['/etc/millrace/gateway', '/etc/millrace/token/token']);
      const python = ['/python/bin/python3', ...PYTHON_ARGUMENTS.slice(0, 3)];
      expect(runner).toEqual([
        ...python,
        ENTER_INSIDE,
        runnerPort,
        ...(runtime === 'javascript'
          ? [DENO_INSIDE, ...DENO_ARGUMENTS, JAVASCRIPT_RUNNER_INSIDE]
          : ['/python/bin/python3', ...PYTHON_ARGUMENTS, `${PYTHON_RUNNER_INSIDE}/main.py`]),
      ]);
    },
  );

  it.each(POOL_ENTRIES)('for %s have their token where no code of authors is', async (runtime) => {
    const workload = await pool(runtime);
    const { spec } = workload.spec.template;
    expect(spec).toMatchObject({
      runtimeClassName: RUNTIME_CLASS,
      serviceAccountName: RUNNER_SERVICE_ACCOUNT,
      automountServiceAccountToken: false,
    });
    const mountedIn = (name: string): readonly string[] =>
      containerOf(workload, name).volumeMounts!.map((mount) => mount.name);
    expect(mountedIn('relay')).toEqual(['gateway', 'token', 'relay-tmp']);
    expect(mountedIn(RUNNER_CONTAINER)).toEqual(['tmp', 'packages']);
    expect(spec.containers).toHaveLength(2);
    const volume = (name: string) => spec.volumes!.find((one) => one.name === name);
    expect(volume('gateway')?.configMap?.name).toBe(GATEWAY_CONFIG_MAP);
    expect(volume('token')?.projected?.sources).toEqual([
      { serviceAccountToken: { audience: AUDIENCE, expirationSeconds: 3600, path: 'token' } },
    ]);
  });

  it.each(POOL_ENTRIES)('for %s have the limits that workers ask for', async (runtime) => {
    const { limits } = containerOf(await pool(runtime), RUNNER_CONTAINER).resources!;
    expect(parseQuantity(limits['memory'])).toBe(sandboxKeys.SANDBOX_MEMORY_BYTES.schema.parse(undefined));
    expect(parseQuantity(limits['cpu'])).toBe(sandboxKeys.SANDBOX_CPUS.schema.parse(undefined));
  });

  describe('for container steps', () => {
    const template = async () => (await rendering).one('PodTemplate', IMAGE_TEMPLATE);
    const specOf = async (): Promise<PodSpec> => (await template()).template.spec;
    const byName = async (name: string): Promise<Container> => {
      const { containers, initContainers = [] } = await specOf();
      return [...containers, ...initContainers].find((one) => one.name === name)!;
    };
    const RESTRICTED = {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65_532,
      runAsGroup: 65_532,
      capabilities: { drop: ['ALL'] },
    };

    it('are made from a template in their namespace, with the walls of all others', async () => {
      expect((await template()).metadata.namespace).toBe(runners);
      const spec = await specOf();
      const javascript = (await pool('javascript')).spec.template;
      for (const key of [
        'runtimeClassName',
        'serviceAccountName',
        'automountServiceAccountToken',
        'enableServiceLinks',
        'terminationGracePeriodSeconds',
        'dnsPolicy',
        'dnsConfig',
        'securityContext',
      ] as const) {
        expect(spec, key).toHaveProperty(key, javascript.spec[key as keyof PodSpec]);
      }
      expect(spec).toHaveProperty('restartPolicy', 'Never');
      for (const name of ['provide', 'relay', RUNNER_CONTAINER]) {
        expect((await byName(name)).securityContext).toEqual(RESTRICTED);
      }
      const { [POOL_LABEL]: _, ...labels } = javascript.metadata.labels;
      expect((await template()).template.metadata.labels).toEqual(labels);
    });

    it('start the programs of their image, the last of which is put into that of the step', async () => {
      const flags = ['-I', '-S', '-B', '-X', 'utf8'];
      expect(commandOf(await byName('provide'))).toEqual([
        '/python/bin/python3',
        ...flags,
        PROVIDE_INSIDE,
        '/millrace',
      ]);
      expect(commandOf(await byName(RUNNER_CONTAINER))).toEqual([
        '/.millrace/lib/ld.so',
        '--library-path',
        '/.millrace/lib',
        '/.millrace/python/bin/python3',
        ...flags,
        `/.millrace${PROGRAM_INSIDE}`,
        '8084',
      ]);
      const relay = commandOf(await byName('relay'));
      const ofCode = commandOf(containerOf(await pool('javascript'), 'relay'));
      expect(relay).toEqual(ofCode.map((argument) => (argument === 'javascript' ? 'image' : argument)));
    });

    it('have their token where no code of authors is, and let it change nothing of what starts it', async () => {
      const mounts = async (name: string) =>
        (await byName(name)).volumeMounts!.map((mount) => [
          mount.name,
          mount.mountPath,
          'readOnly' in mount && mount.readOnly === true,
        ]);
      expect(await mounts('provide')).toEqual([['millrace', '/millrace', false]]);
      expect(await mounts(RUNNER_CONTAINER)).toEqual([
        ['millrace', '/.millrace', true],
        ['tmp', '/tmp', false],
      ]);
      expect((await mounts('relay')).map(([name]) => name)).toEqual(['gateway', 'token', 'relay-tmp']);
      const { volumes } = await specOf();
      expect(volumes!.find(({ name }) => name === 'token')?.projected?.sources).toEqual([
        { serviceAccountToken: { audience: AUDIENCE, expirationSeconds: 3600, path: 'token' } },
      ]);
    });

    it('reach the gateway of their workers, and nothing else', async () => {
      const rendered = await rendering;
      const parsed = templateSchema.parse((await template()).template);
      const pod = podForImage(parsed, {
        step: 'an-execution.a-step',
        image: 'example.com/tool:1',
        limits: { cpus: 1, memoryBytes: 268_435_456, pids: 256 },
        deadlineSeconds: 600,
        worker: 'worker-1',
      }) as { readonly metadata: { readonly labels: Readonly<Record<string, string>> } };
      const from: Endpoint = { namespace: runners, labels: pod.metadata.labels, ports: {} };
      const to = worker(rendered);
      expect(isAllowed(rendered, { from, to, port: 8082 })).toBe(true);
      expect(isAllowed(rendered, { from, to, port: 8081 })).toBe(false);
      for (const [other, port] of OTHERS) {
        expect.soft(isAllowed(rendered, { from, to: other, port }), JSON.stringify(other)).toBe(false);
      }
      expect(isAllowed(rendered, { from: to, to: from, port: 8083 })).toBe(false);
      // No Deployment, and no budget for disruptions, takes it for one of its own.
      expect(pod.metadata.labels[POOL_LABEL]).toBe('image');
    });

    it('run none that no administrator has listed', async () => {
      expect(configurationOf(await rendering).data).toHaveProperty('sandbox-images-allow', '');
    });
  });

  it('are found by a Service on the port that workers listen on', async () => {
    const { spec } = (await rendering).one('Service', `${prefix}-millrace-gateway`);
    expect(spec.ports).toEqual([{ name: GATEWAY_PORT_NAME, port: 8082, targetPort: 'gateway' }]);
    expect(sandboxKeys.GATEWAY_PORT.schema.parse(undefined)).toBe(8082);
  });

  it('give workers these rights and no other, and nobody else any', async () => {
    const rendered = await rendering;
    const rules = (kind: 'Role' | 'ClusterRole', namespace?: string) =>
      rendered
        .of(kind)
        .filter(({ metadata }) => metadata.namespace === namespace)
        .flatMap((role) =>
          role.rules.map(({ resources, verbs, resourceNames = [] }) =>
            [resources.join(), verbs.join(), ...resourceNames].join(' '),
          ),
        )
        .sort();
    expect(rules('ClusterRole')).toEqual(['tokenreviews create']);
    expect(rules('Role', platform)).toEqual([
      'endpointslices list',
      `secrets get,update ${prefix}-millrace-gateway`,
      `services get ${prefix}-millrace-gateway`,
    ]);
    expect(rules('Role', runners)).toEqual([
      `configmaps get,update ${GATEWAY_CONFIG_MAP}`,
      `deployments get ${POOLS.javascript} ${POOLS.python}`,
      'pods get,list,create,patch,delete',
      `podtemplates get ${IMAGE_TEMPLATE}`,
    ]);
    expect(JSON.stringify([...rendered.of('Role'), ...rendered.of('ClusterRole')])).not.toContain('"*"');
    const bindings = [...rendered.of('RoleBinding'), ...rendered.of('ClusterRoleBinding')];
    expect(bindings).toHaveLength(3);
    for (const { metadata, roleRef, subjects } of bindings) {
      expect(subjects, metadata.name).toEqual([
        { kind: 'ServiceAccount', name: `${prefix}-millrace-worker`, namespace: platform },
      ]);
      const roles = rendered
        .of(roleRef.kind as 'Role' | 'ClusterRole')
        .filter((role) => role.metadata.namespace === metadata.namespace);
      expect(roles.map((role) => role.metadata.name)).toContain(roleRef.name);
    }
  });

  it('have room in their quota for those that wait and as many that are claimed', async () => {
    const rendered = await rendering;
    const quota = rendered.of('ResourceQuota').find(({ metadata }) => metadata.namespace === runners)!;
    let memory = 0;
    let pods = 0;
    for (const [runtime] of POOL_ENTRIES) {
      const { spec } = await pool(runtime);
      const limits = spec.template.spec.containers.map(({ resources }) =>
        parseQuantity(resources!.limits['memory'])!,
      );
      memory += spec.replicas! * limits.reduce((sum, one) => sum + one, 0);
      pods += spec.replicas!;
    }
    expect(parseQuantity(quota.spec.hard['pods'])).toBeGreaterThanOrEqual(2 * pods);
    expect(parseQuantity(quota.spec.hard['limits.memory'])).toBeGreaterThanOrEqual(2 * memory);
  });

  const podOf = ({ metadata, spec }: Workload): Endpoint => ({
    namespace: metadata.namespace!,
    labels: spec.template.metadata.labels,
    ports: Object.fromEntries(
      spec.template.spec.containers
        .flatMap(({ ports = [] }) => ports)
        .map(({ name, containerPort }) => [name, containerPort]),
    ),
  });
  const worker = (rendered: Rendered): Endpoint =>
    podOf(rendered.one('Deployment', `${prefix}-millrace-worker`));
  const claimed = ({ labels, ...runner }: Endpoint): Endpoint => {
    const { [POOL_LABEL]: _, ...others } = labels!;
    return { ...runner, labels: { ...others, 'millrace.dev/claimed-by': 'worker' } };
  };

  it('reach the gateway of their workers, waiting and claimed, and nothing else', async () => {
    const rendered = await rendering;
    for (const [runtime] of POOL_ENTRIES) {
      const waiting = podOf(await pool(runtime));
      for (const from of [waiting, claimed(waiting)]) {
        const to = worker(rendered);
        expect(isAllowed(rendered, { from, to, port: 8082 })).toBe(true);
        expect(isAllowed(rendered, { from, to, port: 8081 })).toBe(false);
        expect(isAllowed(rendered, { from, to, port: 8082, protocol: 'UDP' })).toBe(false);
        const api = podOf(rendered.one('Deployment', `${prefix}-millrace-api`));
        expect(isAllowed(rendered, { from, to: api, port: 8082 })).toBe(false);
        for (const [other, port] of OTHERS) {
          expect.soft(isAllowed(rendered, { from, to: other, port }), JSON.stringify(other)).toBe(false);
        }
        expect(isAllowed(rendered, { from: to, to: from, port: 8083 })).toBe(false);
        expect(isAllowed(rendered, { from, to: claimed(waiting), port: 8083 })).toBe(false);
      }
    }
  });

  it('are not let in from anywhere else, nor by their labels alone', async () => {
    const rendered = await rendering;
    const to = worker(rendered);
    const { labels } = podOf(await pool('javascript'));
    for (const namespace of ['default', platform, 'millrace-runners', 'traefik']) {
      expect(isAllowed(rendered, { from: { namespace, labels: labels! }, to, port: 8082 })).toBe(false);
    }
    expect(isAllowed(rendered, { from: { namespace: runners, labels: {} }, to, port: 8082 })).toBe(false);
  });

  it('are kept by workers that reach the API server on its port', async () => {
    const rendered = await rendering;
    const from = worker(rendered);
    for (const [address, port, allowed] of [
      ['10.243.0.2', 6443, true],
      ['172.16.0.2', 6443, true],
      ['10.243.0.2', 443, false],
      ['10.243.0.2', 10_250, false],
      ['169.254.169.254', 6443, false],
    ] as const) {
      expect(isAllowed(rendered, { from, to: { address }, port }), `${address}:${port}`).toBe(allowed);
    }
    const api = podOf(rendered.one('Deployment', `${prefix}-millrace-api`));
    expect(isAllowed(rendered, { from: api, to: { address: '10.243.0.2' }, port: 6443 })).toBe(false);
  });
});

const OTHERS: readonly (readonly [Endpoint, number])[] = [
  [{ namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } }, 53],
  [{ address: '93.184.215.14' }, 443],
  [{ address: '10.96.0.1' }, 443],
  [{ address: '10.243.0.2' }, 6443],
  [{ address: '169.254.169.254' }, 80],
];
