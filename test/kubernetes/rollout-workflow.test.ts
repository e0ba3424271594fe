import { execFile } from 'node:child_process';
import { access, chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { MANIFESTS, render, renderEnvironment, tool, workloadsOf } from '../support/manifests.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);

interface Step {
  readonly id?: string;
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly if?: string;
  readonly with?: Readonly<Record<string, string | boolean>>;
  readonly env?: Readonly<Record<string, string>>;
}
interface Job {
  readonly needs?: string;
  readonly outputs?: Readonly<Record<string, string>>;
  readonly defaults?: { readonly run: { readonly shell: string; readonly 'working-directory': string } };
  readonly env?: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}
interface Workflow {
  readonly env: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<'images' | 'rollout', Job>>;
}

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
const REGISTRY = 'ghcr.io/someone/millrace';
let workflow: Workflow;

beforeAll(async () => {
  workflow = parse(
    await readFile(join(PROJECT_ROOT, 'examples/rollout/github-actions.yaml'), 'utf8'),
  ) as Workflow;
});

const stepOf = (name: string): Step => {
  const step = workflow.jobs.rollout.steps.find((one) => one.name === name);
  if (step?.run === undefined) throw new Error(`no step is called "${name}"`);
  return step;
};

interface Machine {
  /** Runs steps as GitHub would: each in a shell of its own, in the overlay. Ends at the first that fails. */
  steps(...names: readonly string[]): Promise<number>;
  calls(): Promise<readonly string[]>;
  readonly overlay: string;
}

/** @param kubectl what it does after it has written down its arguments */
async function makeMachine(kubectl = ''): Promise<Machine> {
  const root = await makeTempDirectory();
  const manifests = join(root, 'deployments/kubernetes');
  const [bin, log] = [join(root, 'bin'), join(root, 'calls')];
  await cp(MANIFESTS, manifests, { recursive: true });
  await mkdir(bin);
  await writeFile(join(bin, 'kubectl'), `#!/bin/sh\necho "$*" >>${log}\n${kubectl}\n`);
  await writeFile(join(bin, 'kustomize'), `#!/bin/sh\nexec ${tool('kustomize')} "$@"\n`);
  for (const name of ['kubectl', 'kustomize']) await chmod(join(bin, name), 0o755);
  const { env = {}, defaults } = workflow.jobs.rollout;
  const overlay = join(root, defaults!.run['working-directory']); // a test of its own looks for it
  const outputs = join(root, 'outputs');
  return {
    overlay,
    async calls() {
      return (await readFile(log, 'utf8').catch(() => '')).trim().split('\n').filter(Boolean);
    },
    async steps(...names) {
      for (const name of names) {
        const step = stepOf(name);
        const file = join(root, 'step.sh');
        await writeFile(file, step.run!); // it was looked for
        const before = Object.fromEntries(
          (await readFile(outputs, 'utf8').catch(() => '')).split('\n').map((line) => line.split('=', 2)),
        ) as Record<string, string>;
        const values = Object.entries(step.env ?? {}).map(([key, value]) => [
          key,
          value
            .replace(/\$\{\{ needs\.images\.outputs\.\w+ \}\}/, DIGEST)
            .replace(
              /\$\{\{ steps\.before\.outputs\.(\S+) \}\}/,
              (_, output: string) => before[output] ?? '',
            ),
        ]);
        const code = await run('bash', ['-euo', 'pipefail', file], {
          cwd: overlay,
          env: {
            PATH: `${bin}:${process.env['PATH']}`,
            RUNNER_TEMP: root,
            GITHUB_OUTPUT: outputs,
            GITHUB_ENV: join(root, 'env'),
            IMAGES: REGISTRY,
            ...env,
            ...(Object.fromEntries(values) as Record<string, string>),
          },
        }).then(
          () => 0,
          (raw: { readonly code: number }) => raw.code,
        );
        if (code !== 0) return code;
      }
      return 0;
    },
  };
}

describe('examples/rollout/github-actions.yaml', () => {
  it('builds each image from a Dockerfile that is there, and hands on its digest', async () => {
    const { images, rollout } = workflow.jobs;
    expect(rollout.needs).toBe('images');
    for (const name of ['api', 'worker', 'runner']) {
      const step = images.steps.find(({ id }) => id === name)!;
      expect(step.with).toMatchObject({ file: `Dockerfile.${name}`, push: true });
      expect(step.with!['tags']).toContain(`/${name}:`);
      await access(join(PROJECT_ROOT, `Dockerfile.${name}`));
      expect(images.outputs![name]).toBe(`\${{ steps.${name}.outputs.digest }}`);
    }
    for (const argument of ['VERSION', 'REVISION']) {
      expect(await readFile(join(PROJECT_ROOT, 'Dockerfile.api'), 'utf8')).toContain(`ARG ${argument}=`);
    }
  });

  it('uses actions of one commit each, and no expression in a shell', () => {
    for (const { uses, run: script } of Object.values(workflow.jobs).flatMap(({ steps }) => steps)) {
      if (uses !== undefined) expect(uses).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
      // What it is replaced with would be run.
      expect(script ?? '').not.toContain('${{');
    }
  });

  it('names what production has', async () => {
    const production = await renderEnvironment('production');
    const { API, WORKER, MIGRATE, NAMESPACE } = workflow.jobs.rollout.env!;
    for (const name of [API, WORKER]) {
      expect(production.one('Deployment', name).metadata.namespace).toBe(NAMESPACE);
    }
    expect(production.one('Job', MIGRATE).metadata.namespace).toBe(NAMESPACE);
    await access(join(PROJECT_ROOT, workflow.jobs.rollout.defaults!.run['working-directory']));
    expect(stepOf('Go back').env).toEqual({
      API_REVISION: `\${{ steps.before.outputs.${API} }}`,
      WORKER_REVISION: `\${{ steps.before.outputs.${WORKER} }}`,
    });
  });

  it('has all pods run the images of the release, by digest', async () => {
    const machine = await makeMachine();
    expect(await machine.steps('Set the images')).toBe(0);
    const images = workloadsOf(await render(machine.overlay)).flatMap(({ spec }) =>
      spec.template.spec.containers.map(({ image }) => image),
    );
    expect([...new Set(images)].sort()).toEqual(
      ['api', 'runner', 'worker'].map((name) => `${REGISTRY}/${name}@${DIGEST}`),
    );
  });

  it('removes the Job of before, applies, and waits for both', async () => {
    const machine = await makeMachine();
    expect(await machine.steps('Apply')).toBe(0);
    expect((await machine.calls()).map((call) => call.replace(/\S+release.yaml/, 'RELEASE'))).toEqual([
      '-n millrace-prod delete job prod-millrace-migrate --ignore-not-found',
      'apply -f RELEASE',
      '-n millrace-prod rollout status deployment/prod-millrace-api --timeout=20m',
      '-n millrace-prod rollout status deployment/prod-millrace-worker --timeout=20m',
    ]);
  });

  it('fails where a Deployment is not rolled out, and goes back to the revisions of before', async () => {
    const machine = await makeMachine(`case "$*" in
*'get deployment prod-millrace-api'*) printf 7 ;;
*'get deployment prod-millrace-worker'*) printf 12 ;;
*worker*--timeout=20m) exit 1 ;;
esac`);
    expect(await machine.steps('Note what runs', 'Apply')).toBe(1);
    expect(await machine.steps('Look into what is wrong', 'Go back')).toBe(0);
    expect((await machine.calls()).filter((call) => call.includes('undo'))).toEqual([
      '-n millrace-prod rollout undo deployment/prod-millrace-api --to-revision=7',
      '-n millrace-prod rollout undo deployment/prod-millrace-worker --to-revision=12',
    ]);
    // Not after a rollout that never began, nor after a good one.
    expect(stepOf('Go back').if).toContain("steps.apply.outcome != 'skipped'");
    expect(stepOf('Go back').if).toContain("steps.apply.outcome != 'success'");
  });

  it('has nothing to go back to where nothing ran before', async () => {
    const machine = await makeMachine();
    expect(await machine.steps('Note what runs', 'Go back')).toBe(0);
    expect((await machine.calls()).filter((call) => call.includes('undo'))).toEqual([]);
  });
});
