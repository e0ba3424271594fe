import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestRunner, type RunOptions, type RunResult, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

/** Runs `body` as the author's function. */
const run = (body: string, options?: RunOptions): Promise<RunResult> =>
  runner.run(`module.exports = { default: async function (ctx, input) { ${body}\n} };`, options);

const output = async (body: string, options?: RunOptions): Promise<unknown> => {
  const result = await run(body, options);
  if (result.type === 'failed') throw new Error(`${result.failure}: ${JSON.stringify(result.detail)}`);
  return result.output;
};

const failure = async (body: string, options?: RunOptions) => {
  const result = await run(body, options);
  if (result.type === 'result') throw new Error(`it gave ${JSON.stringify(result.output)}`);
  return result;
};

describe('the runner', () => {
  it('says what it is before anything else', () => {
    expect(runner.ready).toEqual({
      type: 'ready',
      protocol: 1,
      runtime: expect.stringMatching(/^deno \d+\.\d+\.\d+ \(v8 .+\)$/),
      slots: 2,
      kernel: '',
    });
  });

  it('gives the function its input and its context, and the worker its output', async () => {
    const context = {
      config: { region: 'eu' },
      secrets: { token: 's3' },
      step: { id: 's', attempt: 2, item: 4 },
    };
    const body =
      'return { input, keys: Object.keys(ctx), config: ctx.config, secrets: ctx.secrets, step: ctx.step };';
    expect(await output(body, { input: { n: 1 }, context })).toEqual({
      input: { n: 1 },
      keys: [
        'fetch',
        'secrets',
        'config',
        'log',
        'signal',
        'idempotencyKey',
        'execution',
        'workflow',
        'step',
        'TerminalError',
        'RetryableError',
      ],
      ...context,
    });
  });

  it('runs two at a time', async () => {
    // The second one waits for its slot first, which is only started now.
    const body =
      'const began = Date.now(); await new Promise((resolve) => setTimeout(resolve, 3000)); return [began, Date.now()];';
    const [one, other] = (await Promise.all([output(body), output(`${body} // other`)])) as [
      number,
      number,
    ][];
    expect(Math.max(one![0], other![0])).toBeLessThan(Math.min(one![1], other![1])); // both gave two
  });

  it('says of a run that no slot is free for it, and when one is', async () => {
    const { program } = await runner.load(
      'module.exports.default = () => new Promise((resolve) => setTimeout(resolve, 100, null));',
    );
    const runs = Array.from({ length: 5 }, () => runner.begin(program));
    await Promise.all(runs.map(({ ended }) => ended));
    expect(runs[0]!.waits).toEqual([]);
    // At its turn the last has waited for two others of 100 ms, and is told so after 10 ms.
    expect(runs[4]!.waits).toEqual(['waiting', 'started']);
  });

  it('answers a ping while both slots are busy, and ends them by force', async () => {
    const { program } = await runner.load('module.exports.default = () => { console.log(1); for (;;); };');
    const loops = [runner.begin(program), runner.begin(program)];
    const waiting = runner.begin(program);
    await Promise.all(loops.map(({ logged }) => logged));
    runner.send({ type: 'ping', ping: 7 });
    expect(await runner.pong()).toBe(7);
    for (const loop of [...loops, waiting]) loop.cancel(50);
    const ends = await Promise.all([...loops, waiting].map(({ ended }) => ended));
    expect(ends.map((end) => end.type === 'failed' && end.failure)).toEqual([
      'cancelled',
      'cancelled',
      'cancelled',
    ]);
    expect(ends.map((end) => end.slotReplaced)).toEqual([true, true, false]);
    expect(await output('return 1')).toBe(1);
  });
});

describe('what a run leaves behind', () => {
  it.each([
    ['timers', 'setTimeout(() => {}, 1e6); setInterval(() => {}, 1); setImmediate(() => {});'],
    ['settled promises', '(async () => { for (let n = 0; n < 100; n++) await null; })();'],
    ['a digest that ends soon', "crypto.subtle.digest('SHA-256', new Uint8Array(1000));"],
  ])('leaves its slot as it was: %s', async (_, code) => {
    expect(await run(`${code} return 1;`)).toMatchObject({ output: 1, slotReplaced: false });
  });

  it.each([
    ['a key', "require('node:crypto').pbkdf2('a', 'b', 1e8, 64, 'sha512', () => {});"],
    [
      'a derivation',
      `crypto.subtle.importKey('raw', new Uint8Array(8), 'PBKDF2', false, ['deriveBits']).then((key) =>
        crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: new Uint8Array(8), iterations: 1e8 }, key, 256));`,
    ],
    [
      'a loop of promises',
      '(async () => { for (;;) await crypto.subtle.digest("SHA-1", new Uint8Array(1e3)); })();',
    ],
  ])('ends with its slot, when it would go on: %s', async (_, code) => {
    expect(await run(`${code} return 1;`)).toMatchObject({ output: 1, slotReplaced: true });
    expect(await output('return "still here"')).toBe('still here');
  });
});

describe('the output', () => {
  it.each([
    ['return undefined', null],
    ['return', null],
    ['return { a: undefined, b: [undefined], d: new Date(0) }', { b: [null], d: '1970-01-01T00:00:00.000Z' }],
    ['return "\\ud800"', '\ud800'],
    ['return { toJSON: () => 7 }', 7],
    ['return JSON.parse(\'{"__proto__": {"x": 1}}\')', JSON.parse('{"__proto__": {"x": 1}}')],
  ])('of `%s` is JSON', async (body, expected) => {
    expect(await output(body)).toEqual(expected);
  });

  it.each([
    ['return 1n', 'output is a BigInt'],
    ['return { list: [1, { id: 7n }] }', 'output.list[1].id is a BigInt'],
    ['const a = { b: {} }; a.b.c = [a]; return a', 'output.b.c[0] is output again'],
    ['return { "x y": { toJSON() { throw new Error("never") } } }', 'never'],
    ['return () => 1', 'The output is a function'],
    ['return Symbol("x")', 'The output is a symbol'],
  ])('of `%s` is none, and the failure says where', async (body, message) => {
    const { failure: code, detail } = await failure(body);
    expect([code, detail.message]).toEqual(['invalid_output', expect.stringContaining(message)]);
  });

  it('has a size, counted in bytes', async () => {
    expect(await output('return "é".repeat(4)', { maxOutputBytes: 10 })).toBe('éééé');
    const { failure: code, detail } = await failure('return "é".repeat(5)', { maxOutputBytes: 10 });
    expect(code).toBe('output_too_large');
    expect(detail.message).toContain('12 bytes of JSON; at most 10');
  });
});

describe('a failure', () => {
  it('tells name, message and the frames of the bundle alone', async () => {
    const { failure: code, detail } = await failure(
      'function inner() { throw new RangeError("too far"); } inner();',
    );
    expect([code, detail.name, detail.message]).toEqual(['code_error', 'RangeError', 'too far']);
    expect(detail.stack).toMatch(/^RangeError: too far\n\s+at inner \(steps\/test\.ts:1:\d+\)/);
    expect(detail.stack).not.toMatch(/ext:|millrace:|data:/);
  });

  it.each([
    ['throw "text"', 'thrown: text'],
    ['throw { code: 7 }', 'thrown: { code: 7 }'],
    ['throw null', 'thrown: null'],
    ['throw new Proxy({}, { getPrototypeOf() { throw 1 }, get() { throw 1 } })', ''],
    ['const e = new Error("x"); Object.defineProperty(e, "message", { get() { throw 1 } }); throw e', ''],
  ])('of `%s` is described', async (body, message) => {
    const { failure: code, detail } = await failure(body);
    expect([code, detail.message]).toEqual(['code_error', expect.stringContaining(message)]);
  });

  it.each([
    ['throw new ctx.TerminalError("no")', { name: 'TerminalError', retryable: false }],
    ['throw new ctx.RetryableError("later", { retryAfter: 1.5 })', { retryable: true, retryAfterMs: 1500 }],
    ['throw new ctx.RetryableError("later")', { retryable: true }],
    ['throw new (class Mine extends ctx.TerminalError {})("no")', { retryable: false }],
  ])('of `%s` says whether to try again', async (body, expected) => {
    expect((await failure(body)).detail).toMatchObject(expected);
  });

  it.each([
    ['in a timer', 'setTimeout(() => { throw new Error("late") }, 1)'],
    ['in a microtask', 'queueMicrotask(() => { throw new Error("late") })'],
    ['in a tick', 'process.nextTick(() => { throw new Error("late") })'],
    ['in a rejected promise', 'Promise.reject(new Error("late"))'],
    [
      'in a listener',
      'const e = new (require("events"))(); e.on("x", () => { throw new Error("late") }); setTimeout(() => e.emit("x"))',
    ],
    [
      'as an error nobody listens for',
      'const e = new (require("events"))(); setTimeout(() => e.emit("error", new Error("late")))',
    ],
    [
      'in a port',
      'const { port1, port2 } = new MessageChannel(); port1.onmessage = () => { throw new Error("late") }; port2.postMessage(1)',
    ],
  ])('that nobody catches %s ends the run, and costs no slot', async (_, body) => {
    const { program } = await runner.load(
      `module.exports.default = (ctx) => new Promise(() => { ${body} });`,
    );
    const end = await runner.begin(program).ended;
    expect(end).toMatchObject({ type: 'failed', failure: 'code_error', detail: { message: 'late' } });
  });

  it('of an exit says what to do instead', async () => {
    const { failure: code, detail, slotReplaced } = await failure('process.exit(3)');
    expect([code, slotReplaced]).toEqual(['code_error', false]);
    expect(detail.message).toContain('process.exit(3). Return a value');
  });

  it('of a program without a default export says what to write', async () => {
    const end = await runner.run('exports.run = () => 1;');
    expect(end).toMatchObject({ type: 'failed', failure: 'missing_export' });
    expect(end.type === 'failed' && end.detail.message).toContain('export default async function');
  });

  it('of a program that cannot be read comes when it is loaded', async () => {
    const { failed } = await runner.load('const a = ;');
    expect(failed?.failure).toBe('syntax_error');
    expect(failed?.detail.message).toContain("Unexpected token ';'");
  });

  it('of JSON.parse is none of the program', async () => {
    expect((await failure('JSON.parse("{")')).failure).toBe('code_error');
  });
});

describe('memory', () => {
  it.each([
    ['at once', '() => { bomb(); }'],
    ['after a promise', 'async () => { await 0; bomb(); }'],
    ['after a timer', 'async () => { await new Promise((r) => setTimeout(r, 5)); bomb(); }'],
    ['in a timer', '() => new Promise(() => setTimeout(bomb))'],
    ['in a tick', '() => new Promise(() => process.nextTick(bomb))'],
    ['when a fetch is answered', 'async (ctx) => { await (await ctx.fetch("x:/")).text(); bomb(); }'],
  ])('used up %s ends the slot of that run alone', async (_, source) => {
    const { program: good } = await runner.load(
      'module.exports.default = async () => { await new Promise((r) => setTimeout(r, 500)); return "fine"; }',
    );
    const { program: bad } = await runner.load(
      `const bomb = () => { const all = []; for (;;) all.push({ at: all.length, list: [1, 2, 3] }); };
      module.exports.default = ${source};`,
    );
    const neighbour = runner.begin(good);
    const end = await runner.begin(bad, { fetch: () => ({ body: 'x' }) }).ended;
    expect(end).toMatchObject({
      type: 'failed',
      failure: 'out_of_memory',
      detail: { message: 'its objects took more than 64 MiB' },
      slotReplaced: true,
    });
    expect(await neighbour.ended).toMatchObject({ type: 'result', output: 'fine', slotReplaced: false });
  });
});

describe('cancelling', () => {
  it('aborts the signal, and waits for code that obeys', async () => {
    const { program } = await runner.load(
      'module.exports.default = (ctx) => new Promise((_, reject) => ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason), ctx.log.info("began")))',
    );
    const handle = runner.begin(program);
    await handle.logged;
    handle.cancel(5000);
    expect(await handle.ended).toMatchObject({ failure: 'cancelled', slotReplaced: false });
  });

  it.each([
    ['waits forever', '() => new Promise(() => {})'],
    ['loops', '() => { for (;;); }'],
    [
      'starts its timers again',
      '() => new Promise(() => { const again = () => setTimeout(again); again(); })',
    ],
    ['loops in promises', 'async () => { for (;;) await 0; }'],
    [
      'catches everything',
      'async () => { for (;;) try { await new Promise((r) => setTimeout(r, 1)); } catch {} }',
    ],
  ])('ends code that %s, and replaces its slot', async (_, source) => {
    const { program } = await runner.load(
      `const code = ${source}; module.exports.default = () => { console.log(1); return code(); }`,
    );
    const handle = runner.begin(program);
    await handle.logged;
    handle.cancel(50);
    const began = Date.now();
    expect(await handle.ended).toMatchObject({ failure: 'cancelled', slotReplaced: true });
    expect(Date.now() - began).toBeLessThan(5000);
    expect(await output('return "still here"')).toBe('still here');
  });

  it('of a run that has ended is nothing', async () => {
    const { program } = await runner.load('module.exports.default = () => 5;');
    const handle = runner.begin(program);
    await handle.ended;
    handle.cancel(0);
    expect(await output('return 6')).toBe(6);
  });
});
