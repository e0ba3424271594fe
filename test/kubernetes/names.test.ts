import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  configurationOf,
  ENVIRONMENTS,
  MANIFESTS,
  matches,
  PREFIX,
  renderEnvironment,
  workloadsOf,
  type Rendered,
  type Workload,
} from '../support/manifests.ts';

/** What makes pods in a namespace, by a selector. */
const selected = (
  rendered: Rendered,
  namespace: string | undefined,
  selector: Parameters<typeof matches>[0],
): readonly Workload[] =>
  workloadsOf(rendered).filter(
    ({ metadata, spec }) =>
      metadata.namespace === namespace && matches(selector, spec.template.metadata.labels),
  );
const namesOf = (workloads: readonly Workload[]): readonly string[] =>
  workloads.map(({ metadata }) => metadata.name);
const quantity = (text: string): number => {
  const [, number, unit = ''] = /^([\d.]+)(m|Mi|Gi|)$/.exec(text)!;
  return Number(number) * { m: 0.001, Mi: 1, Gi: 1024, '': 1 }[unit]!;
};

describe.each(ENVIRONMENTS)('%s', (environment) => {
  const prefix = PREFIX[environment];
  const platform = `millrace-${prefix}`;
  const runners = `millrace-runners-${prefix}`;
  const rendering = renderEnvironment(environment);

  it('has the names that documents and people rely on', async () => {
    const rendered = await rendering;
    expect(
      rendered
        .of('Namespace')
        .map(({ metadata }) => metadata.name)
        .sort(),
    ).toEqual([platform, runners].sort());
    for (const name of ['api', 'worker']) {
      expect(rendered.one('Deployment', `${prefix}-millrace-${name}`).metadata.namespace).toBe(platform);
      expect(rendered.one('Service', `${prefix}-millrace-${name}`).metadata.namespace).toBe(platform);
    }
    expect(rendered.one('Job').metadata.name).toBe(`${prefix}-millrace-migrate`);
    expect(configurationOf(rendered).metadata.name).toMatch(
      new RegExp(`^${prefix}-millrace-config-[a-z0-9]{10}$`),
    );
    expect(rendered.one('RuntimeClass').metadata.name).toBe('gvisor');
  });

  it('puts nothing into any namespace but its own two', async () => {
    const clusterScoped = new Set([
      'Namespace',
      'RuntimeClass',
      'ClusterRole',
      'ClusterRoleBinding',
      'ValidatingAdmissionPolicy',
      'ValidatingAdmissionPolicyBinding',
    ]);
    for (const { kind, metadata } of (await rendering).all) {
      const allowed = clusterScoped.has(kind) ? [undefined] : [platform, runners];
      expect.soft(allowed, `${kind} ${metadata.name}`).toContain(metadata.namespace);
    }
  });

  it('enforces Pod Security `restricted` in both namespaces', async () => {
    for (const { metadata } of (await rendering).of('Namespace')) {
      for (const mode of ['enforce', 'audit', 'warn']) {
        expect(metadata.labels).toHaveProperty([`pod-security.kubernetes.io/${mode}`], 'restricted');
      }
    }
  });

  it('labels every object with one of the parts that can be applied by themselves', async () => {
    const readme = await readFile(join(MANIFESTS, 'README.md'), 'utf8');
    const parts = /^for part in ([a-z -]+); do$/m.exec(readme)![1]!.split(' ');
    // The walls stand before what runs between them.
    expect(parts.slice(0, 5)).toEqual(['cluster', 'secrets', 'policies', 'disruption-budgets', 'warm-pool']);
    const { metadata: pool } = (await rendering).one('Deployment', 'runner-warm-pool');
    expect(pool.labels).toHaveProperty(['millrace.dev/part'], 'warm-pool');
    for (const { kind, metadata } of (await rendering).all) {
      expect.soft(parts, `${kind} ${metadata.name}`).toContain(metadata.labels?.['millrace.dev/part']);
      expect.soft(metadata.labels, metadata.name).toHaveProperty(['app.kubernetes.io/part-of'], 'millrace');
    }
  });

  it('labels pods so that the short selectors of people find them', async () => {
    const workloads = workloadsOf(await rendering);
    const components = workloads.map(({ spec }) => spec.template.metadata.labels['component']);
    expect(components).toEqual(expect.arrayContaining(['api', 'worker', 'migrate']));
    for (const { metadata, spec } of workloads) {
      const { labels } = spec.template.metadata;
      expect.soft(labels['app'], metadata.name).toBe('millrace');
      expect.soft(labels['component'], metadata.name).toBe(labels['app.kubernetes.io/component']);
    }
  });

  it('selects by one set of labels alone', async () => {
    const keys = new Set<string>();
    JSON.stringify((await rendering).all, (key, value: unknown) => {
      if (key === 'matchLabels' && typeof value === 'object')
        for (const name of Object.keys(value ?? {})) keys.add(name);
      return value;
    });
    expect([...keys].sort()).toEqual([
      'app.kubernetes.io/component',
      'app.kubernetes.io/name',
      'k8s-app',
      'kubernetes.io/metadata.name',
      'millrace.dev/pool',
    ]);
  });

  it('selects with each Deployment and StatefulSet its own pods alone', async () => {
    const rendered = await rendering;
    for (const { metadata, spec } of [...rendered.of('Deployment'), ...rendered.of('StatefulSet')]) {
      expect(namesOf(selected(rendered, metadata.namespace, spec.selector!))).toEqual([metadata.name]);
    }
  });

  it('sends with each Service to one workload, on a port that it names', async () => {
    const rendered = await rendering;
    for (const { metadata, spec } of rendered.of('Service')) {
      const targets = selected(rendered, metadata.namespace, { matchLabels: spec.selector });
      const name = metadata.name.replace(/-gateway$/, '-worker');
      expect(namesOf(targets), metadata.name).toEqual([name]);
      const ports = targets[0]!.spec.template.spec.containers.flatMap((container) => container.ports ?? []);
      for (const { targetPort } of spec.ports) expect(ports.map(({ name }) => name)).toContain(targetPort);
    }
    expect(rendered.one('Service', `${prefix}-millrace-api`).spec.ports).toEqual([
      { name: 'http', port: 80, targetPort: 'http' },
      { name: 'admin', port: 9090, targetPort: 'admin' },
    ]);
  });

  it('protects with each policy pods that are there', async () => {
    const rendered = await rendering;
    for (const { metadata, spec } of rendered.of('NetworkPolicy')) {
      const found = selected(rendered, metadata.namespace, spec.podSelector);
      expect.soft(found.length, metadata.name).toBeGreaterThan(0);
    }
  });

  it('has disruption budgets that leave a pod to be evicted', async () => {
    const rendered = await rendering;
    for (const { metadata, spec } of rendered.of('PodDisruptionBudget')) {
      const [target, ...others] = selected(rendered, metadata.namespace, spec.selector);
      expect(others).toEqual([]);
      if (spec.minAvailable === undefined) {
        expect(spec.maxUnavailable, metadata.name).toBe('50%');
        continue;
      }
      const scaler = rendered
        .of('HorizontalPodAutoscaler')
        .find(({ spec: { scaleTargetRef } }) => scaleTargetRef.name === target!.metadata.name);
      expect(spec.minAvailable, metadata.name).toBeLessThan(scaler!.spec.minReplicas);
    }
  });

  it('scales Deployments that are there and say no number of replicas', async () => {
    const rendered = await rendering;
    for (const { spec } of rendered.of('HorizontalPodAutoscaler')) {
      expect(spec.scaleTargetRef.kind).toBe('Deployment');
      expect(rendered.one('Deployment', spec.scaleTargetRef.name).spec.replicas).toBeUndefined();
    }
  });

  it('has a quota that admits all that the autoscalers may start, while as much still drains', async () => {
    const rendered = await rendering;
    const quotas = rendered.of('ResourceQuota').filter(({ metadata }) => metadata.namespace === platform);
    const sums = { 'requests.cpu': 0, 'limits.cpu': 0, 'requests.memory': 0, 'limits.memory': 0, pods: 0 };
    for (const { metadata, spec } of workloadsOf(rendered)) {
      if (metadata.namespace !== platform) continue;
      const scaler = rendered
        .of('HorizontalPodAutoscaler')
        .find((one) => one.spec.scaleTargetRef.name === metadata.name);
      const pods = 2 * (scaler?.spec.maxReplicas ?? 1) + (spec.strategy?.rollingUpdate?.maxSurge ?? 0);
      sums.pods += pods;
      for (const { resources } of spec.template.spec.containers) {
        for (const side of ['requests', 'limits'] as const) {
          for (const what of ['cpu', 'memory'] as const) {
            sums[`${side}.${what}`] += pods * quantity(resources![side][what]!);
          }
        }
      }
    }
    expect(quotas).toHaveLength(1);
    const { hard } = quotas[0]!.spec;
    for (const [what, sum] of Object.entries(sums)) {
      expect.soft(quantity(hard[what]!), what).toBeGreaterThanOrEqual(sum);
    }
  });

  it('routes each host to its paths alone, on a Service port that is there', async () => {
    const rendered = await rendering;
    const sub = { development: 'dev.', staging: 'staging.', production: '' }[environment];
    const routes = rendered.of('Ingress').flatMap(({ spec }) =>
      spec.rules.flatMap(({ host, http }) =>
        http.paths.map(({ path, backend }) => {
          const { service } = backend;
          const ports = rendered.one('Service', service.name).spec.ports.map(({ name }) => name);
          expect(ports).toContain(service.port.name);
          return `${host} ${path} ${service.name}`;
        }),
      ),
    );
    expect(routes.sort()).toEqual([
      `api.${sub}millrace.example /api/ ${prefix}-millrace-api`,
      `webhooks.${sub}millrace.example /hooks/ ${prefix}-millrace-api`,
    ]);
  });

  it('lets its pods be what `restricted` asks for, and without a token', async () => {
    for (const { metadata, spec } of workloadsOf(await rendering)) {
      const pod = spec.template.spec;
      expect.soft(pod.automountServiceAccountToken, metadata.name).toBe(false);
      expect.soft(pod.enableServiceLinks, metadata.name).toBe(false);
      expect.soft(pod.securityContext, metadata.name).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect
        .soft(
          pod.volumes?.some(({ hostPath }) => hostPath !== undefined),
          metadata.name,
        )
        .toBe(false);
      for (const { name, securityContext } of [...pod.containers, ...(pod.initContainers ?? [])]) {
        expect.soft(securityContext, name).toMatchObject({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          runAsNonRoot: true,
          capabilities: { drop: ['ALL'] },
        });
      }
    }
  });

  it('makes no Secret but the empty one that workers fill, and gives no secret a value', async () => {
    const rendered = await rendering;
    const secret = rendered.one('Secret');
    expect(secret.metadata).toMatchObject({ name: `${prefix}-millrace-gateway`, namespace: platform });
    expect(secret).not.toHaveProperty('data');
    expect(secret).not.toHaveProperty('stringData');
    expect(rendered.text).not.toMatch(/change-?me|replace[-_ ]?(me|with)|placeholder|postgres(ql)?:\/\//i);
  });

  it('names one Secret everywhere, with the prefix', async () => {
    const rendered = await rendering;
    const names = new Set<string>();
    for (const { spec } of workloadsOf(rendered)) {
      for (const { secret } of spec.template.spec.volumes ?? []) if (secret) names.add(secret.secretName);
      for (const variable of spec.template.spec.containers.flatMap(({ env }) => env ?? [])) {
        const from = variable.valueFrom?.secretKeyRef?.name;
        if (from !== undefined) names.add(from);
      }
    }
    expect([...names]).toEqual([`${prefix}-millrace-secrets`]);
  });
});

describe('the sizes of the environments', () => {
  const scale = async (environment: (typeof ENVIRONMENTS)[number]) =>
    (await renderEnvironment(environment))
      .of('HorizontalPodAutoscaler')
      .map(({ metadata, spec }) => [
        metadata.name,
        spec.minReplicas,
        spec.maxReplicas,
        ...spec.metrics.map(({ resource }) => resource.target.averageUtilization),
      ]);

  it('development has one of each and nothing that scales', async () => {
    expect(await scale('development')).toEqual([]);
  });

  it('staging and production scale on processors and memory', async () => {
    expect(await scale('staging')).toEqual([
      ['staging-millrace-api-hpa', 2, 6, 70, 80],
      ['staging-millrace-worker-hpa', 2, 10, 75, 85],
    ]);
    expect(await scale('production')).toEqual([
      ['prod-millrace-api-hpa', 3, 20, 70, 80],
      ['prod-millrace-worker-hpa', 3, 30, 75, 85],
    ]);
  });

  it('production keeps two of each while nodes are drained, and names images by digest', async () => {
    const production = await renderEnvironment('production');
    const budgets = production
      .of('PodDisruptionBudget')
      .map(({ spec }) => spec.minAvailable ?? spec.maxUnavailable);
    expect(budgets).toEqual([2, 2, '50%', '50%']);
    for (const { spec } of workloadsOf(production)) {
      for (const { image } of spec.template.spec.containers) expect(image).toMatch(/@sha256:[0-9a-f]{64}$/);
    }
  });

  it('nothing runs an image without a version', async () => {
    for (const environment of ENVIRONMENTS) {
      for (const { spec } of workloadsOf(await renderEnvironment(environment))) {
        for (const { image } of spec.template.spec.containers) {
          expect.soft(image).toMatch(/@sha256:|:(?!latest$)[\w.-]+$/);
        }
      }
    }
  });
});
