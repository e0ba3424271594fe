import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { withApi } from '../harness/api.ts';
import type { Installation } from '../harness/installation.ts';
import { settled } from '../harness/kubectl.ts';
import { commandsOf } from './documents.ts';
import type { Part } from './part.ts';

const README = 'deployments/kubernetes/components/postgres/README.md';
const VOLUME = 'millrace-test-backups';
/** The name of no backup. */
const NOT_THERE = '20010101T000000Z';

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

    it('are taken and put back as its README says', { timeout: 500_000 }, async () => {
      const commands = await commandsOf(README);
      const at = (part: string): number => {
        const found = commands.findIndex((line) => line.includes(part));
        expect(found, part).toBeGreaterThanOrEqual(0);
        return found;
      };
      const taking = commands.slice(0, at('--replicas=0'));
      const stopping = commands.slice(at('--replicas=0'), at('create job restore-now'));
      const restoring = commands.slice(at('create job restore-now'), at('--replicas=1'));
      const starting = commands.slice(at('--replicas=1'));
      const { namespace } = installation();

      await deploy('before-the-backups');
      const older = nameIn('backup', await all(taking));
      await deploy('between-the-backups');
      await all([`kubectl -n ${namespace} delete job backup-now`]);
      const newer = nameIn('backup', await all(taking));
      await deploy('after-the-backups');

      const stoppingAt = performance.now();
      await all(stopping);
      expect(nameIn('restored', await all(restoring))).toBe(newer);
      const restoredAt = performance.now();
      expect(await stored()).toEqual(['before-the-backups', 'between-the-backups']);

      await all([`kubectl -n ${namespace} delete job restore-now`, await restoringAnother(NOT_THERE)]);
      expect(
        await all([
          `kubectl -n ${namespace} wait job/restore-now --for=condition=Failed --timeout=2m`,
          ...restoring.filter((line) => line.includes(' logs ')),
        ]),
      ).toContain(`there is no backup ${NOT_THERE}; there are: ${older} ${newer}`);
      await all([`kubectl -n ${namespace} delete job restore-now`]);
      const [, ...waiting] = restoring;
      expect(nameIn('restored', await all([await restoringAnother(older), ...waiting]))).toBe(older);
      expect(await stored()).toEqual(['before-the-backups']);

      const startingAt = performance.now();
      await all(starting);
      for (const name of ['dev-millrace-api', 'dev-millrace-worker']) {
        await settled(kubectl, namespace, name);
      }
      const seconds = Math.round((restoredAt - stoppingAt + performance.now() - startingAt) / 1000);
      const served = await withApi(kubectl, installation(), (client) =>
        client.call('GET', '/api/v1/workflows/before-the-backups'),
      );
      expect(served.status).toBe(200);
      report.section('A backup put back', [
        `The database of development was back ${seconds} s after the first process was told to stop.`,
      ]);
    });

    const deploy = (name: string): Promise<unknown> =>
      withApi(kubectl, installation(), (client) => client.deploy(workflow(name)));
    /** Those of this test that the database has. */
    const stored = async (): Promise<readonly string[]> => {
      const text = await all([
        `kubectl -n ${installation().namespace} exec dev-millrace-postgres-0 -- psql -U millrace -d millrace -qtAc "select name from workflow where name like '%-the-backups'"`,
      ]);
      return text.trim().split('\n').toSorted(); // by their names here, not by the database's rules
    };
    /** The one command that the README has in a sentence, with the name of a backup. */
    async function restoringAnother(name: string): Promise<string> {
      const text = await readFile(join(PROJECT_ROOT, README), 'utf8');
      const [, command = ''] = /`(kubectl [^`]*BACKUP=[^`]*)`/.exec(text) ?? [];
      expect(command).toMatch(/\sBACKUP=\d{8}T\d{6}Z\s/);
      return command.replaceAll('\n', ' ').replace(/ BACKUP=\S+/, ` BACKUP=${name}`);
    }
    const nameIn = (verb: 'backup' | 'restored', said: string): string => {
      const name = new RegExp(`^${verb} (\\d{8}T\\d{6}Z)\\b`, 'm').exec(said)?.[1];
      expect(name, said).toBeDefined();
      return name!; // just seen
    };

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
