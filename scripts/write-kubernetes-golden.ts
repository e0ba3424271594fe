// Writes test/kubernetes/golden: `node scripts/write-kubernetes-golden.ts`. What it changes there is what a change of
// deployments/kubernetes changes in a cluster; test/kubernetes/golden.test.ts fails while it is not current.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ENVIRONMENTS, renderEnvironment, renderEverything } from '../test/support/manifests.ts';

export const GOLDEN_FOLDER = fileURLToPath(new URL('../test/kubernetes/golden/', import.meta.url));

/** What is kept: each overlay as it is, and one with every component. */
export const GOLDEN: Readonly<Record<string, () => Promise<string>>> = {
  ...Object.fromEntries(
    ENVIRONMENTS.map((environment) => [
      `${environment}.yaml`,
      async () => (await renderEnvironment(environment)).text,
    ]),
  ),
  'staging-with-components.yaml': async () => (await renderEverything()).text,
};

if (import.meta.main) {
  mkdirSync(GOLDEN_FOLDER, { recursive: true });
  for (const [file, text] of Object.entries(GOLDEN)) writeFileSync(`${GOLDEN_FOLDER}${file}`, await text());
}
