import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/core/telemetry/metrics.ts';
import {
  matches,
  OTHERS,
  renderEnvironment,
  renderEverything,
  renderWith,
  workloadsOf,
  type Rendered,
} from '../support/manifests.ts';

const everything = renderEverything();

describe('components', () => {
  it('label what they add as the rest is labelled', async () => {
    for (const { kind, metadata } of (await everything).all) {
      const labels = metadata.labels ?? {};
      expect.soft(Object.keys(labels), `${kind} ${metadata.name}`).toContain('millrace.dev/part');
      expect.soft(labels['app.kubernetes.io/part-of'], metadata.name).toBe('millrace');
    }
  });

  it('External Secrets make the Secret that pods name, from a store that is there', async () => {
    const production = await renderEnvironment('production');
    const { spec } = production.one('ExternalSecret');
    expect(spec.target.name).toBe('prod-millrace-secrets');
    expect(production.one('SecretStore').metadata.name).toBe(spec.secretStoreRef.name);
    const needed = new Set(
      workloadsOf(production).flatMap(({ spec: { template } }) =>
        (template.spec.volumes ?? []).flatMap(({ secret }) => secret?.items?.map(({ key }) => key) ?? []),
      ),
    );
    expect(spec.data.map(({ secretKey }) => secretKey).sort()).toEqual([...needed].sort());
    expect(new Set(spec.data.map(({ remoteRef }) => remoteRef.key))).toEqual(new Set(['prod-millrace']));
  });

  it.each(['gcp', 'aws', 'vault'])(
    'the store of %s signs in as a ServiceAccount that is there and runs nothing',
    async (store) => {
      const rendered = await renderWith('staging', {
        platform: ['external-secrets', `external-secrets/${store}`],
      });
      const { provider } = rendered.one('SecretStore').spec;
      const [, name] = /"serviceAccountRef":\{"name":"([^"]+)"/.exec(JSON.stringify(provider))!;
      expect(rendered.one('ServiceAccount', name).metadata.name).toBe('staging-millrace-secrets');
      for (const { spec } of workloadsOf(rendered))
        expect(spec.template.spec.serviceAccountName).not.toBe(name);
    },
  );

  it('a SealedSecret opens to the Secret that pods name', async () => {
    const rendered = await OTHERS['sealed-secrets']();
    const { metadata, spec } = rendered.one('SealedSecret');
    expect([metadata.name, metadata.namespace, spec.template.metadata.name]).toEqual([
      'staging-millrace-secrets',
      'millrace-staging',
      'staging-millrace-secrets',
    ]);
  });

  it('KEDA takes over the autoscaler of the workers, with its triggers and those of the queue', async () => {
    const rendered = await everything;
    expect(rendered.of('HorizontalPodAutoscaler').map(({ metadata }) => metadata.name)).toEqual([
      'staging-millrace-api-hpa',
    ]);
    const { spec } = rendered.one('ScaledObject', 'staging-millrace-worker');
    expect(rendered.one('Deployment', spec.scaleTargetRef.name).metadata.labels).toHaveProperty(
      ['app.kubernetes.io/component'],
      'worker',
    );
    expect(spec.advanced.horizontalPodAutoscalerConfig.name).toBe('staging-millrace-worker-hpa');
    expect([spec.minReplicaCount, spec.maxReplicaCount]).toEqual([2, 10]);
    expect(spec.triggers.map(({ type, metricType }) => `${type} ${metricType}`)).toEqual([
      'metrics-api Value',
      'metrics-api AverageValue',
      'cpu Utilization',
      'memory Utilization',
    ]);
    const service = rendered.one('Service', 'staging-millrace-worker');
    for (const { metadata } of spec.triggers.filter(({ type }) => type === 'metrics-api')) {
      expect(metadata['url']).toBe(
        `http://${service.metadata.name}.${service.metadata.namespace}.svc:${service.spec.ports[0]!.port}/metrics`,
      );
    }
  });

  it('KEDA alone says how many runners wait, by what the workers count', async () => {
    const rendered = await everything;
    const service = rendered.one('Service', 'staging-millrace-worker');
    for (const [name, metric] of [
      ['runner-warm-pool', 'millrace_sandbox_javascript_claims_per_minute'],
      ['runner-warm-pool-python', 'millrace_sandbox_python_claims_per_minute'],
    ] as const) {
      const { metadata, spec } = rendered.one('ScaledObject', name);
      const deployment = rendered.one('Deployment', spec.scaleTargetRef.name);
      expect(deployment.metadata.namespace).toBe(metadata.namespace);
      expect(deployment.spec).not.toHaveProperty('replicas');
      const { type, metricType, metadata: trigger } = spec.triggers[0]!;
      expect([type, metricType, trigger['valueLocation']]).toEqual(['metrics-api', 'AverageValue', metric]);
      expect(createMetrics().catalog.map((known) => known.name)).toContain(metric);
      expect(trigger['url']).toBe(
        `http://${service.metadata.name}.${service.metadata.namespace}.svc:${service.spec.ports[0]!.port}/metrics`,
      );
    }
  });

  it('the Gateway API serves the same hosts and paths instead of the Ingresses', async () => {
    const rendered = await everything;
    expect(rendered.of('Ingress')).toEqual([]);
    const { metadata, spec } = rendered.one('Gateway');
    expect(metadata.annotations).toEqual({ 'cert-manager.io/cluster-issuer': 'letsencrypt-staging' });
    const routes = rendered.of('HTTPRoute').map((route) => {
      const [parent] = route.spec.parentRefs;
      expect(parent!.name).toBe(metadata.name);
      expect(spec.listeners.find(({ name }) => name === parent!.sectionName)!.hostname).toBe(
        route.spec.hostnames[0],
      );
      const [rule] = route.spec.rules;
      const ports = rendered.one('Service', rule!.backendRefs[0]!.name).spec.ports.map(({ port }) => port);
      expect(ports).toContain(rule!.backendRefs[0]!.port);
      return `${route.spec.hostnames[0]} ${rule!.matches[0]!.path.value}`;
    });
    expect(routes).toEqual([
      'api.staging.millrace.example /api/',
      'webhooks.staging.millrace.example /hooks/',
    ]);
  });

  it('ServiceMonitors find Services, and ports that they have', async () => {
    const rendered = await everything;
    const found = rendered.of('ServiceMonitor').map(({ spec }) => {
      const services = rendered
        .of('Service')
        .filter(({ metadata }) => matches(spec.selector, metadata.labels ?? {}));
      expect(services).toHaveLength(1);
      expect(services[0]!.spec.ports.map(({ name }) => name)).toContain(spec.endpoints[0]!.port);
      return services[0]!.metadata.name;
    });
    expect(found).toEqual(['staging-millrace-api']);
  });

  it('PodMonitors find pods, and ports that they name', async () => {
    const rendered = await everything;
    const found = rendered.of('PodMonitor').map(({ spec }) => {
      const pods = rendered
        .of('Deployment')
        .map(({ spec: { template } }) => template)
        .filter(({ metadata }) => matches(spec.selector, metadata.labels ?? {}));
      expect(pods).toHaveLength(1);
      const ports = pods[0]!.spec.containers.flatMap((container) => container.ports ?? []);
      expect(ports.map(({ name }) => name)).toContain(spec.podMetricsEndpoints[0]!.port);
      return pods[0]!.metadata.labels?.['app.kubernetes.io/component'];
    });
    expect(found).toEqual(['worker']);
  });

  it('monitoring brings rules, and a dashboard in each ConfigMap that Grafana’s sidecar looks for', async () => {
    const rendered = await everything;
    expect(rendered.all.filter(({ kind }) => kind === 'PrometheusRule')).toHaveLength(1);
    const dashboards = rendered
      .of('ConfigMap')
      .filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1');
    expect(dashboards.map(({ metadata }) => metadata.name).sort()).toEqual(
      ['database', 'executions', 'ingest', 'overview', 'sandboxes', 'tenants'].map(
        (name) => `staging-millrace-dashboard-${name}`,
      ),
    );
    const models = dashboards.flatMap(({ data }) =>
      Object.values(data).map((text) => JSON.parse(text) as { readonly uid: string }),
    );
    expect(new Set(models.map(({ uid }) => uid)).size).toBe(dashboards.length);
  });

  it('nodeport opens 30080, and gke-sandbox changes the handler alone', async () => {
    const rendered = await everything;
    const { spec } = rendered.one('Service', 'staging-millrace-api-nodeport');
    expect([spec.type, spec.ports]).toEqual([
      'NodePort',
      [{ name: 'http', port: 80, targetPort: 'http', nodePort: 30_080 }],
    ]);
    // Health and metrics get no port of the nodes.
    expect(rendered.one('Service', 'staging-millrace-api').spec.type).toBeUndefined();
    const { handler, metadata, scheduling } = rendered.one('RuntimeClass');
    expect([metadata.name, handler]).toEqual(['gvisor', 'gvisor']);
    expect(JSON.stringify(scheduling)).toContain('sandbox.gke.io/runtime');
  });

  it('give rights by verb and resource, to Prometheus alone', async () => {
    const rendered = await everything;
    const before = await renderEnvironment('staging');
    const isAdded = ({ metadata }: { readonly metadata: { readonly name: string } }): boolean =>
      ![...before.of('Role'), ...before.of('RoleBinding')].some((one) => one.metadata.name === metadata.name);
    expect(rendered.of('ClusterRole')).toEqual(before.of('ClusterRole'));
    const roles = rendered.of('Role').filter(isAdded);
    expect(roles.map(({ metadata, rules }) => [metadata.name, rules])).toEqual([
      [
        'staging-millrace-prometheus',
        [
          { apiGroups: [''], resources: ['services', 'endpoints', 'pods'], verbs: ['get', 'list', 'watch'] },
          { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['get', 'list', 'watch'] },
        ],
      ],
    ]);
    const bindings = rendered.of('RoleBinding').filter(isAdded);
    expect(bindings.map(({ roleRef }) => roleRef.name)).toEqual(['staging-millrace-prometheus']);
  });
});

describe('component prepull', () => {
  const prepullOf = async (rendering: Promise<Rendered>) =>
    (await rendering).one('DaemonSet', 'runner-prepull').spec.template.spec;

  it('has the image of runners on every node that they may run on', async () => {
    const rendered = await everything;
    const { containers, initContainers = [], runtimeClassName } = await prepullOf(everything);
    const runner = rendered.one('Deployment', 'runner-warm-pool').spec.template.spec;
    expect(runtimeClassName).toBe(runner.runtimeClassName);
    for (const { image } of [...containers, ...initContainers])
      expect(image).toBe(runner.containers[0]!.image);
  });

  it('pulls the images of steps that its README adds, by a program that needs nothing in them', async () => {
    const { containers, initContainers = [] } = await prepullOf(OTHERS['sealed-secrets']());
    const [provide, ...images] = initContainers;
    expect(images.map(({ image }) => image)).toEqual(['ghcr.io/acme/convert:1.4', 'ghcr.io/acme/resize:2.0']);
    const steps = (await everything).one('PodTemplate').template.spec;
    const step = steps.containers.find(({ name }) => name === 'runner')!;
    expect(provide).toEqual({
      ...steps.initContainers!.find(({ name }) => name === 'provide'),
      image: provide!.image,
    });
    const { mountPath } = step.volumeMounts!.find(({ name }) => name === 'millrace')!;
    for (const { command, securityContext, volumeMounts, resources } of images) {
      // The interpreter of a step's pod; nothing is run by it.
      const python = step.command!.findIndex((one) => one.endsWith('/python3'));
      expect(command!.slice(0, python + 1)).toEqual(step.command!.slice(0, python + 1));
      expect(command!.slice(-2)).toEqual(['-c', 'pass']);
      expect(volumeMounts).toEqual([{ name: 'millrace', mountPath, readOnly: true }]);
      expect(securityContext).toEqual(step.securityContext);
      expect(resources).toEqual(containers[0]!.resources);
    }
  });
});

describe('component authorities', () => {
  it('has API, workers and migrations trust what the ConfigMap of the overlay has', async () => {
    const rendered = await OTHERS['sealed-secrets']();
    const trusting = workloadsOf(rendered).flatMap(({ metadata, spec }) => {
      const { containers, volumes = [] } = spec.template.spec;
      const [container] = containers;
      const file = container!.env?.find(({ name }) => name === 'NODE_EXTRA_CA_CERTS')?.value;
      if (file === undefined) return [];
      const mount = container!.volumeMounts!.find(({ mountPath }) => file.startsWith(`${mountPath}/`))!;
      const source = volumes.find(({ name }) => name === mount.name)!.configMap!.name;
      const { data } = rendered.one('ConfigMap', source);
      expect(data).toHaveProperty([file.slice(mount.mountPath.length + 1)], 'certificates');
      return [metadata.name];
    });
    expect(trusting).toEqual(['staging-millrace-api', 'staging-millrace-worker', 'staging-millrace-migrate']);
  });
});

describe('the backup of development', () => {
  const rendering = renderEnvironment('development');

  it('is taken every night by the server’s own programs, and put back only by hand', async () => {
    const rendered = await rendering;
    const { image } = rendered.one('StatefulSet', 'dev-millrace-postgres').spec.template.spec.containers[0]!;
    const crons = rendered
      .of('CronJob')
      .map(({ metadata, spec }) => [
        metadata.name,
        spec.suspend === true,
        ...spec.jobTemplate.spec.template.spec.containers.map((container) => container.image),
      ]);
    expect(crons).toEqual([
      ['dev-millrace-postgres-backup', false, image],
      ['dev-millrace-postgres-restore', true, image],
    ]);
  });

  it('runs scripts that are there, on a volume that both share', async () => {
    const rendered = await rendering;
    const claim = rendered.one('PersistentVolumeClaim').metadata.name;
    for (const { spec } of rendered.of('CronJob')) {
      const { containers, volumes = [] } = spec.jobTemplate.spec.template.spec;
      const [container] = containers;
      const scripts = volumes.find(({ name }) => name === 'scripts')!.configMap!.name;
      const [shell, script] = container!.command!;
      expect([shell, script!.split('/')[1]]).toEqual(['/bin/sh', 'scripts']);
      expect(rendered.one('ConfigMap', scripts).data).toHaveProperty([script!.split('/')[2]!]);
      expect(volumes.find(({ name }) => name === 'backups')!.persistentVolumeClaim!.claimName).toBe(claim);
    }
  });
});

describe('a rollout', () => {
  it('sets the images of all pods in the folder of the overlay', async () => {
    const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
    const rendered = await renderWith('production', {
      images: [
        `millrace/api=registry.test/api@${digest('a')}`,
        `millrace/worker=registry.test/worker@${digest('b')}`,
        `millrace/runner=registry.test/runner@${digest('c')}`,
      ],
    });
    const images = workloadsOf(rendered).map(({ metadata, spec }) => [
      metadata.name,
      ...spec.template.spec.containers.map(({ image }) => image),
    ]);
    expect(images).toEqual([
      ['prod-millrace-api', `registry.test/api@${digest('a')}`],
      ['prod-millrace-worker', `registry.test/worker@${digest('b')}`],
      ...['runner-warm-pool', 'runner-warm-pool-python'].map((name) => [
        name,
        `registry.test/runner@${digest('c')}`,
        `registry.test/runner@${digest('c')}`,
      ]),
      ['prod-millrace-migrate', `registry.test/api@${digest('a')}`],
    ]);
  });
});
