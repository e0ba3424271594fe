import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { ClusterContext } from '../setup.ts';
import { openApi } from './api.ts';
import { openDatabase } from './database.ts';
import { createInstallation, type Installation } from './installation.ts';
import { settled, type Deployment, type Kubectl } from './kubectl.ts';
import { MACHINE, machineAccess } from './machine.ts';

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
    resources: { 'test-access.yaml': machineAccess(servicePort) },
    // While all roll at once there are eight processes, and its PostgreSQL takes a hundred connections.
    literals: [`egress-allow-private=${MACHINE}:${servicePort}`, 'db-max-open-conns=10'],
  });
  const applied = await installation.apply();
  if (applied.code !== 0) throw new Error(applied.stderr);
  await makeSecret(installation);
  for (const deployment of [API, WORKER]) {
    await waitFor(
      async () =>
        (await kubectl.get<Deployment>(installation.namespace, 'deployment', deployment)).spec.replicas === 2,
      { timeoutMs: 60_000, intervalMs: 500, what: 'the autoscaler to want two' },
    );
    await settled(kubectl, installation.namespace, deployment);
  }
  const client = await openApi(kubectl, installation);
  const sql = await openDatabase(kubectl, installation);
  return {
    installation,
    origin: client.base,
    client,
    sql,
    async remove() {
      await sql.end();
      await installation.remove();
    },
  };
}

/** Makes the Secret of an environment whose databases are those of the components, with their passwords. */
export async function makeSecret(installation: Installation): Promise<void> {
  const { environment, namespace, prefix } = installation;
  const password = randomBytes(16).toString('hex');
  const made = await installation.command(
    `scripts/make-kubernetes-secret ${environment} | kubectl create -f - && kubectl -n ${namespace} patch secret ${prefix}-millrace-secrets --patch "$PASSWORDS"`,
    {
      DATABASE_URL: `postgres://millrace:${password}@${prefix}-millrace-postgres:5432/millrace`,
      REDIS_URL: `redis://:${password}@${prefix}-millrace-redis:6379`,
      PASSWORDS: JSON.stringify({
        stringData: { 'postgres-password': password, 'redis-password': password },
      }),
    },
  );
  if (made.code !== 0) throw new Error(made.stderr);
}
