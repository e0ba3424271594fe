import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDeno, startTestRunner, type RunResult, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
  // One slot is kept busy, so that each run is in the slot that the one before it was in.
  const { program } = await runner.load('module.exports.default = () => new Promise(() => {});');
  runner.begin(program);
});
afterAll(() => runner.stop());

const run = (body: string): Promise<RunResult> =>
  runner.run(`module.exports.default = async (ctx) => { ${body}\n};`);

const output = async (body: string): Promise<unknown> => {
  const end = await run(body);
  if (end.type === 'failed') throw new Error(`${end.failure}: ${JSON.stringify(end.detail)}`);
  return end.output;
};

/** Tries what may throw, then looks from the next run. */
const after = async (attempt: string, look: string): Promise<unknown> => {
  const first = await run(`try { ${attempt} } catch {} return 1`);
  expect(first).toMatchObject({ type: 'result', slotReplaced: false });
  return output(`return ${look}`);
};

const evil = '(() => "evil")';

describe('the next run sees nothing of', () => {
  it.each([
    [
      'globals',
      'globalThis.left = 1; var q = 2; eval("var w = 3")',
      '[typeof left, typeof q, typeof w]',
      ['undefined', 'undefined', 'undefined'],
    ],
    [
      'prototypes',
      `Array.prototype.map = ${evil}; Object.prototype.left = 1`,
      '[[1].map((n) => n), {}.left ?? 0]',
      [[1], 0],
    ],
    ['JSON and promises', `JSON.stringify = JSON.parse = ${evil}; Promise.prototype.then = ${evil}`, '1', 1],
    [
      'bytes',
      `Uint8Array.prototype.slice = ${evil}; Uint8Array.from = ${evil}; Buffer.from = ${evil}; Buffer.prototype.toString = ${evil}`,
      'Buffer.from(new Uint8Array([97]).slice()).toString()',
      'a',
    ],
    [
      'web classes',
      `URL.prototype.toString = ${evil}; Headers.prototype.get = ${evil}; URL.left = 1; Response = URL`,
      '[new URL("a:b").toString(), new Headers([["a", "b"]]).get("a"), URL.left ?? 0, typeof new Response()]',
      ['a:b', 'b', 0, 'object'],
    ],
    [
      'modules',
      `const c = require("crypto"); c.createHash = ${evil}; c.left = 1; require("util").inspect.custom = 1`,
      '[typeof require("crypto").createHash("md5").update, require("crypto").left ?? 0]',
      ['function', 0],
    ],
    [
      'classes of modules',
      `const E = require("events"); E.prototype.on = ${evil}; E.defaultMaxListeners = 99; require("stream").Readable.prototype.pipe = ${evil}`,
      '[typeof new (require("events"))().on("x", () => {}), require("events").defaultMaxListeners]',
      ['object', 10],
    ],
    [
      'settings of modules',
      'require("events").setMaxListeners(7); require("util").inspect.defaultOptions.depth = 9; require("util").inspect.defaultOptions = { depth: 8 }; Buffer.poolSize = 1; Error.stackTraceLimit = 1',
      '[require("events").defaultMaxListeners, require("util").inspect.defaultOptions.depth, Error.stackTraceLimit]',
      [10, 2, 10],
    ],
    [
      'the slot’s own language',
      `const R = new URL("a:b").searchParams.getAll("x"); R.constructor.prototype.push = ${evil}; Object.getPrototypeOf(R.constructor.prototype).left = 1; Object.getPrototypeOf(fetch("x:/").catch(() => {})).then = 1`,
      '[new URL("a:b").searchParams.left ?? 0, [].concat(new URL("a:?x=1").searchParams.getAll("x"))]',
      [0, ['1']],
    ],
    [
      'the process',
      'process.env.LEFT = "1"; process.on("exit", () => {}); process.exitCode = 3; process.left = 1',
      '[process.env.LEFT ?? 0, process.listenerCount("exit"), process.exitCode ?? 0, process.left ?? 0]',
      [0, 0, 0, 0],
    ],
    [
      'marks and channels',
      'performance.mark("x"); require("diagnostics_channel").channel("x").subscribe(() => {})',
      '[performance.getEntries().length, require("diagnostics_channel").hasSubscribers("x")]',
      [0, false],
    ],
    [
      'what a store holds',
      'new (require("async_hooks").AsyncLocalStorage)().enterWith(1); globalThis.s = 1',
      'typeof s',
      'undefined',
    ],
    [
      'symbols on functions',
      'URL[Symbol.for("left")] = 1; ctx.fetch.left = 1; console.left = 1',
      '[URL[Symbol.for("left")] ?? 0, ctx.fetch.left ?? 0, console.left ?? 0]',
      [0, 0, 0],
    ],
    [
      'pooled memory',
      'globalThis.b = Buffer.from("canary-of-the-last-run")',
      'Buffer.from(Buffer.from("x").buffer).includes("canary")',
      false,
    ],
  ])('%s', async (_, attempt, look, expected) => {
    expect(await after(attempt, look)).toEqual(expected);
  });
});

/** Everything that can be reached from a run without knowing anything: properties, prototypes, getters, results. */
const REACH = `
  const seen = new Set();
  const waiting = [globalThis, ctx, require, module, process, setTimeout(() => {}, 0), ctx.signal,
    fetch('x:/').catch((e) => e), new Headers().entries(), new URLSearchParams('a=b'), Buffer.from('a'), (() => { try { new URL('x') } catch (e) { return e } })(),
    new Response('a').body, new Response('a').text(), new FormData(), crypto.subtle, new (require('stream').Readable)(), new (require('events'))(),
    require('crypto').createHash('md5'), require('zlib').createGzip(), new TextEncoder().encode('a'), structuredClone(new Map()), new MessageChannel().port1,
    ...'assert async_hooks buffer console crypto diagnostics_channel events os path perf_hooks process punycode querystring stream stream/web string_decoder timers timers/promises url util util/types zlib http fs vm module'.split(' ').map((n) => require(n))];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (Object(value) !== value || seen.has(value)) continue;
    seen.add(value);
    try { waiting.push(Object.getPrototypeOf(value)); } catch {}
    let keys = [];
    try { keys = Reflect.ownKeys(value); } catch {}
    for (const key of keys) {
      let property;
      try { property = Reflect.getOwnPropertyDescriptor(value, key); } catch {}
      if (property === undefined) continue;
      waiting.push(property.value, property.get, property.set);
      if (property.get) try { waiting.push(value[key]); } catch {}
    }
  }`;

describe('the slot’s own realm', () => {
  it('is not found by looking', async () => {
    const found = `${REACH}
      const names = ['Deno', 'parentPort', '__bootstrap', 'process'];
      return [seen.size > 1500, [...seen].filter((o) => { try { return names.some((name) => Object.hasOwn(o, name) && o !== globalThis && Reflect.getOwnPropertyDescriptor(o, name).value !== undefined) } catch { return false } }).length]`;
    expect(await output(found)).toEqual([true, 0]);
  });

  it('makes no code from strings for those who look', async () => {
    const found = `${REACH}
      const makers = [...seen].flatMap((value) => { try { return [value, value.constructor, value.constructor.constructor] } catch { return [] } })
        .filter((value) => typeof value === 'function' && /Function$|^eval$/.test(value.name));
      const globals = new Set();
      for (const make of new Set(makers)) {
        try { globals.add(make.name === 'eval' ? make('globalThis') : await make('return globalThis')()); } catch {}
      }
      globals.delete(undefined);
      return [makers.length > 10, [...globals].filter((made) => made !== globalThis && typeof made.next !== 'function').length]`;
    expect(await output(found)).toEqual([true, 0]);
  });

  it('has nothing in reach that a run could mark for the next', async () => {
    const mark = `${REACH}
      let marked = 0;
      for (const value of seen) try { value[Symbol.for('mark')] = 1; marked++ } catch {}
      for (const value of seen) try { Object.defineProperty(value, Symbol.for('mark'), { value: 1 }); } catch {}
      return marked`;
    const look = `${REACH}
      const names = [];
      for (const value of seen) try { if (Object.hasOwn(value, Symbol.for('mark'))) names.push(value.name || [typeof value, String(value).slice(0, 50), ...Reflect.ownKeys(value).map(String), value.constructor?.name].join(' ')) } catch {}
      return names`;
    expect(await run(mark)).toMatchObject({ output: expect.any(Number), slotReplaced: false });
    expect(await output(look)).toEqual([]);
  });

  it('is not among the frames of a stack', async () => {
    const found = `
      Error.prepareStackTrace = (_, frames) => frames.flatMap((frame) => [frame.getThis(), frame.getFunction()]);
      const { stack } = await new Promise((resolve) => setTimeout(() => { try { null.x } catch (error) { resolve(error) } }));
      return [...stack, ...new Error('x').stack].filter((o) => Object(o) === o && o !== globalThis && Object.hasOwn(o, 'Deno')).length`;
    expect(await output(found)).toBe(0);
  });
});

describe('the process', () => {
  it('may do nothing that takes a permission, and has nothing to tell, whoever asks', async () => {
    // As if every wall inside it had fallen: the same Deno with the same arguments, asked directly.
    const asks = [
      'Deno.readTextFileSync("/etc/passwd")',
      'Deno.writeTextFileSync("/tmp/left", "x")',
      'Deno.env.toObject()',
      'Deno.env.get("CANARY")',
      'new Deno.Command("/bin/sh").outputSync()',
      'await Deno.connect({ port: 1 })',
      'Deno.listen({ port: 0 })',
      'await Deno.resolveDns("localhost", "A")',
      'Deno.dlopen("libc.so.6", {})',
      'Deno.osRelease()',
      'Deno.hostname()',
      'Deno.kill(1)',
      '(await import("node:fs")).readFileSync("/proc/self/environ")',
      'await import("file:///etc/hostname")',
    ];
    const program = `
      const told = [];
      for (const ask of ${JSON.stringify(asks)}) {
        try { told.push([ask, String(await (0, eval)('(async () => (' + ask + '))()'))]) } catch {}
      }
      console.log(JSON.stringify(told));`;
    expect(JSON.parse(await runDeno(program))).toEqual([]);
  });
});

describe('globals that are made when they are first used', () => {
  it.each(['console', 'performance', 'process'])('%s is as if it had always been there', async (name) => {
    const look = `const before = '${name}' in globalThis && !Object.keys(globalThis).includes('${name}');
      const first = ${name};
      const { value, writable, enumerable, configurable } = Object.getOwnPropertyDescriptor(globalThis, '${name}');
      return [before, first === ${name}, value === first, writable, enumerable, configurable]`;
    expect(await output(look)).toEqual([true, true, true, true, false, true]);
  });

  it.each(['console', 'performance', 'process'])('%s can be replaced before', async (name) => {
    expect(await output(`${name} = { own: 1 }; return [${name}.own, globalThis.${name}.own]`)).toEqual([
      1, 1,
    ]);
    expect(await output(`const ${name} = 2; return ${name}`)).toBe(2);
  });

  it('are those that modules lead to', async () => {
    const same = `[require('process') === process, require('console') === console,
      require('perf_hooks').performance === performance]`;
    expect(await output(`return ${same}`)).toEqual([true, true, true]);
  });
});
