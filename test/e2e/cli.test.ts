import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { VERSION } from '../../src/core/version.ts';
import { createEmptyDatabase } from '../support/database.ts';
import { runToEnd, startDevPlatform, type CliResult, type DevPlatform } from '../support/dev-platform.ts';
import { cliCommand, createProcesses, PROJECT_ROOT } from '../support/processes.ts';
import { removeDirectory } from '../support/remove-directory.ts';
import { waitFor } from '../support/wait-for.ts';

const processes = createProcesses();
let folder: string;
let platform: DevPlatform;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(folder, 0o711);
  platform = await startDevPlatform(processes, { directory: folder });
});
afterAll(async () => {
  await processes.killAll();
  await removeDirectory(folder);
});

const cli = (...args: readonly string[]): Promise<CliResult> => platform.cli(...args);
async function json<T>(...args: readonly string[]): Promise<T> {
  const result = await cli(...args, '-o', 'json');
  return JSON.parse(result.stdout) as T;
}
async function workflowFile(name: string, text: string): Promise<string> {
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, text);
  return file;
}

const ADD = `name: add
triggers: { by-hand: { manual: {} }, hook: { webhook: { verify: { scheme: none } } } }
steps:
  - id: sum
    transform: trigger.body.a + trigger.body.b
output: steps.sum.output
`;

const FIVE_MISTAKES = `name: five
triggers: { t: { webhook: { verify: { scheme: none } } } }
steps:
  - id: a
    needs: [nope]
    transform: 1 +
  - id: a
    transform: 1
  - id: b
    code: steps/b.ts
  - id: c
    transforms: 1
`;

describe('validate', () => {
  it('shows every mistake with its place and its mending, and changes nothing', async () => {
    const file = await workflowFile('five', FIVE_MISTAKES);

    const { code, stdout, stderr } = await cli('validate', file);

    expect(code).toBe(1);
    expect(stdout).toBe(`${file}: not valid\n`);
    const places = stderr.split('\n').flatMap((line) => /^(\S+:\d+:\d+) .+ — .+/.exec(line)?.[1] ?? []);
    expect(places.length).toBeGreaterThanOrEqual(5);
    expect(places).toContain(`${file}:5:13`);
    expect(await json('list')).not.toContainEqual(expect.objectContaining({ name: 'five' }));
  });

  it('says what is valid, and goes on after what is not', async () => {
    const bad = await workflowFile('five', FIVE_MISTAKES);
    const good = await workflowFile('add', ADD);

    expect((await cli('validate', bad, good)).stdout).toBe(`${bad}: not valid\n${good}: valid\n`);
    expect(await cli('validate', join(PROJECT_ROOT, 'examples/hello'))).toMatchObject({ code: 0 });
  });
});

describe('a workflow’s life', () => {
  it('is deployed, listed, run, looked at and deleted', async () => {
    const file = await workflowFile('add', ADD);

    const deployed = await cli('deploy', file);
    expect(deployed).toMatchObject({ code: 0 });
    expect(deployed.stdout).toMatch(
      new RegExp(
        `^add: version 1\n {2}by-hand \\(manual\\)\n {2}hook \\(webhook\\) ${platform.url}/hooks/\\w+\n$`,
      ),
    );
    expect((await cli('deploy', file)).stdout).toContain('add: version 1, unchanged');
    expect((await cli('list')).stdout).toMatch(
      /^NAME .*\n(.*\n)*add +1 +yes +by-hand \(manual\), hook \(webhook\)/,
    );

    expect(await cli('run', 'add', '--input', 'a=40', '--input', 'b=2')).toMatchObject({
      code: 0,
      stdout: '42\n',
    });
    const run = await json<{ readonly id: string; readonly output: number }>(
      'run',
      'add',
      '--input',
      '{"a":1,"b":2}',
    );
    expect(run.output).toBe(3);

    const listed = await json<readonly { readonly id: string }[]>('executions', '--workflow', 'add');
    expect(listed[0]?.id).toBe(run.id);
    expect(
      (await cli('executions', '--workflow', 'add', '--state', 'failed')).stdout.split('\n'),
    ).toHaveLength(2);
    expect((await cli('executions', '--workflow', 'add', '--count-by', 'state')).stdout).toMatch(
      /^STATE +EXECUTIONS\n(\w+ +0\n)*succeeded +2\n(\w+ +0\n)*$/,
    );
    expect(await json('executions', '--workflow', 'add', '--count-by', 'state')).toMatchObject({
      succeeded: 2,
      failed: 0,
    });
    expect(await cli('executions', '--count-by', 'state', '--state', 'failed')).toMatchObject({ code: 2 });
    expect(await cli('logs', run.id)).toMatchObject({ code: 0 });
    expect(await cli('logs', 'add', '--tail', '5')).toMatchObject({ code: 0 });

    expect(await cli('undeploy', 'add')).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(await cli('undeploy', 'add', '--yes')).toMatchObject({ code: 0, stdout: 'add: deleted\n' });
    expect(await cli('run', 'add')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/Workflow add does not exist \(workflow_not_found, request /),
    });
    expect(await json('executions', '--workflow', 'add')).toEqual(listed);
  });

  it('ends with 1, and says why, when the execution fails', async () => {
    await cli('deploy', await workflowFile('add', ADD));

    const failed = await cli('run', 'add', '--input', 'a=1');

    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/The execution failed: step sum, expression_error: .*trigger\.body\.b/);
  });

  it('stops waiting after --timeout and leaves the execution alone', async () => {
    const file = await workflowFile(
      'slow',
      'name: slow\ntriggers: { m: { manual: {} } }\nsteps: [{ id: nap, wait: { for: 2s } }]\noutput: \'"rested"\'\n',
    );
    expect(await cli('deploy', file)).toMatchObject({ code: 0 });

    const late = await cli('run', 'slow', '--timeout', '100ms');

    expect(late).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('is still') });
    const [, id] = /execution: (\S+)/.exec(late.stderr)!;
    await waitFor(async () => {
      const all = await json<readonly { readonly id: string; readonly state: string }[]>('executions');
      return all.find((one) => one.id === id)?.state === 'succeeded';
    });
  });
});

describe('the target', () => {
  it('is named on stderr, and data alone is on stdout', async () => {
    const { stdout, stderr } = await cli('list', '-o', 'json');

    expect(stderr).toMatch(
      new RegExp(`^target: ${platform.url} \\(process \\d+, data in ${platform.directory}\\)\n$`),
    );
    expect(JSON.parse(stdout)).toEqual(expect.any(Array));
  });

  it('never gets the key of the local platform when it is another one', async () => {
    const result = await cli('list', '--url', 'http://127.0.0.1:1');

    expect(result).toMatchObject({ code: 78, stdout: '' });
    expect(result.stderr).toContain('An API key for http://127.0.0.1:1 is needed');
  });

  it('may be given by the environment, and --url wins', async () => {
    const { stdout } = await cli('list', '--url', platform.url, '-o', 'json');
    const key = /^ +API key +(\S+)$/m.exec(platform.process.output())![1]!;
    const env = { MILLRACE_URL: 'http://127.0.0.1:1', MILLRACE_API_KEY: key, MILLRACE_DATA_DIR: folder };

    expect(
      (await runToEnd(processes, cliCommand('list', '--url', platform.url, '-o', 'json'), env)).stdout,
    ).toBe(stdout);
    expect(await runToEnd(processes, cliCommand('list'), env)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Nothing answers at http://127.0.0.1:1'),
    });
  });

  it('is missed with a way to get one', async () => {
    const result = await runToEnd(processes, cliCommand('list'), {
      MILLRACE_DATA_DIR: join(folder, 'nothing'),
    });

    expect(result).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Start it with `npm start`, or name one'),
    });
  });

  it('is told from something that is no Millrace', async () => {
    const wrongKey = 'k'.repeat(40);

    expect(await cli('list', '--api-key', wrongKey)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/A valid API key is needed.*\(unauthenticated, request /s),
    });
  });
});

describe('usage', () => {
  it.each([
    ['an unknown command', ['nope']],
    ['an unknown option', ['list', '--nope']],
    ['a missing argument', ['run']],
    ['a bad duration', ['run', 'hello', '--timeout', 'soon']],
    ['a bad format', ['list', '-o', 'xml']],
    ['an input that is none', ['run', 'hello', '--input', 'nonsense']],
    ['a file that is not there', ['deploy', 'no-such-file.yaml']],
  ])('%s ends with 2', async (_, args) => {
    expect(await cli(...args)).toMatchObject({ code: 2, stdout: '' });
  });

  it('help and version end with 0', async () => {
    expect(await cli('--help')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Usage: millrace'),
    });
    expect(await cli('--version')).toMatchObject({ code: 0, stdout: `${VERSION}\n` });
  });
});

describe('migrate', () => {
  it('brings a database to the schema, and finds nothing to do the second time', async () => {
    const database = await createEmptyDatabase();
    onTestFinished(() => database.drop());
    const migrate = (): Promise<CliResult> =>
      runToEnd(processes, ['npx', 'millrace', 'migrate'], { DATABASE_URL: database.url });

    const first = await migrate();
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^VERSION +APPLIED\n1 +spine\n/) });
    expect(first.stderr).toMatch(/target: PostgreSQL at 127\.0\.0\.1:\d+\/test_/);
    expect(first.stderr).not.toContain('only-for-tests');
    expect(await migrate()).toMatchObject({ code: 0, stdout: 'The schema is up to date.\n' });
  });

  it('exits with 78 without DATABASE_URL and with 1 when nothing answers there', async () => {
    expect(await runToEnd(processes, cliCommand('migrate'))).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('DATABASE_URL is required'),
    });
    expect(
      await runToEnd(processes, cliCommand('migrate'), { DATABASE_URL: 'postgres://u:secret@127.0.0.1:1/x' }),
    ).toMatchObject({ code: 1, stderr: expect.not.stringContaining('secret') });
  });
});
