// Writes test/kubernetes/golden: `node scripts/write-kubernetes-golden.ts`. What it changes there is what a change of
// deployments/kubernetes changes in a cluster; test/kubernetes/golden.test.ts fails while it is not current.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  ENVIRONMENTS,
  OTHERS,
  renderEnvironment,
  renderEverything,
  type Rendered,
} from '../test/support/manifests.ts';

export const GOLDEN_FOLDER = fileURLToPath(new URL('../test/kubernetes/golden/', import.meta.url));

/** The objects that staging does not have, or not like this. */
async function beyondStaging({ text }: Rendered): Promise<string> {
  const objects = (all: string): readonly string[] => all.trimEnd().split('\n---\n');
  const plain = new Set(objects((await renderEnvironment('staging')).text));
  return `${objects(text)
    .filter((object) => !plain.has(object))
    .join('\n---\n')}\n`;
}

/** What is kept: each overlay as it is, one with every component, and what those add that stand instead of others. */
export const GOLDEN: Readonly<Record<string, () => Promise<string>>> = {
  ...Object.fromEntries(
    ENVIRONMENTS.map((environment) => [
      `${environment}.yaml`,
      async () => (await renderEnvironment(environment)).text,
    ]),
  ),
  'staging-with-components.yaml': async () => (await renderEverything()).text,
  ...Object.fromEntries(
    Object.entries(OTHERS).map(([name, renderOther]) => [
      `staging-with-${name}.yaml`,
      async () => beyondStaging(await renderOther()),
    ]),
  ),
};

if (import.meta.main) {
  mkdirSync(GOLDEN_FOLDER, { recursive: true });
  for (const [file, text] of Object.entries(GOLDEN)) writeFileSync(`${GOLDEN_FOLDER}${file}`, await text());
}
