import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { run, runWell } from './run.ts';

/** Where the cluster is, and how to speak to it. */
export interface Access {
  readonly kubeconfig: string;
  /** With the kubectl of the cluster's release. */
  readonly path: string;
}

/** The scripts that make a real Kubernetes of one node on this machine. */
export interface Kit {
  readonly access: Access;
  isUp(): Promise<boolean>;
  /** Also adds to one that is up. */
  up(additions?: readonly ('keda' | 'traefik')[]): Promise<void>;
  down(): Promise<void>;
  makeBaseImages(): Promise<void>;
  buildImage(tag: string, context: string, flags: readonly string[]): Promise<void>;
  loadImage(tag: string): Promise<void>;
}

const STATE = '/var/lib/millrace-cluster';
const UP_TIMEOUT_MS = 45 * 60_000;
const BUILD_TIMEOUT_MS = 15 * 60_000;

/** Modules that the kit copies before a build of its own has fetched them, by the folder that names their versions. */
const COPIED = {
  sandbox: 'github.com/containerd/containerd/v2',
  traefik: 'github.com/traefik/traefik/v3',
} as const;

/** @throws Error that says how to get a kit, or how to do without */
export async function findKit(env: NodeJS.ProcessEnv): Promise<Kit> {
  const folder = resolve(PROJECT_ROOT, env['MILLRACE_CLUSTER_DIR'] ?? '../shared/cluster');
  await access(join(folder, 'up')).catch((cause: unknown) => {
    throw new Error(
      `There is no kit for a cluster in ${folder}: set MILLRACE_CLUSTER_DIR to a folder with its scripts (up, down, base-image, build-image, load-image)`,
      { cause },
    );
  });
  const kubeconfig = env['KUBECONFIG'] ?? join(STATE, 'kubeconfig');
  const script = async (name: string, args: readonly string[], timeoutMs: number): Promise<void> => {
    await runWell([join(folder, name), ...args], { timeoutMs, echo: `  ${name}: ` });
  };
  const path = `${join(dirname(kubeconfig), 'bin')}:${env['PATH'] ?? ''}`;
  return {
    access: { kubeconfig, path },
    async isUp() {
      const asked = await run(['kubectl', '--kubeconfig', kubeconfig, 'get', '--raw', '/readyz'], {
        env: { ...env, PATH: path },
        timeoutMs: 10_000,
      }).catch(() => undefined); // there may be no kubectl yet
      return asked?.code === 0;
    },
    async up(additions = []) {
      // Where nothing was ever built, Go does not know of a folder to copy. Another kit may be made otherwise.
      for (const [name, module] of Object.entries(COPIED)) {
        const cwd = join(folder, name);
        if (existsSync(join(cwd, 'go.mod')))
          await runWell(['go', 'mod', 'download', module], { cwd, timeoutMs: BUILD_TIMEOUT_MS });
      }
      await script('up', additions.length === 0 ? [] : ['--with', additions.join(',')], UP_TIMEOUT_MS);
    },
    down: () => script('down', [], 120_000),
    makeBaseImages: () => script('base-image', [], BUILD_TIMEOUT_MS),
    buildImage: async (tag, context, flags) => {
      await runWell([join(folder, 'build-image'), tag, context, ...flags], { timeoutMs: BUILD_TIMEOUT_MS });
    },
    loadImage: (tag) => script('load-image', [tag], 180_000),
  };
}
