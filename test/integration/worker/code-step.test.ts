import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject, JsonValue } from '../../../src/core/json.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { parseJsonLines } from '../../support/json-lines.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let platform: TestPlatform;
let sink: Sink;

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSink(({ path, headers, body }) => ({
    body: { path, authorization: headers['authorization'] ?? null, received: body },
  }));
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
  });
  // The first sandbox of all waits until the root file system is built.
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  await platform.stop();
  await sink.close();
  await database.drop();
});

const webhook = 'triggers: { hook: { webhook: { verify: { scheme: none } } } }';
let workflows = 0;

interface CodeStep {
  readonly file: string;
  readonly source: string;
  /** Further keys of the step, as YAML in braces. */
  readonly keys?: string;
  readonly config?: string;
}

async function start(
  { file, source, keys = '', config = '{}' }: CodeStep,
  body: JsonValue = {},
): Promise<string> {
  const definition = `
name: code-${++workflows}
${webhook}
config: ${config}
steps: [ { id: it, code: ${file}, retry: { attempts: 1 } ${keys === '' ? '' : `, ${keys}`} } ]
output: steps.it.output
`;
  const { hook } = await platform.deploy(definition, { [file]: source });
  const reply = await platform.post(hook, body);
  expect(reply.status).toBe(202);
  return reply.data.executionId as string;
}

const run = async (step: CodeStep, body: JsonValue = {}) =>
  platform.finished(await start(step, body), 60_000);

async function logOf(id: string): Promise<readonly JsonObject[]> {
  const { text } = await platform.call('GET', `/api/v1/executions/${id}/logs`);
  return parseJsonLines(text) as readonly JsonObject[];
}

const CTX_JS = `
export default async (ctx: any, input: any) => {
  ctx.log.warn('careful', { n: 1 });
  console.log('said');
  const answer = await ctx.fetch('svc:/hello?x=1', { method: 'POST', body: 'from code' });
  return {
    input: input.body,
    config: ctx.config,
    secret: ctx.secrets.pin.length,
    key: ctx.idempotencyKey,
    execution: ctx.execution.id,
    aborted: ctx.signal.aborted,
    answer: await answer.json(),
  };
};
`;
const CTX_PY = `
def run(ctx, input):
    ctx.log.warn("careful", n=1)
    print("said")
    answer = ctx.fetch("svc:/hello?x=1", method="POST", body="from code")
    return {
        "input": input["body"],
        "config": ctx.config,
        "secret": len(ctx.secrets["pin"]),
        "key": ctx.idempotency_key,
        "execution": ctx.execution["id"],
        "aborted": ctx.signal.aborted,
        "answer": answer.json(),
    }
`;

describe.each([
  {
    file: 'steps/a.ts',
    add: 'export default async (ctx: any, input: any) => input.body.a + input.body.b;\n',
    ctx: CTX_JS,
  },
  {
    file: 'steps/a.py',
    add: 'def run(ctx, input):\n    return input["body"]["a"] + input["body"]["b"]\n',
    ctx: CTX_PY,
  },
])('a code step in $file', ({ file, add, ctx }) => {
  test('gets the trigger and gives an output', async () => {
    const execution = await run({ file, source: add }, { a: 40, b: 2 });
    expect(execution).toMatchObject({ state: 'succeeded', output: 42 });
  });

  test('has all of ctx, and calls a service with a credential that it never sees', async () => {
    await platform.call('PUT', '/api/v1/credentials/svc', {
      type: 'bearer',
      data: { token: 'canary-token-8d1f', baseUrl: sink.url },
    });
    await platform.call('PUT', '/api/v1/credentials/pin', {
      type: 'secret',
      data: { value: 'canary-pin-77' },
    });
    const id = await start(
      { file, source: ctx, keys: 'credentials: [svc], secrets: [pin]', config: '{ region: eu }' },
      { n: 1 },
    );
    const execution = await platform.finished(id, 60_000);
    expect(execution).toMatchObject({
      state: 'succeeded',
      output: {
        input: { n: 1 },
        config: { region: 'eu' },
        secret: 13,
        key: `${id}.it`,
        execution: id,
        aborted: false,
        answer: { path: '/hello?x=1', authorization: 'Bearer [redacted]' },
      },
    });
    expect(sink.entries.at(-1)!.headers['authorization']).toBe('Bearer canary-token-8d1f');
    const lines = await logOf(id);
    expect(lines.map(({ level, message }) => `${level as string} ${message as string}`)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^warn careful/), 'info said']),
    );
  });
});

describe('the log of a code step', () => {
  test('can be read while it runs', async () => {
    const source = `export default async (ctx) => {
      console.log('first');
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    };\n`;
    const id = await start({ file: 'steps/slow.js', source });
    await waitFor(async () => (await logOf(id)).some(({ message }) => message === 'first'), {
      what: 'the line of a running step',
      timeoutMs: 30_000,
    });
    expect((await platform.call('GET', `/api/v1/executions/${id}`)).data.state).toBe('running');
    await platform.call('POST', `/api/v1/executions/${id}/cancel`);
    expect(await platform.finished(id)).toMatchObject({ state: 'cancelled' });
  });
});

interface BadInput {
  readonly what: string;
  readonly code: string;
  /** What the message has to say: the limit or the rule, and how to mend it. */
  readonly says: RegExp;
  readonly source: string;
  readonly keys?: string;
}

const js = (body: string): string => `export default async (ctx, input) => {\n${body}\n};\n`;
const py = (...lines: readonly string[]): string =>
  `def run(ctx, input):\n${lines.map((line) => `    ${line}`).join('\n')}\n`;

const BAD: Readonly<Record<'javascript' | 'python', readonly BadInput[]>> = {
  javascript: [
    {
      what: 'an exception',
      code: 'code_error',
      says: /no such order.*steps\/bad\.js:2:7/,
      source: js("throw new RangeError('no such order');"),
    },
    {
      what: 'an exit from inside',
      code: 'code_error',
      says: /exit|ended/i,
      source: js("require('node:process').exit(3);"),
    },
    {
      what: 'a result that is not JSON',
      code: 'invalid_output',
      says: /BigInt/i,
      source: js('return { n: 1n };'),
    },
    {
      what: 'a result over 1 MiB',
      code: 'output_too_large',
      says: /1048576/,
      source: js("return 'x'.repeat(1_048_577);"),
    },
    {
      what: 'a loop without end',
      code: 'timeout',
      says: /1000 ms.*`timeout`/,
      source: js('while (true);'),
      keys: 'timeout: 1s',
    },
    {
      what: 'too much memory',
      code: 'out_of_memory',
      says: /Its sandbox has 256Mi; use less, or raise `resources: \{ memory/,
      source: js('const all = []; while (true) all.push(new Array(100_000).fill(all.length));'),
    },
    {
      what: 'a host that is not allowed',
      code: 'egress_denied',
      says: /egress: \[example\.com\]/,
      source: js("await ctx.fetch('https://example.com/');"),
    },
    {
      what: 'a credential that is not listed',
      code: 'egress_denied',
      says: /credentials/,
      source: js("await ctx.fetch('svc:/x');"),
    },
  ],
  python: [
    {
      what: 'an exception',
      code: 'code_error',
      says: /no such order.*steps\/bad\.py:2/,
      source: py("raise ValueError('no such order')"),
    },
    {
      what: 'an exit from inside',
      code: 'code_error',
      says: /exit|ended/i,
      source: py('import os', 'os._exit(3)'),
    },
    { what: 'a syntax error', code: 'syntax_error', says: /steps\/bad\.py.*2/, source: py('return 1 +') },
    {
      what: 'no function `run` in the end',
      code: 'missing_export',
      says: /def run\(ctx, input\)/,
      source: 'def run(ctx, input):\n    pass\ndel run\n',
    },
    {
      what: 'a module that was not deployed',
      code: 'unresolved_import',
      says: /requests.*requirements\.txt/s,
      source: py('import requests'),
    },
    { what: 'a result that is not JSON', code: 'invalid_output', says: /set/, source: py('return {1, 2}') },
    {
      what: 'a result over 1 MiB',
      code: 'output_too_large',
      says: /1048576/,
      source: py("return 'x' * 1048577"),
    },
    {
      what: 'a loop without end',
      code: 'timeout',
      says: /1000 ms.*`timeout`/,
      source: py('while True: pass'),
      keys: 'timeout: 1s',
    },
    {
      what: 'too much memory',
      code: 'out_of_memory',
      says: /Its sandbox has 256Mi; use less, or raise `resources: \{ memory/,
      source: py('all = []', 'while True: all.append(bytearray(1000000))'),
    },
    {
      what: 'too many processes',
      code: 'resource_limit',
      says: /limit of 80 threads and processes: .*; start fewer at a time/,
      source: py('import os, time', 'while True:', '    if os.fork() == 0: time.sleep(60)'),
    },
    {
      what: 'a host that is not allowed',
      code: 'egress_denied',
      says: /egress: \[example\.com\]/,
      source: py("ctx.fetch('https://example.com/')"),
    },
    {
      what: 'a credential that is not listed',
      code: 'egress_denied',
      says: /credentials/,
      source: py("ctx.fetch('svc:/x')"),
    },
  ],
};

describe.each(['javascript', 'python'] as const)('what goes wrong in %s ends its step alone', (language) => {
  const file = language === 'javascript' ? 'steps/bad.js' : 'steps/bad.py';
  test.for(BAD[language])('$what: $code', { timeout: 60_000 }, async ({ code, says, source, keys }) => {
    const execution = await run({ file, source, ...(keys === undefined ? {} : { keys }) });
    expect(execution).toMatchObject({ state: 'failed', error: { code, step: 'it' } });
    expect((execution['error'] as { message: string }).message).toMatch(says);
  });

  test('a flood of output is cut in its middle', { timeout: 60_000 }, async () => {
    const source =
      language === 'javascript'
        ? js("for (let i = 0; i < 200_000; i++) console.log(`line ${i} ${'x'.repeat(50)}`);")
        : py("for i in range(200000): print(f'line {i} ' + 'x' * 50)");
    const id = await start({ file, source });
    expect(await platform.finished(id, 60_000)).toMatchObject({ state: 'succeeded' });
    const lines = await logOf(id);
    const messages = lines.map(({ message }) => message as string);
    expect(messages[0]).toMatch(/^line 0 /);
    expect(messages.at(-1)).toMatch(/^line 199999 /);
    expect(lines.filter(({ truncated }) => truncated)).toHaveLength(1);
    expect(messages.join('').length).toBeLessThan(1_200_000);
  });
});

describe('`resources` of a step', () => {
  const hungry = {
    'steps/hungry.py': py('kept = bytearray(300_000_000)', 'return len(kept)'),
    'steps/hungry.js': js(
      'const kept = [];\nfor (let i = 0; i < 20; i++) kept.push(new Array(1_000_000).fill(i));\nreturn kept.length * 15_000_000;',
    ),
  };
  test.for(Object.entries(hungry))(
    'give %s the memory it asks for',
    { timeout: 60_000 },
    async ([file, source]) => {
      expect(await run({ file, source })).toMatchObject({ error: { code: 'out_of_memory' } });
      const keys = 'resources: { memory: 768Mi }';
      expect(await run({ file, source, keys })).toMatchObject({ state: 'succeeded', output: 300_000_000 });
    },
  );

  test('are refused beyond the maximum when the workflow is saved', async () => {
    const definition = `name: too-much\n${webhook}\nsteps: [ { id: it, code: a.py, resources: { memory: 64Gi, cpu: 32 } } ]\n`;
    const { status, data } = await platform.call('PUT', '/api/v1/workflows/too-much', {
      definition,
      files: { 'a.py': 'def run(ctx, input):\n    pass\n' },
    });
    expect(status).toBe(422);
    expect((data.errors as { message: string }[]).map(({ message }) => message)).toEqual([
      expect.stringMatching(/memory.*1Gi/),
      expect.stringMatching(/cpu.*2/),
    ]);
  });
});
