import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROJECT_ROOT, createProcesses } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';
import { ensureKinds } from '../harness/crds.ts';
import type { Installation } from '../harness/installation.ts';
import { isReady, podsOf, settled, type Kubectl } from '../harness/kubectl.ts';
import { run } from '../harness/run.ts';

/** Every line with kubectl of the blocks of shell commands in a document. */
export async function commandsOf(document: string): Promise<readonly string[]> {
  const text = await readFile(join(PROJECT_ROOT, document), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block]) =>
    block!.split('\n').filter((line) => line.includes('kubectl')),
  );
}

/** What tests of their own run: {@link describeCommands} and the parts on backups, environments and autoscaling. */
const RUN_BY_OTHERS = new Set(['docs/kubernetes.md', 'deployments/kubernetes/components/postgres/README.md']);
/** Verbs without anything to do them to are words of a sentence. */
const IS_WHOLE = /^kubectl (?!(?:delete|describe) pod$)(?:-n \S+ )?[a-z]+ \S/;

/** All others that a document names in whole, in blocks and in sentences, as commands for development. */
export async function otherCommands(): Promise<readonly string[]> {
  const found = new Set<string>();
  const documents = glob('{README.md,docs/**/*.md,deployments/**/*.md,examples/**/*.md}', {
    cwd: PROJECT_ROOT,
  });
  for await (const document of documents) {
    if (RUN_BY_OTHERS.has(document)) continue;
    const text = await readFile(join(PROJECT_ROOT, document), 'utf8');
    const outside = text.replaceAll(/^```[\s\S]*?^```$/gm, '');
    for (const [, inline] of outside.matchAll(/`(kubectl [^`]+)`/g)) {
      if (IS_WHOLE.test(inline!) && !inline!.includes('…')) found.add(forDevelopment(inline!));
    }
    for (const line of await commandsOf(document)) found.add(forDevelopment(line.trim()));
  }
  return [...found];
}

const forDevelopment = (command: string): string =>
  command
    .replaceAll(/\b(?:prod|staging)-millrace/g, 'dev-millrace')
    .replaceAll(/\bmillrace-((?:runners-)?)(?:prod|staging)\b/g, 'millrace-$1dev')
    .replaceAll(/\boverlays\/(?:production|staging)\b/g, 'overlays/development')
    .replaceAll('$part', 'policies')
    .replace(/ &$/, '');

/** Runs the commands of docs/kubernetes.md, each as it stands there, on an installation that is ready. */
export function describeCommands(kubectl: Kubectl, installation: () => Installation): void {
  describe('the commands of documents', () => {
    it('do what docs/kubernetes.md says', { timeout: 400_000 }, async () => {
      const commands = await commandsOf('docs/kubernetes.md');
      expect(commands.length).toBeGreaterThan(20);
      for (const line of commands) await follow(line);
      await allSettled();
    });

    it('work in all the others', { timeout: 400_000 }, async () => {
      const commands = await otherCommands();
      expect(commands.length).toBeGreaterThan(25);
      const forget = await ensureKinds(kubectl);
      // Sentences do not repeat the namespace.
      await runs(`kubectl config set-context --current --namespace=${installation().namespace}`);
      try {
        for (const line of commands) await follow(line);
      } finally {
        await runs('kubectl config set-context --current --namespace=default');
        await forget();
      }
      await allSettled();
    });

    it('find out what is the matter, by `millrace doctor --kubernetes`', { timeout: 60_000 }, async () => {
      const { namespace } = installation();
      const doctor = (name: string) =>
        run([process.execPath, 'bin/millrace.js', 'doctor', '--kubernetes', '-n', name], {
          env: kubectl.env,
        });
      const well = await doctor(namespace);
      expect(well.stdout).toContain('0 error(s), 0 warning(s)');
      expect(well.code).toBe(0);
      const wrong = await doctor('default');
      expect(wrong.stdout).toMatch(/^ERROR +kubernetes\.namespace .*\n +→ kubectl apply -k /m);
      expect(wrong.code).toBe(1);
    });

    async function follow(line: string): Promise<void> {
      if (line.includes(' port-forward ')) await staysUp(line, /Forwarding from/);
      else if (line.endsWith(' --watch')) await staysUp(line, /NAME +READY/);
      else if (line.includes(' debug ')) await debug(line);
      // The Secret is there by now, and `create` leaves it alone.
      else if (line.includes('make-kubernetes-secret'))
        expect((await installation().command(line)).stderr).toContain('AlreadyExists');
      else if (line.endsWith(' millrace doctor')) await examines(line);
      else if (line.endsWith(' --previous')) await afterRestart(line);
      else if (line.includes('--replicas=')) await scales(line);
      else if (line.includes(' POD -c relay')) await ofRunner(line);
      else if (line.includes(' drain ')) await drains(line);
      else await runs(line);
    }
    async function allSettled(): Promise<void> {
      for (const component of ['api', 'worker']) {
        await settled(kubectl, installation().namespace, `dev-millrace-${component}`);
      }
    }

    async function runs(line: string): Promise<void> {
      // What is asked for may still start.
      await waitFor(
        async () => {
          const { code, stderr } = await installation().command(line);
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
      const { stdout, stderr } = await installation().command(line);
      expect(stdout, stderr).toMatch(/ database\.fsync .*\n[^]*\n\d+ error\(s\), \d+ warning\(s\)/);
      expect(stdout).not.toMatch(/^ERROR +(configuration|database|redis|api|worker|sandbox|clock)/m);
    }

    async function staysUp(line: string, says: RegExp): Promise<void> {
      const processes = createProcesses();
      try {
        const forward = processes.start(['bash', '-c', `exec ${line}`], {
          env: { PATH: kubectl.env['PATH'] ?? '', KUBECONFIG: kubectl.env['KUBECONFIG'] ?? '' },
        });
        await forward.waitForOutput(says, { timeoutMs: 20_000 });
      } finally {
        await processes.killAll();
      }
    }

    /** Of a process that has ended and was started again. */
    async function afterRestart(line: string): Promise<void> {
      const { namespace } = installation();
      const [, target = '', component = ''] = /(deployment\/dev-millrace-(\w+))/.exec(line) ?? [];
      await settled(kubectl, namespace, `dev-millrace-${component}`);
      await runs(`kubectl -n ${namespace} exec ${target} -- node -e 'process.kill(1)'`);
      await waitFor(
        async () =>
          (await podsOf(kubectl, namespace, `component=${component}`)).some(
            ({ status }) => (status.containerStatuses?.[0]?.restartCount ?? 0) > 0,
          ),
        { timeoutMs: 90_000, intervalMs: 1000, what: `the ${component} to be started again` },
      );
      await runs(line);
    }

    /** There is no room for as many in a cluster of tests. */
    async function scales(line: string): Promise<void> {
      await runs(line);
      await runs(line.replace(/--replicas=\d+/, '--replicas=1'));
      await allSettled();
    }

    /** A cluster of one node would have nowhere to go: the API server says of each pod whether it may be evicted. */
    async function drains(line: string): Promise<void> {
      const name = await kubectl.run(['get', 'nodes', '--output', 'jsonpath={.items[0].metadata.name}']);
      // A budget that is just used up lets the next pod go a moment later, for which kubectl waits.
      const { code, stdout, stderr } = await installation().command(
        `${line.replace('NODE', name)} --dry-run=server`,
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(`node/${name} drained (server dry run)`);
      expect(stdout + stderr).toContain(`evicting pod ${installation().namespace}/dev-millrace-api-`);
      expect(stdout + stderr).toContain(`evicting pod ${installation().runners}/runner-warm-pool-`);
    }

    async function ofRunner(line: string): Promise<void> {
      const { runners } = installation();
      const [pod] = (await podsOf(kubectl, runners, 'millrace.dev/pool')).filter(isReady);
      await runs(
        line.replace('kubectl', `kubectl -n ${runners}`).replace('POD', pod?.metadata.name ?? 'none'),
      );
    }

    async function debug(line: string): Promise<void> {
      const { namespace } = installation();
      // One that a rollout just replaces would be gone before the tool box is there.
      await settled(kubectl, namespace, 'dev-millrace-api');
      const [pod] = (await podsOf(kubectl, namespace, 'component=api')).filter(isReady);
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
            namespace,
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
