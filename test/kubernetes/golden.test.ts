import { execFile, execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { GOLDEN, GOLDEN_FOLDER } from '../../scripts/write-kubernetes-golden.ts';
import { ENVIRONMENTS, MANIFESTS } from '../support/manifests.ts';

const run = promisify(execFile);
const hasKubectl = ((): boolean => {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('what Kustomize makes', () => {
  it.each(Object.entries(GOLDEN))(
    '%s is what was committed; `node scripts/write-kubernetes-golden.ts` renews it',
    async (file, text) => {
      expect(await text()).toBe(await readFile(join(GOLDEN_FOLDER, file), 'utf8'));
    },
  );

  // People apply with the Kustomize that is in their kubectl.
  it.runIf(hasKubectl).each(ENVIRONMENTS)('%s is the same when kubectl makes it', async (environment) => {
    const overlay = join(MANIFESTS, 'overlays', environment);
    const { stdout } = await run('kubectl', ['kustomize', overlay], { maxBuffer: 16 * 1024 * 1024 });
    expect(stdout).toBe(await readFile(join(GOLDEN_FOLDER, `${environment}.yaml`), 'utf8'));
  });

  it('is all that is kept', async () => {
    expect((await readdir(GOLDEN_FOLDER)).sort()).toEqual(Object.keys(GOLDEN).sort());
  });
});
