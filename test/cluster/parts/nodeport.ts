import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tool } from '../../support/manifests.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { Installation } from '../harness/installation.ts';
import { runWell } from '../harness/run.ts';
import { secretOf } from '../harness/secret.ts';
import type { Part } from './part.ts';

const PORT = 30_080;

/** Component nodeport, added to an installation that is ready, and taken away again. */
export function describeNodePort({ cluster, kubectl }: Part, installation: () => Installation): void {
  it.runIf(cluster.isKit)(
    'is reached at a port of the node with component nodeport, and only with it',
    { timeout: 150_000 },
    async () => {
      const { namespace, prefix, overlay } = installation();
      const address = await kubectl.run([
        'get',
        'nodes',
        '--output',
        'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}',
      ]);
      const { 'bootstrap-api-key': key } = await secretOf(kubectl, installation());
      /**
       * On a connection of its own: one that is there already outlives its way through the node.
       *
       * @returns undefined where nothing answers
       */
      const statusOf = async (path: string): Promise<number | undefined> => {
        const request = get(`http://${address}:${PORT}${path}`, {
          agent: false,
          headers: { authorization: `Bearer ${key}` },
          timeout: 5000,
        });
        request.on('timeout', () => request.destroy());
        const [response] = (await once(request, 'response').catch(() => [])) as [IncomingMessage?];
        response?.resume();
        return response?.statusCode;
      };
      const answers = (isAnswered: boolean): Promise<boolean> =>
        waitFor(async () => (await statusOf('/api/v1/workflows')) === (isAnswered ? 200 : undefined), {
          timeoutMs: 30_000,
          intervalMs: 500,
          what: `port ${PORT} ${isAnswered ? 'to answer' : 'to be closed'}`,
        });
      const apply = async (): Promise<void> => {
        const { code, stderr } = await installation().apply();
        expect(code, stderr).toBe(0);
      };
      expect(await statusOf('/api/v1/workflows')).toBeUndefined();

      const platform = join(overlay, 'platform');
      const file = join(platform, 'kustomization.yaml');
      const before = await readFile(file, 'utf8');
      try {
        await runWell([tool('kustomize'), 'edit', 'add', 'component', '../../../components/nodeport'], {
          cwd: platform,
        });
        await apply();
        await answers(true);
        for (const path of ['/health/live', '/metrics']) expect(await statusOf(path), path).toBe(404);
      } finally {
        await writeFile(file, before);
        const objects = [
          `service/${prefix}-millrace-api-nodeport`,
          `networkpolicy/${prefix}-millrace-nodeport`,
        ];
        await kubectl.run(['--namespace', namespace, 'delete', ...objects, '--ignore-not-found']);
      }
      await apply();
      await answers(false);
    },
  );
}
