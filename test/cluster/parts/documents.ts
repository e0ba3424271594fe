import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROJECT_ROOT, createProcesses } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { Installation } from '../harness/installation.ts';
import { isReady, podsOf, settled, type Kubectl } from '../harness/kubectl.ts';

/** Every line of the blocks of shell commands in a document. */
export async function commandsOf(document: string): Promise<readonly string[]> {
  const text = await readFile(join(PROJECT_ROOT, document), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block]) =>
    block!.split('\n').filter((line) => line.includes('kubectl')),
  );
}

/** Runs the commands of docs/kubernetes.md, each as it stands there, on an installation that is ready. */
export function describeCommands(kubectl: Kubectl, installation: () => Installation): void {
  it('does what the commands of docs/kubernetes.md say', { timeout: 400_000 }, async () => {
    const dev = installation();
    const commands = await commandsOf('docs/kubernetes.md');
    expect(commands.length).toBeGreaterThan(20);
    for (const line of commands) {
      if (line.includes(' port-forward ')) await staysUp(line);
      else if (line.includes(' debug ')) await debug(line);
      // The Secret is there by now, and `create` leaves it alone.
      else if (line.includes('make-kubernetes-secret'))
        expect((await dev.command(line)).stderr).toContain('AlreadyExists');
      else if (line.endsWith(' millrace doctor')) await examines(line);
      else await runs(line);
    }
    for (const component of ['api', 'worker']) {
      await settled(kubectl, dev.namespace, `dev-millrace-${component}`);
    }

    async function runs(line: string): Promise<void> {
      // What is asked for may still start.
      await waitFor(
        async () => {
          const { code, stderr } = await dev.command(line);
          if (code !== 0) throw new Error(`${line}\n${stderr}`);
          return true;
        },
        {
          timeoutMs: line.includes('rollout') || line.includes(' top ') ? 120_000 : 30_000,
          intervalMs: 1000,
        },
      );
    }

    /** This cluster has no public addresses, so that not all is found to be well. */
    async function examines(line: string): Promise<void> {
      const { stdout, stderr } = await dev.command(line);
      expect(stdout, stderr).toMatch(/ database\.fsync .*\n[^]*\n\d+ error\(s\), \d+ warning\(s\)/);
      expect(stdout).not.toMatch(/^ERROR +(configuration|database|redis|api|worker|sandbox|clock)/m);
    }

    async function staysUp(line: string): Promise<void> {
      const processes = createProcesses();
      try {
        const forward = processes.start(['bash', '-c', `exec ${line}`], {
          env: { PATH: kubectl.env['PATH'] ?? '', KUBECONFIG: kubectl.env['KUBECONFIG'] ?? '' },
        });
        await forward.waitForOutput(/Forwarding from/, { timeoutMs: 20_000 });
      } finally {
        await processes.killAll();
      }
    }

    async function debug(line: string): Promise<void> {
      const [pod] = (await podsOf(kubectl, dev.namespace, 'component=api')).filter(isReady);
      const name = pod!.metadata.name; // the Deployment is ready
      const here = line
        .replace(' POD ', ` ${name} `)
        .replace('--image=busybox', '--image=localhost/busybox:cluster')
        // There is no terminal here, and the tool box is to stay a moment.
        .replace(' -it ', ' ')
        .concat(' --container=beside -- sleep 60');
      expect(here).not.toContain('POD');
      await runs(here);
      await waitFor(
        async () =>
          (await kubectl.run([
            '--namespace',
            dev.namespace,
            'get',
            'pod',
            name,
            '--output',
            'jsonpath={.status.ephemeralContainerStatuses[?(@.name=="beside")].state.running.startedAt}',
          ])) !== '',
        { timeoutMs: 30_000, intervalMs: 500, what: 'the container beside the process' },
      );
    }
  });
}
