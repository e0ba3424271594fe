import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { forwarding } from '../harness/forward.ts';
import type { Installation } from '../harness/installation.ts';
import { settled } from '../harness/kubectl.ts';
import { commandsOf } from './documents.ts';
import type { Part } from './part.ts';

const README = 'deployments/kubernetes/components/postgres/README.md';
const VOLUME = 'millrace-test-backups';

const workflow = (name: string): string => `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: greet, transform: '{"text": "hello"}' }
`;

/** What component `postgres` says of backups, on an installation that is ready. */
export function describeBackups({ cluster, kubectl, report }: Part, installation: () => Installation): void {
  describe.runIf(cluster.isKit)('backups of its database', () => {
    // The cluster has no storage class: somebody has to make the volume. Its folder goes with the cluster.
    const folder = join(dirname(cluster.access.kubeconfig), VOLUME);

    beforeAll(async () => {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder);
      await kubectl.try(['delete', 'persistentvolume', VOLUME, '--ignore-not-found', '--wait=false']);
      const { code, stderr } = await kubectl.apply([
        {
          apiVersion: 'v1',
          kind: 'PersistentVolume',
          metadata: { name: VOLUME },
          spec: {
            capacity: { storage: '8Gi' },
            accessModes: ['ReadWriteOnce'],
            persistentVolumeReclaimPolicy: 'Retain',
            local: { path: folder },
            nodeAffinity: {
              required: {
                nodeSelectorTerms: [
                  { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] },
                ],
              },
            },
          },
        },
      ]);
      expect(code, stderr).toBe(0);
    });
    afterAll(async () => {
      await kubectl.try(['delete', 'persistentvolume', VOLUME, '--wait=false']);
    });

    const withApi = async <T>(work: (client: ApiClient) => Promise<T>): Promise<T> => {
      const dev = installation();
      const key = await dev.command(
        `kubectl -n ${dev.namespace} get secret dev-millrace-secrets -o jsonpath='{.data.bootstrap-api-key}' | base64 -d`,
      );
      return forwarding(kubectl, dev.namespace, 'service/dev-millrace-api', 80, (origin) =>
        work(createApiClient(origin, key.stdout)),
      );
    };
    const workflows = (): Promise<readonly string[]> =>
      withApi(async (client) => {
        const { data } = await client.call('GET', '/api/v1/workflows');
        return (data.items as readonly { readonly name: string }[]).map(({ name }) => name);
      });

    it('are taken and put back as its README says', { timeout: 500_000 }, async () => {
      const commands = await commandsOf(README);
      const restoring = commands.findIndex((line) => line.includes('--replicas=0'));
      expect(restoring).toBeGreaterThan(0);
      await withApi((client) => client.deploy(workflow('before-the-backup')));

      const said = await all(commands.slice(0, restoring));
      expect(said).toMatch(/^backup \d{8}T\d{6}Z: /m);
      await withApi((client) => client.deploy(workflow('after-the-backup')));
      expect(await workflows()).toEqual(expect.arrayContaining(['before-the-backup', 'after-the-backup']));
      const startedAt = performance.now();
      expect(await all(commands.slice(restoring))).toMatch(/^restored \d{8}T\d{6}Z; /m);
      for (const name of ['dev-millrace-api', 'dev-millrace-worker']) {
        await settled(kubectl, installation().namespace, name);
      }

      const left = await workflows();
      expect(left).toContain('before-the-backup');
      expect(left).not.toContain('after-the-backup');
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      report.section('A backup put back', [
        `The database of development was back ${seconds} s after the first process was told to stop.`,
      ]);
    });

    async function all(commands: readonly string[]): Promise<string> {
      let said = '';
      for (const line of commands) {
        const { code, stdout, stderr } = await installation().command(line, {}, 400_000);
        expect(code, `${line}\n${stderr}`).toBe(0);
        said += stdout;
      }
      return said;
    }
  });
}
