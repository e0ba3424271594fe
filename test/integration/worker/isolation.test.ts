import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type ApiClient, type TestPlatform } from '../../support/platform.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { runCommand, shownCommands } from '../../support/runbook.ts';
import { sandboxProcesses } from '../../support/sandbox-remains.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { addTenant } from '../../support/tenant.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let admin: pg.Client;
let platform: TestPlatform;
let directory: string;
let state: string;
let sink: Sink;
/** What the sink waits for before it answers. */
let gate = Promise.withResolvers<void>();

beforeAll(async () => {
  database = await createTestDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o755);
  state = join(directory, 'state');
  sink = await startSink(async () => {
    await gate.promise;
    return {};
  });
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    // Every sandbox that there is was started for an execution.
    SANDBOX_SPARES_JAVASCRIPT: '0',
    SANDBOX_SPARES_PYTHON: '0',
    SANDBOX_STATE_DIR: state,
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
  });
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  gate.resolve();
  await platform.stop();
  await Promise.all([sink.close(), admin.end()]);
  await database.drop();
  await rm(directory, { recursive: true });
});

/** The ids of the sandboxes that run, each of which is a process `runsc … run --bundle FOLDER ID`. */
async function sandboxes(): Promise<ReadonlySet<string>> {
  const ids = (await sandboxProcesses(state)).flatMap(({ command }) => {
    const at = command.indexOf('run');
    return at >= 0 && command[at + 1] === '--bundle' ? [command[at + 3]!] : []; // as the driver starts it
  });
  return new Set(ids);
}

const JAVASCRIPT = (url: string): string =>
  `export default async (ctx) => { await (await ctx.fetch('${url}')).text(); return 1; };\n`;
const PYTHON = (url: string): string =>
  `import os\ndef run(ctx, input):\n    ctx.fetch("${url}").text()\n    return os.getpid()\n`;
const NOTEBOOK = (url: string): string =>
  JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: [{ cell_type: 'code', source: `ctx.fetch("${url}").text()`, outputs: [] }],
  });
const KINDS = {
  javascript: { step: 'code: a.js', file: 'a.js', source: JAVASCRIPT },
  python: { step: 'code: a.py', file: 'a.py', source: PYTHON },
  notebook: { step: 'notebook: a.ipynb', file: 'a.ipynb', source: NOTEBOOK },
} as const;

let workflows = 0;
async function deploy(client: ApiClient, kind: keyof typeof KINDS, keys = ''): Promise<string> {
  const { step, file, source } = KINDS[kind];
  const egress = `egress: ["127.0.0.1:${sink.port}"]`;
  const { hook } = await client.deploy(
    `
name: isolation-${++workflows}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: it, ${step}, ${egress}, retry: { attempts: 1 } ${keys} } ]
output: steps.it.output
`,
    { [file]: source(sink.url) },
  );
  return hook;
}

interface Seen {
  /** The sandboxes that were there while all of the executions ran, and not before. */
  readonly sandboxes: ReadonlySet<string>;
  readonly outputs: readonly unknown[];
}

/** Runs so many executions at the same time. */
async function runTogether(client: ApiClient, hook: string, count: number): Promise<Seen> {
  const before = await sandboxes();
  const arrived = sink.entries.length;
  gate = Promise.withResolvers();
  const replies = await Promise.all(Array.from({ length: count }, () => client.post(hook, {})));
  await waitFor(() => sink.entries.length === arrived + count, {
    what: 'every execution to run',
    timeoutMs: 60_000,
  });
  const during = await sandboxes();
  gate.resolve();
  const outputs: unknown[] = [];
  for (const { data } of replies) {
    const { state: end, output } = await client.finished(data.executionId as string, 60_000);
    expect(end).toBe('succeeded');
    outputs.push(output);
  }
  return { sandboxes: during.difference(before), outputs };
}

/** Two executions at once, and one afterwards: none meets another, and nothing is left of any. */
async function expectAlone(client: ApiClient, hook: string): Promise<void> {
  const seen = new Set<string>();
  for (const count of [2, 1]) {
    const { sandboxes: own } = await runTogether(client, hook, count);
    expect(own.size).toBe(count);
    expect(own.isDisjointFrom(seen)).toBe(true);
    for (const id of own) seen.add(id);
    await waitFor(async () => (await sandboxes()).isDisjointFrom(own), {
      what: 'the sandboxes to end',
      timeoutMs: 30_000,
    });
  }
}

describe('a step', { timeout: 120_000 }, () => {
  test.each(['javascript', 'python'] as const)(
    'in %s shares its sandbox with executions of the same version',
    async (kind) => {
      const { sandboxes: shared } = await runTogether(platform, await deploy(platform, kind), 2);
      expect(shared.size).toBe(1);
    },
  );

  test.each(['javascript', 'python', 'notebook'] as const)(
    'with `isolation: execution` (%s) has a sandbox for each execution, which ends with it',
    async (kind) => expectAlone(platform, await deploy(platform, kind, ', isolation: execution')),
  );

  test('with `isolation: process` has a process for each execution, in a sandbox that is shared', async () => {
    const hook = await deploy(platform, 'python', ', isolation: process');
    const first = await runTogether(platform, hook, 1);
    const second = await runTogether(platform, hook, 1);
    expect([first.sandboxes.size, second.sandboxes.size]).toEqual([1, 0]);
    expect(first.outputs).not.toEqual(second.outputs);
  });
});

describe('what an operator sets for a tenant', { timeout: 120_000 }, () => {
  const manual = async (): Promise<string> => {
    const text = await readFile(join(PROJECT_ROOT, 'docs/operations.md'), 'utf8');
    return text.split('\n## Tenants\n')[1]?.split('\n## ')[0] ?? '';
  };

  test('is all in the manual, whose command sets it', async () => {
    await addTenant(admin, platform.base, 'acme');
    const commands = shownCommands(await manual());
    expect(commands).toHaveLength(1);
    for (const { command, output } of commands) {
      expect(await runCommand(command, { DATABASE_URL: database.url })).toBe(output);
    }
    const { rows } = await admin.query<Record<string, unknown>>(`select * from tenant where name = 'acme'`);
    const { id: _id, name: _name, created_at: _createdAt, ...settings } = rows[0]!;
    expect(settings).toEqual({
      isolation: 'execution',
      max_sandbox_memory_bytes: '536870912',
      max_sandbox_cpus: 1,
    });
    const columns = [...(await manual()).matchAll(/^\| `(\w+)`/gm)].map(([, column]) => column);
    expect(new Set(columns)).toEqual(new Set(Object.keys(settings)));
  });

  test.each(['javascript', 'notebook'] as const)(
    '`isolation` gives each execution a sandbox, whatever its step says (%s)',
    async (kind) => {
      const name = `alone-${kind}`;
      const client = await addTenant(admin, platform.base, name);
      await admin.query(`update tenant set isolation = 'execution' where name = $1`, [name]);
      await expectAlone(client, await deploy(client, kind));
    },
  );

  test('a maximum that was lowered holds for what was saved before, too', async () => {
    const client = await addTenant(admin, platform.base, 'small');
    const save = async (name: string, keys: string): Promise<string> => {
      const { hook } = await client.deploy(
        `
name: ${name}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: it, code: a.py, ${keys} } ]
`,
        { 'a.py': 'def run(ctx, input):\n    return len(bytearray(150_000_000))\n' },
      );
      return hook;
    };
    const asking = await save('asking', 'resources: { memory: 512Mi }');
    const silent = await save('silent', 'retry: { attempts: 1 }');
    await admin.query(`update tenant set max_sandbox_memory_bytes = 201326592 where name = 'small'`);

    const refused = (await client.post(asking, {})).data.executionId as string;
    expect(await client.finished(refused, 60_000)).toMatchObject({
      state: 'failed',
      error: { code: 'resource_limit', message: expect.stringMatching(/512Mi.* 192Mi at most/) },
      steps: [{ id: 'it', attempts: 1 }],
    });
    const cut = (await client.post(silent, {})).data.executionId as string;
    expect(await client.finished(cut, 60_000)).toMatchObject({
      state: 'failed',
      error: {
        code: 'out_of_memory',
        message: expect.stringMatching(/more than 96 MiB.* has 192Mi; use less/),
      },
    });
  });
});
