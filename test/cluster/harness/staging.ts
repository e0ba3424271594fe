import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { ClusterContext } from '../setup.ts';
import { createInstallation, type Installation } from './installation.ts';
import { settled, type Deployment, type Kubectl } from './kubectl.ts';
import { MACHINE, machinePolicy } from './machine.ts';

export const API = 'staging-millrace-api';
export const WORKER = 'staging-millrace-worker';

/** Staging with databases of its own, two of the API and two workers, as this machine reaches it. */
export interface Staging {
  readonly installation: Installation;
  /** As a sender, and as an author, by the Service of the API. */
  readonly origin: string;
  readonly client: ApiClient;
  /** Its database, as the administrator. */
  readonly sql: pg.Pool;
  remove(): Promise<void>;
}

/** What the tests need besides: this machine as a sender, as the service that steps call, and as the administrator. */
const accessPolicies = (servicePort: number): string =>
  [
    machinePolicy('api', 'Ingress', 8080),
    machinePolicy('postgres', 'Ingress', 5432),
    machinePolicy('worker', 'Egress', servicePort),
  ]
    .map((policy) => JSON.stringify(policy))
    .join('\n---\n');

/** @param servicePort of this machine, where steps call a service of the test */
export async function installStaging(
  kubectl: Kubectl,
  images: ClusterContext['images'],
  servicePort: number,
): Promise<Staging> {
  await createInstallation(kubectl, images, 'staging').then((before) => before.remove());
  const installation = await createInstallation(kubectl, images, 'staging', {
    platform: ['postgres', 'redis'],
    // No step has code, and a node of two cores is full with the rest.
    warmPool: 0,
    resources: { 'test-access.yaml': accessPolicies(servicePort) },
    // While all roll at once there are eight processes, and its PostgreSQL takes a hundred connections.
    literals: [`egress-allow-private=${MACHINE}:${servicePort}`, 'db-max-open-conns=10'],
  });
  const password = randomBytes(16).toString('hex');
  await apply(installation, password);
  for (const deployment of [API, WORKER]) {
    await waitFor(
      async () =>
        (await kubectl.get<Deployment>(installation.namespace, 'deployment', deployment)).spec.replicas === 2,
      { timeoutMs: 60_000, intervalMs: 500, what: 'the autoscaler to want two' },
    );
    await settled(kubectl, installation.namespace, deployment);
  }
  const read = (args: string): Promise<string> =>
    kubectl.run(['--namespace', installation.namespace, ...args.split(' ')]);
  const key = await read('get secret staging-millrace-secrets --output jsonpath={.data.bootstrap-api-key}');
  const address = await read(`get service ${API} --output jsonpath={.spec.clusterIP}`);
  const database = await read('get pod staging-millrace-postgres-0 --output jsonpath={.status.podIP}');
  const sql = new pg.Pool({
    connectionString: `postgres://millrace:${password}@${database}:5432/millrace`,
    max: 2,
  });
  sql.on('error', () => undefined); // at the end, when its server goes
  const origin = `http://${address}`;
  return {
    installation,
    origin,
    client: createApiClient(origin, Buffer.from(key, 'base64').toString()),
    sql,
    async remove() {
      await sql.end();
      await installation.remove();
    },
  };
}

/** With the Secret that every environment needs, and passwords for the databases of the components. */
async function apply(installation: Installation, password: string): Promise<void> {
  const applied = await installation.apply();
  if (applied.code !== 0) throw new Error(applied.stderr);
  const made = await installation.command(
    'scripts/make-kubernetes-secret staging | kubectl create -f - && kubectl -n millrace-staging patch secret staging-millrace-secrets --patch "$PASSWORDS"',
    {
      DATABASE_URL: `postgres://millrace:${password}@staging-millrace-postgres:5432/millrace`,
      REDIS_URL: `redis://:${password}@staging-millrace-redis:6379`,
      PASSWORDS: JSON.stringify({
        stringData: { 'postgres-password': password, 'redis-password': password },
      }),
    },
  );
  if (made.code !== 0) throw new Error(made.stderr);
}
