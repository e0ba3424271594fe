import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { cacheDirectory } from '../support/cache-directory.ts';
import { startCluster } from '../support/cluster.ts';
import { createTestDatabase } from '../support/database.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';
import { waitFor } from '../support/wait-for.ts';

const identityOf = async (
  pid: number,
): Promise<{ readonly users: string; readonly capabilities: string }> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    users: /^Uid:\s*(.*)$/m.exec(status)?.[1] ?? '',
    capabilities: /^CapEff:\s*(.*)$/m.exec(status)?.[1] ?? '',
  };
};

/** setpriv(1) with the capabilities that docs/operations.md asks for, and none besides. */
async function asDocumented(): Promise<readonly string[]> {
  const text = await readFile(join(PROJECT_ROOT, 'docs/operations.md'), 'utf8');
  const [row = ''] = /^\| root, at the start .*$/m.exec(text) ?? [];
  const names = [...row.matchAll(/CAP_([A-Z_]+)/g)].map(([, name]) => `+${name!.toLowerCase()}`);
  expect(names).toContain('+sys_admin');
  return ['setpriv', '--inh-caps=-all', `--bounding-set=${['-all', ...names].join(',')}`];
}

test.each([
  ['as root', async () => []],
  ['as root with no more capabilities than are documented', asDocumented],
])(
  'a worker started %s goes on without it, and still runs code in both languages',
  { timeout: 120_000 },
  async (_, command) => {
    const database = await createTestDatabase();
    onTestFinished(() => database.drop());
    const cache = await makeTempDirectory();
    await chmod(cache, 0o755);
    const cluster = await startCluster({
      databaseUrl: database.url,
      built: true,
      env: {
        SANDBOX_DRIVER: 'gvisor',
        SANDBOX_SPARES_JAVASCRIPT: '0',
        XDG_CACHE_HOME: cache,
        MILLRACE_RUNSC: join(cacheDirectory(), 'runsc'),
      },
    });
    onTestFinished(() => cluster.stop());
    const worker = await cluster.startWorker(await command());
    await waitFor(() => Promise.resolve(/root was (dropped|kept)/.test(worker.output())), {
      what: 'the worker to leave root',
      timeoutMs: 60_000,
    });
    const kept = /root was kept: [^"]*/.exec(worker.output())?.[0];
    // A checkout below somebody's closed folder cannot be read by anybody else: the worker says so and goes on.
    if (kept === undefined) {
      expect(await identityOf(worker.pid)).toEqual({
        users: '65532\t65532\t65532\t65532',
        capabilities: '0000000000000000',
      });
    } else {
      expect(kept).toMatch(/cannot (pass|read) \//);
    }
    for (const [file, source] of Object.entries({
      'a.py': 'def run(ctx, input):\n    return input["body"]["n"] + 1\n',
      'a.ts': 'export default (ctx: unknown, input: { body: { n: number } }) => input.body.n + 1;\n',
    })) {
      const { hook } = await cluster.deploy(
        `name: after-${file.slice(2)}\ntriggers: { t: { webhook: { verify: { scheme: none } } } }\nsteps: [ { id: a, code: ${file} } ]\noutput: steps.a.output\n`,
        { [file]: source },
      );
      const { data } = await cluster.post(hook, { n: 41 });
      expect(await cluster.finished(data.executionId as string, 60_000)).toMatchObject({ output: 42 });
    }
  },
);
