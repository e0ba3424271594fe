import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  extendOverlay,
  MANIFESTS,
  PREFIX,
  tool,
  type Additions,
  type Environment,
} from '../../support/manifests.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import type { ClusterContext } from '../setup.ts';
import { removeNamespaces, type Kubectl } from './kubectl.ts';
import { run, runWell, type Ran } from './run.ts';

/** One environment, from a copy of the manifests in which only the images (and what a test adds) are others. */
export interface Installation {
  readonly environment: Environment;
  /** `dev`, of names. */
  readonly prefix: string;
  /** Of the platform, and of its runners. */
  readonly namespace: string;
  readonly runners: string;
  /** Where `deployments/kubernetes` and `scripts` are, as in a checkout. */
  readonly checkout: string;
  /** The overlay's folder. */
  readonly overlay: string;
  /** Names other images in the overlay, as CI/CD does: `millrace/api=…`. */
  setImages(images: readonly string[]): Promise<void>;
  /** `kubectl apply -k` of the overlay. */
  apply(args?: readonly string[]): Promise<Ran>;
  /** A command line as a document has it, run by a shell in the checkout. */
  command(line: string, env?: NodeJS.ProcessEnv, timeoutMs?: number): Promise<Ran>;
  /** Removes all of it, also what an earlier run has left. */
  remove(): Promise<void>;
}

export async function createInstallation(
  kubectl: Kubectl,
  images: ClusterContext['images'],
  environment: Environment,
  additions: Additions = {},
): Promise<Installation> {
  const prefix = PREFIX[environment];
  const namespace = `millrace-${prefix}`;
  const runners = `millrace-runners-${prefix}`;
  const checkout = await mkdtemp(join(tmpdir(), 'millrace-cluster-'));
  const copy = join(checkout, 'deployments/kubernetes');
  await cp(MANIFESTS, copy, { recursive: true });
  await symlink(join(PROJECT_ROOT, 'scripts'), join(checkout, 'scripts'));
  const overlay = await extendOverlay(copy, environment, {
    ...additions,
    images: [
      `millrace/api=${images.api}`,
      `millrace/worker=${images.worker}`,
      `millrace/runner=${images.runner}`,
      `postgres=${images.postgres}`,
      `redis=${images.redis}`,
    ],
  });
  return {
    environment,
    prefix,
    namespace,
    runners,
    checkout,
    overlay,
    setImages: async (some) => {
      await runWell([tool('kustomize'), 'edit', 'set', 'image', ...some], { cwd: overlay });
    },
    apply: (args = []) => kubectl.try(['apply', '--kustomize', overlay, ...args], { timeoutMs: 120_000 }),
    command: (line, env = {}, timeoutMs = 120_000) =>
      run(['bash', '-o', 'pipefail', '-c', line], {
        cwd: checkout,
        env: { ...kubectl.env, ...env },
        timeoutMs,
      }),
    async remove() {
      await removeNamespaces(kubectl, [namespace, runners]);
      await rm(checkout, { recursive: true, force: true });
    },
  };
}
