import { chmod, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCgroups, type CgroupTree } from '../../../src/worker/sandbox/gvisor/cgroups.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { removeDirectory } from '../../support/remove-directory.ts';
import { launchersOf } from '../../support/sandbox-remains.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let platform: TestPlatform;
let directory: string;
let tree: CgroupTree;

beforeAll(async () => {
  database = await createTestDatabase();
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o711);
  tree = await openCgroups();
  // Without spares, the steps' sandboxes are the only ones.
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    SANDBOX_STATE_DIR: directory,
    SANDBOX_SPARES_JAVASCRIPT: '0',
    SANDBOX_SPARES_PYTHON: '0',
  });
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  await platform.stop();
  await database.drop();
  await removeDirectory(directory);
});

interface Limits {
  readonly cpus: number;
  readonly memoryBytes: number;
}

const MIB = 1_048_576;
/** Many times what a group may use at once of what it left before. */
const ENOUGH_CPU_MS = 500;
const folderOf = (controller: string, group: string): string =>
  tree.version === 2 ? join(tree.mount, group) : join(tree.mount, controller, group);
const read = (controller: string, group: string, file: string): Promise<string> =>
  readFile(join(folderOf(controller, group), file), 'utf8');

/** The groups of this worker's sandboxes. */
async function groups(): Promise<readonly string[]> {
  const [launcher] = await launchersOf(directory);
  const parent = `millrace-${launcher}`;
  const entries = await readdir(folderOf('cpu', parent), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(parent, name));
}

async function limitsOf(group: string): Promise<Limits> {
  const [quota, period] =
    tree.version === 2
      ? (await read('cpu', group, 'cpu.max')).split(' ')
      : [await read('cpu', group, 'cpu.cfs_quota_us'), await read('cpu', group, 'cpu.cfs_period_us')];
  const memory = await read('memory', group, tree.version === 2 ? 'memory.max' : 'memory.limit_in_bytes');
  return { cpus: Number(quota) / Number(period), memoryBytes: Number(memory) };
}

async function usedCpuMs(group: string): Promise<number> {
  if (tree.version === 1) return Number(await read('cpuacct', group, 'cpuacct.usage')) / 1e6;
  return Number(/^usage_usec (\d+)$/m.exec(await read('cpu', group, 'cpu.stat'))?.[1]) / 1000;
}

const NOTEBOOK = JSON.stringify({
  nbformat: 4,
  nbformat_minor: 5,
  metadata: { kernelspec: { language: 'python', name: 'python3' } },
  cells: [{ cell_type: 'code', source: ['print("reckons")\n', 'while True: pass'], outputs: [] }],
});
const JAVASCRIPT = `export default async () => {
  console.log('reckons');
  for (;;) {
    for (const end = Date.now() + 20; Date.now() < end;);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
};
`;

describe('`resources` in gVisor', () => {
  test.for([
    ['code', 'a.js', JAVASCRIPT, 0.25],
    ['code', 'a.py', 'def run(ctx, input):\n    print("reckons")\n    while True: pass\n', 0.25],
    ['notebook', 'a.ipynb', NOTEBOOK, 0.5],
  ] as const)(
    'keep a %s step in %s to its share of a processor',
    { timeout: 120_000 },
    async ([kind, file, source, cpus], { onTestFinished }) => {
      const { hook } = await platform.deploy(
        `
name: limited-${file.replace('.', '-')}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: it, ${kind}: ${file}, resources: { cpu: ${cpus}, memory: 320Mi }, timeout: 100s } ]
`,
        { [file]: source },
      );
      const before = new Set(await groups());
      const { data } = await platform.post(hook, {});
      const execution = `/api/v1/executions/${data.executionId as string}`;
      onTestFinished(async () => void (await platform.call('POST', `${execution}/cancel`)));
      await waitFor(async () => (await platform.call('GET', `${execution}/logs`)).text.includes('reckons'), {
        what: 'the step to run',
        timeoutMs: 60_000,
      });

      const [group, ...others] = (await groups()).filter((name) => !before.has(name));
      expect(others).toEqual([]);
      expect(await limitsOf(group!)).toEqual({ cpus, memoryBytes: 320 * MIB });
      const [startedAt, used] = [performance.now(), await usedCpuMs(group!)];
      const end = await waitFor(
        async () => {
          const now = await usedCpuMs(group!);
          return now > used + ENOUGH_CPU_MS && now;
        },
        { what: 'the step to reckon', timeoutMs: 60_000 },
      );
      expect((end - used) / (performance.now() - startedAt)).toBeLessThan(cpus * 1.5);
    },
  );
});
