import { describe, expect, it } from 'vitest';
import { clientKeys } from '../../src/cli/config-keys.ts';
import { apiKeys } from '../../src/core/config/api-keys.ts';
import type { ConfigKeys } from '../../src/core/config/key.ts';
import { databaseKeys } from '../../src/core/config/keys.ts';
import { loadConfig } from '../../src/core/config/load.ts';
import { checkProduction } from '../../src/core/config/production.ts';
import { workerKeys } from '../../src/core/config/worker-keys.ts';
import { createAdminHandler } from '../../src/core/telemetry/admin-handler.ts';
import {
  configurationOf,
  ENVIRONMENTS,
  PREFIX,
  renderEnvironment,
  type Environment,
  type Rendered,
  type Workload,
} from '../support/manifests.ts';
import { serving } from '../support/serve.ts';

/** The Secret as somebody makes it by hand. */
const SECRET: Readonly<Record<string, string>> = {
  'database-url': 'postgres://millrace:secret@db.example:5432/millrace',
  'redis-url': 'rediss://:secret@redis.example:6379',
  'jwt-secret': '0b6be2f5c5a6b7d1e9f8a3c4d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3',
  'encryption-key': '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
};
/** What a pod learns of itself. */
const FIELDS: Readonly<Record<string, string>> = {
  'metadata.name': 'dev-millrace-worker-5d8c7b9f6-x2x7q',
  'metadata.namespace': 'millrace-dev',
  'status.podIP': '10.244.0.12',
};
const SECRETS_FOLDER = '/etc/millrace/secrets/';
const variableOf = (key: string): string => key.toUpperCase().replaceAll('-', '_');

/** The variables of the only container of a pod, as they arrive there; those of files as if they were set directly. */
function environmentOf(rendered: Rendered, { spec }: Workload): Readonly<Record<string, string>> {
  const pod = spec.template.spec;
  const [container] = pod.containers;
  const items = pod.volumes!.find(({ name }) => name === 'secrets')!.secret!.items!;
  expect(container!.volumeMounts).toContainEqual(
    expect.objectContaining({ name: 'secrets', mountPath: SECRETS_FOLDER.slice(0, -1) }),
  );
  return Object.fromEntries(
    container!.env!.flatMap(({ name, value, valueFrom }) => {
      if (valueFrom?.configMapKeyRef !== undefined) {
        const found = rendered.one('ConfigMap', valueFrom.configMapKeyRef.name).data;
        expect(Object.keys(found)).toContain(valueFrom.configMapKeyRef.key);
        return [[name, found[valueFrom.configMapKeyRef.key]!]];
      }
      if (valueFrom?.secretKeyRef !== undefined) {
        expect(valueFrom.secretKeyRef.optional).toBe(true);
        return [];
      }
      if (valueFrom?.fieldRef !== undefined) return [[name, FIELDS[valueFrom.fieldRef.fieldPath]!]];
      if (!name.endsWith('_FILE')) return [[name, value!]];
      const item = items.find(({ path }) => `${SECRETS_FOLDER}${path}` === value);
      return [[name.slice(0, -'_FILE'.length), SECRET[item!.key]!]];
    }),
  );
}

/** The command line in the API's container reads two keys of its own. */
const KEYS: Readonly<Record<'api' | 'worker', ConfigKeys>> = {
  api: { ...clientKeys, ...apiKeys },
  worker: workerKeys,
};
const deployment = (rendered: Rendered, environment: Environment, process: string): Workload =>
  rendered.one('Deployment', `${PREFIX[environment]}-millrace-${process}`);

describe.each(ENVIRONMENTS)('the configuration of %s', (environment) => {
  const rendering = renderEnvironment(environment);

  it('has in its ConfigMap only keys that a process reads, and no secret', async () => {
    for (const key of Object.keys(configurationOf(await rendering).data)) {
      const known = { ...apiKeys, ...workerKeys } as ConfigKeys;
      expect.soft(key).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect.soft(known[variableOf(key)]?.secret, key).toBe(false);
    }
  });

  it.each(['api', 'worker'] as const)(
    'gives the %s each key of the ConfigMap that it reads, one to one',
    async (process) => {
      const rendered = await rendering;
      const { env } = deployment(rendered, environment, process).spec.template.spec.containers[0]!;
      const given = env!.flatMap(({ name, valueFrom }) =>
        valueFrom?.configMapKeyRef ? [`${valueFrom.configMapKeyRef.key} ${name}`] : [],
      );
      const read = Object.keys(configurationOf(rendered).data).filter((key) =>
        Object.hasOwn(KEYS[process], variableOf(key)),
      );
      expect(given.sort()).toEqual(read.map((key) => `${key} ${variableOf(key)}`).sort());
    },
  );

  it.each(['api', 'worker'] as const)('is one that the %s starts with', async (process) => {
    const rendered = await rendering;
    const variables = environmentOf(rendered, deployment(rendered, environment, process));
    for (const name of Object.keys(variables)) expect.soft(Object.keys(KEYS[process])).toContain(name);
    if (process === 'api') checkProduction(loadConfig(apiKeys, variables));
    else checkProduction(loadConfig(workerKeys, variables));
  });

  it('gives each process only the secrets that it reads, and to migrations the database alone', async () => {
    const rendered = await rendering;
    for (const process of ['api', 'worker'] as const) {
      const given = Object.keys(environmentOf(rendered, deployment(rendered, environment, process)));
      const required = Object.keys(SECRET)
        .map(variableOf)
        .filter((name) => Object.hasOwn(KEYS[process], name));
      expect(given.filter((name) => KEYS[process][name]!.secret).sort()).toEqual(required.sort());
    }
    const variables = environmentOf(rendered, rendered.one('Job'));
    expect(Object.keys(variables)).toEqual(['DATABASE_URL']);
    loadConfig({ DATABASE_URL: databaseKeys.DATABASE_URL }, variables);
  });

  it('listens on the ports that are probed', async () => {
    const rendered = await rendering;
    for (const [process, byPort, probed] of [
      ['api', { http: 'API_PORT', admin: 'API_ADMIN_PORT' }, 'admin'],
      ['worker', { metrics: 'WORKER_PORT', gateway: 'GATEWAY_PORT' }, 'metrics'],
    ] as const) {
      const workload = deployment(rendered, environment, process);
      const [container] = workload.spec.template.spec.containers;
      const variables = environmentOf(rendered, workload);
      const listened = Object.entries(byPort).map(([name, key]) => ({
        name,
        containerPort: KEYS[process][key]!.schema.parse(variables[key]),
      }));
      expect(container!.ports).toEqual(listened);
      const { startupProbe, livenessProbe, readinessProbe } = container!;
      expect(startupProbe?.httpGet).toEqual({ path: '/health/live', port: probed });
      expect(livenessProbe?.httpGet).toEqual({ path: '/health/live', port: probed });
      expect(readinessProbe?.httpGet).toEqual({ path: '/health/ready', port: probed });
    }
  });

  it('stops each process in its own time before the pod is killed', async () => {
    const rendered = await rendering;
    for (const process of ['api', 'worker'] as const) {
      const workload = deployment(rendered, environment, process);
      const { terminationGracePeriodSeconds, containers } = workload.spec.template.spec;
      const graceMs = Number(environmentOf(rendered, workload)['SHUTDOWN_GRACE_MS']);
      const before = containers[0]!.lifecycle?.preStop?.sleep?.seconds ?? 0;
      // Of process number 1 the kernel drops a SIGTERM that comes before Node listens to it.
      expect(before).toBeGreaterThanOrEqual(5);
      // A stopping process takes up to 5 s beyond its grace (main.ts).
      expect(before * 1000 + graceMs + 5000).toBeLessThanOrEqual(terminationGracePeriodSeconds! * 1000);
    }
    const worker = environmentOf(rendered, deployment(rendered, environment, 'worker'));
    expect(Number(worker['SHUTDOWN_GRACE_MS'])).toBeGreaterThan(Number(worker['WORKFLOW_TIMEOUT']) * 1000);
  });

  it('is reached under the hosts that it says in its URLs', async () => {
    const rendered = await rendering;
    const { data } = configurationOf(rendered);
    for (const [name, key] of [
      ['millrace-api', 'public-url'],
      ['millrace-webhooks', 'public-hooks-url'],
    ] as const) {
      const ingress = rendered.one('Ingress', `${PREFIX[environment]}-${name}`);
      const url = new URL(data[key]!);
      expect(ingress.spec.rules.map(({ host }) => host)).toEqual([url.host]);
      if (url.protocol === 'https:') {
        expect(ingress.spec.tls?.flatMap(({ hosts }) => hosts)).toEqual([url.host]);
        expect(ingress.metadata.annotations).toHaveProperty(['cert-manager.io/cluster-issuer']);
      } else expect(ingress.spec.tls).toBeUndefined();
    }
  });
});

describe('the paths that are probed', () => {
  it('are answered by every process', async () => {
    const admin = createAdminHandler({
      checks: {},
      isDraining: () => false,
      metrics: { page: async () => ({ contentType: 'text/plain', body: '' }) },
      onCheckFailed: () => undefined,
    });
    await serving(
      (req, res) => void admin(req, res).then((isAnswered) => isAnswered || res.writeHead(404).end()),
      async (base) => {
        for (const path of ['/health/live', '/health/ready', '/metrics']) {
          expect((await fetch(`${base}${path}`)).status, path).toBe(200);
        }
        expect((await fetch(`${base}/health`)).status).toBe(404);
      },
    );
  });
});

describe('the environments', () => {
  it('differ in their own ways', async () => {
    const values = await Promise.all(
      ENVIRONMENTS.map(async (environment) => {
        const { data } = configurationOf(await renderEnvironment(environment));
        const keys = ['environment', 'log-level', 'worker-concurrency', 'tracing-sample-rate'];
        return keys.map((key) => data[key]).join(' ');
      }),
    );
    expect(values).toEqual(['development debug 5 1', 'production info 10 0.1', 'production warn 10 0.1']);
  });
});
