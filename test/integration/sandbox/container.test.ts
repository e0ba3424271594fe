import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject, JsonValue } from '../../../src/core/json.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { parseJsonLines } from '../../support/json-lines.ts';
import { makeShellLayer } from '../../support/machine-image.ts';
import { makeTar, writeLayout } from '../../support/oci-layout.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { launchersOf, sandboxProcesses, sandboxRemains } from '../../support/sandbox-remains.ts';

let database: TestDatabase;
let platform: TestPlatform;
let directory: string;
let state: string;
let launchers: readonly string[];

const IMAGE = 'example.com/tools/shell:1';
const SERVICE_IMAGE = 'example.com/tools/service:1';
const HOSTILE_IMAGE = 'example.com/tools/hostile:1';

beforeAll(async () => {
  database = await createTestDatabase();
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o755);
  state = join(directory, 'state');
  const shell = await makeShellLayer();
  const extra = makeTar([
    {
      path: 'bin/hello',
      content: '#!/bin/sh\necho "hello $* from $(id -u):$(id -g) in $PWD"\n',
      mode: 0o755,
    },
    { path: 'private', type: 'Directory', mode: 0o700 },
    { path: 'private/file', content: 'readable', mode: 0o600 },
  ]);
  const hostile = makeTar([
    { path: 'out', type: 'SymbolicLink', target: '../../../../../../../../../../etc' },
    { path: 'out/canary', content: 'evil' },
  ]);
  await writeLayout(join(directory, 'images/shell'), [
    { name: IMAGE, layers: [shell] },
    {
      name: SERVICE_IMAGE,
      layers: [shell, { tar: extra, compression: 'zstd' }],
      config: {
        Entrypoint: ['hello'],
        Cmd: ['you'],
        Env: ['PATH=/usr/bin', 'COLOR=blue', 'SHAPE=round'],
        WorkingDir: '/srv/app',
        User: '1000:1001',
      },
    },
    { name: HOSTILE_IMAGE, layers: [shell, { tar: hostile }] },
  ]);
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    SANDBOX_SPARES_JAVASCRIPT: '0',
    SANDBOX_SPARES_PYTHON: '0',
    SANDBOX_STATE_DIR: state,
    SANDBOX_IMAGES_DIR: join(directory, 'images'),
    SANDBOX_MEMORY_BUDGET_BYTES: String(512 * 1_048_576),
    SANDBOX_CLAIM_TIMEOUT_MS: '30000',
  });
  await platform.workers[0]!.sandboxes;
  launchers = await launchersOf(state);
}, 180_000);

afterAll(async () => {
  await platform.stop();
  await database.drop();
  await rm(directory, { recursive: true });
});

let workflows = 0;

interface ContainerStep {
  /** A line for the shell; `with` instead, if it is given. */
  readonly line?: string;
  /** What stands under `container`, beside the image. */
  readonly with?: JsonObject;
  readonly image?: string;
  /** Further keys of the step. */
  readonly keys?: JsonObject;
}

async function start(
  { line = '', image = IMAGE, keys = {}, ...step }: ContainerStep,
  body: JsonValue,
): Promise<string> {
  const container = { image, ...(step.with ?? { command: ['/bin/sh', '-c', line] }) };
  const definition = JSON.stringify({
    name: `container-${++workflows}`,
    triggers: { hook: { webhook: { verify: { scheme: 'none' } } } },
    steps: [{ id: 'it', container, retry: { attempts: 1 }, ...keys }],
    output: 'steps.it.output',
  });
  const name = `container-${workflows}`;
  const reply = await platform.call('PUT', `/api/v1/workflows/${name}`, { definition });
  expect(reply.status, reply.text).toBe(201);
  const accepted = await platform.post(`/hooks/${reply.data.triggers[0].endpointId as string}`, body);
  expect(accepted.status).toBe(202);
  return accepted.data.executionId as string;
}

const run = async (step: ContainerStep, body: JsonValue = {}) =>
  platform.finished(await start(step, body), 60_000);

async function logOf(id: string): Promise<readonly JsonObject[]> {
  const { text } = await platform.call('GET', `/api/v1/executions/${id}/logs`);
  return parseJsonLines(text) as readonly JsonObject[];
}
const messageOf = (execution: JsonObject): string => (execution['error'] as { message: string }).message;

describe('a container step', () => {
  test('is a filter: JSON on stdin, JSON on stdout', async () => {
    const keys = { input: { numbers: '${{ trigger.body.numbers }}' } };
    const execution = await run({ line: 'cat', keys }, { numbers: [1, 2, { deep: 'ä€😀' }] });
    expect(execution).toMatchObject({
      state: 'succeeded',
      output: { numbers: [1, 2, { deep: 'ä€😀' }] },
    });
  });

  test('gets the trigger without `input`, as code does', async () => {
    expect(await run({ line: 'cat' }, { a: 1 })).toMatchObject({
      output: { type: 'webhook', body: { a: 1 } },
    });
  });

  test.each<[string, string, JsonValue]>([
    ['text that is no JSON', 'echo hello; echo world', 'hello\nworld'],
    ['a number', 'echo 42', 42],
    ['nothing', 'true', null],
    ['what it writes to /dev/stdout', 'echo \'{"a":1}\' > /dev/stdout', { a: 1 }],
    ['what it reads from /dev/stdin, twice', 'cat /dev/stdin > /dev/null; echo "[1]" | cat /dev/stdin', [1]],
  ])('gives %s', async (_, line, output) => {
    expect(await run({ line })).toMatchObject({ state: 'succeeded', output });
  });

  test('is run as its image says, but for what the step says', async () => {
    expect(await run({ image: SERVICE_IMAGE, with: {} })).toMatchObject({
      output: 'hello you from 1000:1001 in /srv/app',
    });
    const args = ['dear', '${{ trigger.body.name }}; exit 1'];
    expect(await run({ image: SERVICE_IMAGE, with: { args } }, { name: '$(id)' })).toMatchObject({
      output: 'hello dear $(id); exit 1 from 1000:1001 in /srv/app',
    });
    const show = ['sh', '-c', 'echo "$COLOR $SHAPE $SIZE $HOME"'];
    const env = { SHAPE: 'square', SIZE: '${{ trigger.body.size }}' };
    expect(await run({ image: SERVICE_IMAGE, with: { command: show, env } }, { size: 3 })).toMatchObject({
      output: 'blue square 3 /tmp',
    });
    const read = ['cat', '/private/file'];
    expect(await run({ image: SERVICE_IMAGE, with: { command: read } })).toMatchObject({
      output: 'readable',
    });
  });

  test('knows which attempt it is, and nothing else of the platform', async () => {
    const id = await start({ line: 'env' }, {});
    const { output } = await platform.finished(id, 60_000);
    expect((output as string).split('\n').toSorted()).toEqual([
      'HOME=/tmp',
      `MILLRACE_ATTEMPT=1`,
      `MILLRACE_EXECUTION_ID=${id}`,
      `MILLRACE_IDEMPOTENCY_KEY=${id}.it`,
      'MILLRACE_STEP_ID=it',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'PWD=/',
    ]);
  });

  test('is nobody, on a root that it cannot change, with /tmp alone to write to', async () => {
    const line = `
      id -u; id -g; touch /new 2>/dev/null || echo refused; touch /usr/bin/new 2>/dev/null || echo refused
      cp /bin/cat /tmp/own && echo kept | /tmp/own
      cat /proc/self/status | while read name value; do if [ "$name" = CapEff: ]; then echo $value; fi; done`;
    expect(await run({ line })).toMatchObject({
      output: '65532\n65532\nrefused\nrefused\nkept\n0000000000000000',
    });
  });

  test('has no network', async () => {
    const line = 'while read name rest; do echo "$name"; done < /proc/net/dev; cat /proc/net/route';
    const { output } = await run({ line });
    const interfaces = (output as string).split('\n').filter((name) => /^\w+:$/.test(name));
    expect(interfaces).toEqual(['lo:']);
    expect(output).not.toMatch(/eth0|00000000/);
  });

  test('is run in gVisor', async () => {
    expect((await run({ line: 'cat /proc/version' })).output).toMatch(/gvisor/i);
  });
});

describe('secrets of a container step', () => {
  const CANARY = 'canary-6f1d-secret';
  beforeAll(async () => {
    await platform.call('PUT', '/api/v1/credentials/signing-key', {
      type: 'secret',
      data: { value: CANARY },
    });
  });
  const keys = { secrets: ['signing-key'] };

  test('are variables, and masked in output and log', async () => {
    const line =
      'echo "log $SIGNING_KEY" >&2; echo "{\\"length\\":${#SIGNING_KEY},\\"it\\":\\"$SIGNING_KEY\\"}"';
    const id = await start({ line, keys }, {});
    expect(await platform.finished(id, 60_000)).toMatchObject({
      output: { length: CANARY.length, it: '[redacted]' },
    });
    expect(await logOf(id)).toMatchObject([{ level: 'info', message: 'log [redacted]', step: 'it' }]);
  });

  test('are masked in the error', async () => {
    const execution = await run({ line: 'echo "bad key $SIGNING_KEY" >&2; exit 4', keys });
    expect(messageOf(execution)).toMatch(/exit code 4: bad key \[redacted\]/);
    expect(JSON.stringify(execution)).not.toContain(CANARY);
  });
});

interface Failure {
  readonly what: string;
  readonly code: string;
  readonly says: RegExp;
  readonly line?: string;
  readonly with?: JsonObject;
  readonly image?: string;
  readonly keys?: JsonObject;
}

describe('what goes wrong ends its step alone', () => {
  test.for<Failure>([
    {
      what: 'an exit code',
      code: 'code_error',
      says: /exit code 3: one\ntwo$/,
      line: 'echo one >&2; echo two >&2; exit 3',
    },
    {
      what: 'an exit code without a word',
      code: 'code_error',
      says: /exit code 1; it wrote nothing/,
      line: 'exit 1',
    },
    {
      what: 'a program that is not there',
      code: 'code_error',
      says: /cannot run `nosuch`.*no such file.*`command`/,
      with: { command: ['nosuch'] },
    },
    {
      what: 'a program that cannot be run',
      code: 'code_error',
      says: /cannot run `\/usr\/bin`.*`command`/,
      with: { command: ['/usr/bin'] },
    },
    { what: 'no program at all', code: 'invalid_input', says: /names no program.*command/, with: {} },
    {
      what: 'an argument that is too long',
      code: 'invalid_input',
      says: /argument 3 has 200000 bytes; at most 131071.*stdin/,
      with: { command: ['/bin/sh', '-c', 'true', 'x'.repeat(200_000)] },
    },
    {
      what: 'too much output',
      code: 'output_too_large',
      says: /more than 1048576 bytes/,
      line: 'while true; do cat /bin/cat; done',
    },
    { what: 'output that is no text', code: 'invalid_output', says: /UTF-8.*base64/, line: 'cat /bin/cat' },
    {
      what: 'output that is nested too deeply',
      code: 'invalid_output',
      says: /100 levels/,
      line: `echo '${'['.repeat(101)}${']'.repeat(101)}'`,
    },
    { what: 'no end', code: 'timeout', says: /2000 ms/, line: 'sleep 600', keys: { timeout: '2s' } },
    {
      what: 'too much memory',
      code: 'out_of_memory',
      says: /sandbox has 256Mi; use less, or raise `resources: \{ memory/,
      line: 'x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done',
    },
    {
      what: 'more processes than it may have',
      code: 'resource_limit',
      says: /than the 256 that any sandbox may have.*; start fewer at a time/,
      line: 'i=0; while [ $i -lt 1000 ]; do sleep 30 & i=$((i+1)); done; wait',
    },
    {
      what: 'more memory asked for than there is',
      code: 'no_sandbox',
      says: /may use 1024 MiB, and all containers of this worker together have 512 MiB/,
      line: 'true',
      keys: { resources: { memory: '1Gi' } },
    },
    {
      what: 'an image that is not there',
      code: 'image_not_found',
      says: /skopeo copy docker:\/\/example\.com\/none:2 oci:\$SANDBOX_IMAGES_DIR\/none:example\.com\/none:2/,
      image: 'example.com/none:2',
      line: 'true',
    },
  ])('$what: $code', { timeout: 60_000 }, async ({ code, says, ...step }) => {
    const execution = await run(step);
    expect(execution).toMatchObject({ state: 'failed', error: { code, step: 'it' } });
    expect(messageOf(execution)).toMatch(says);
  });

  test('a hostile image finds only itself behind its links', { timeout: 60_000 }, async () => {
    expect(await run({ image: HOSTILE_IMAGE, line: 'cat /out/canary; echo; ls /etc' })).toMatchObject({
      output: 'evil\ncanary',
    });
    expect(await readdir('/etc')).not.toContain('canary');
  });

  test('a flood of log lines is cut in its middle', { timeout: 120_000 }, async () => {
    const line =
      'i=0; while [ $i -lt 40000 ]; do echo "line $i ------------------------------------------" >&2; i=$((i+1)); done';
    const id = await start({ line }, {});
    expect(await platform.finished(id, 100_000)).toMatchObject({ state: 'succeeded', output: null });
    const lines = await logOf(id);
    const messages = lines.map(({ message }) => message as string);
    expect(messages[0]).toMatch(/^line 0 /);
    expect(messages.at(-1)).toMatch(/^line 39999 /);
    expect(lines.filter(({ truncated }) => truncated)).toHaveLength(1);
    expect(messages.join('').length).toBeLessThan(1_100_000);
  });

  test('the log of a step that took too long is there', { timeout: 60_000 }, async () => {
    const id = await start({ line: 'echo before >&2; sleep 600', keys: { timeout: '3s' } }, {});
    expect(await platform.finished(id, 60_000)).toMatchObject({ error: { code: 'timeout' } });
    expect(await logOf(id)).toMatchObject([{ message: 'before' }]);
  });
});

describe('a container that is lost', () => {
  test('is replaced, and the step goes on as if nothing was', { timeout: 60_000 }, async () => {
    const id = await start({ line: 'echo up >&2; sleep 4; echo done' }, {});
    await waitFor(async () => (await logOf(id)).length > 0, {
      what: 'the container to run',
      timeoutMs: 20_000,
    });
    for (const { pid, command } of await sandboxProcesses(state))
      if (command.includes('boot')) process.kill(pid, 'SIGKILL');
    expect(await platform.finished(id, 60_000)).toMatchObject({ state: 'succeeded', output: 'done' });
    expect(await logOf(id)).toMatchObject([
      { message: 'up', attempt: 1 },
      { level: 'warn', message: expect.stringMatching(/sandbox was lost/) },
      { message: 'up' },
    ]);
  });

  test('through its own doing twice is not started again', { timeout: 60_000 }, async () => {
    const execution = await run({ line: 'kill -9 $$' });
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'resource_limit' } });
  });
});

test(
  'nothing is left of containers, neither while the worker runs nor afterwards',
  { timeout: 120_000 },
  async () => {
    // As many as never fit at once: they wait for memory, and their time-outs do not count meanwhile.
    const ids = await Promise.all(
      Array.from({ length: 6 }, () =>
        start({ line: 'sleep 1; echo ok', keys: { resources: { memory: '256Mi' }, timeout: '10s' } }, {}),
      ),
    );
    for (const id of ids) expect(await platform.finished(id, 90_000)).toMatchObject({ output: 'ok' });
    await waitFor(async () => (await sandboxProcesses(state)).length === 0, { what: 'all processes to end' });
    const [launcher] = launchers;
    expect((await readdir(join(state, launcher!))).filter((name) => name.startsWith('w'))).toEqual([]);
    await platform.stop();
    expect(await sandboxRemains(state, launchers)).toEqual([]);
  },
);
