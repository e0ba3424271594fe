import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES } from './limits.ts';
import { startTestRunner, type LogLine, type RunOptions, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const logsOf = async (body: string, options?: RunOptions): Promise<readonly LogLine[]> =>
  (await runner.run(`module.exports.default = async (ctx) => { ${body}\n};`, options)).logs;

const memoryKib = async (): Promise<number> => {
  const status = await readFile(`/proc/${runner.process.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
};

const cost = (logs: readonly LogLine[]): number =>
  logs.reduce((sum, { text }) => sum + Buffer.byteLength(text) + LOG_ENTRY_COST_BYTES, 0);

describe('the log', () => {
  it.each<[string, readonly (readonly [string, string])[]]>([
    ['console.log("a", 1, { b: [2] })', [['info', 'a 1 { b: [ 2 ] }']]],
    [
      'console.info("%s is %d", "x", 1); console.debug(1n)',
      [
        ['info', 'x is 1'],
        ['debug', '1n'],
      ],
    ],
    [
      'console.warn("w"); console.error("e")',
      [
        ['warn', 'w'],
        ['error', 'e'],
      ],
    ],
    [
      'console.group("g"); console.log("in\\nside"); console.groupEnd(); console.log("out")',
      [
        ['info', 'g'],
        ['info', '  in\n  side'],
        ['info', 'out'],
      ],
    ],
    ['console.assert(true, "no"); console.assert(false, "yes")', [['error', 'Assertion failed: yes']]],
    [
      'console.count(); console.count()',
      [
        ['info', 'default: 1'],
        ['info', 'default: 2'],
      ],
    ],
    ['console.dir({ a: { b: { c: {} } } }, { depth: 0 })', [['info', '{ a: [Object] }']]],
    [
      'ctx.log.debug("d"); ctx.log.info("i", { n: 1 }); ctx.log.warn("w"); ctx.log.error("e")',
      [
        ['debug', 'd'],
        ['info', 'i { n: 1 }'],
        ['warn', 'w'],
        ['error', 'e'],
      ],
    ],
    [
      'process.stdout.write("o\\n"); process.stderr.write(Buffer.from("e"))',
      [
        ['info', 'o'],
        ['error', 'e'],
      ],
    ],
    ['const { log } = console; log("detached")', [['info', 'detached']]],
    ['console.log(new (class Point { x = 1 })())', [['info', 'Point { x: 1 }']]],
    [
      'console.log(""); console.log()',
      [
        ['info', ''],
        ['info', ''],
      ],
    ],
  ])('has what `%s` writes', async (body, expected) => {
    expect((await logsOf(body)).map(({ level, text }) => [level, text])).toEqual(expected);
  });

  it('shows errors with their stack, of the author’s code first', async () => {
    const [entry] = await logsOf('console.error(new RangeError("far"))');
    expect(entry?.text).toMatch(/^RangeError: far\n\s+at .*steps\/test\.ts:1/);
  });

  it('comes while the code runs', async () => {
    const { program } = await runner.load(
      'module.exports.default = () => { console.log("now"); for (;;); };',
    );
    const handle = runner.begin(program);
    await handle.logged;
    handle.cancel(0);
    expect((await handle.ended).logs.map(({ text }) => text)).toEqual(['now']);
  });

  it('has entries cut at their limit, between characters', async () => {
    const [entry] = await logsOf('console.log("é".repeat(50_000_000))');
    const bytes = Buffer.byteLength(entry?.text ?? '');
    expect(bytes).toBeLessThanOrEqual(MAX_LOG_ENTRY_BYTES);
    expect(bytes).toBeGreaterThan(MAX_LOG_ENTRY_BYTES - 80);
    expect(entry?.text).toMatch(/é… \(49991\d{3} more characters\)$/);
  });
});

describe('a log that is too long', () => {
  const maxLogBytes = 100_000;

  it('keeps its beginning and its end, and says what is missing between them', async () => {
    const logs = await logsOf('for (let n = 0; n < 20_000; n++) console.log(`line ${n}`)', { maxLogBytes });
    const cut = logs.findIndex(({ truncated }) => truncated);
    const head = logs.slice(0, cut).map(({ text }) => text);
    const tail = logs.slice(cut + 1).map(({ text }) => text);
    expect(head).toEqual(head.map((_, index) => `line ${index}`));
    expect(tail).toEqual(tail.map((_, index) => `line ${20_000 - tail.length + index}`));
    expect(logs[cut]?.text).toContain(`${20_000 - head.length - tail.length} log entries`);
    for (const part of [logs.slice(0, cut), logs.slice(cut + 1)]) {
      expect(cost(part)).toBeGreaterThan(maxLogBytes * 0.45);
      expect(cost(part)).toBeLessThanOrEqual(maxLogBytes * 0.5);
    }
  });

  it('keeps its end even when the code is ended by force', async () => {
    const { program } = await runner.load(
      'module.exports.default = () => { for (let n = 0; ; n++) console.log(`line ${n}`); };',
    );
    const handle = runner.begin(program, { maxLogBytes });
    await handle.logged;
    await new Promise((resolve) => setTimeout(resolve, 200));
    handle.cancel(0);
    const { logs } = await handle.ended;
    expect(logs.some(({ truncated }) => truncated)).toBe(true);
    expect(cost(logs)).toBeGreaterThan(maxLogBytes * 0.9);
    const numbers = logs.filter(({ truncated }) => !truncated).map(({ text }) => Number(text.slice(5)));
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  });

  it('takes no memory: 1 GB at once', { timeout: 120_000 }, async () => {
    await logsOf('console.log(1)');
    const before = await memoryKib();
    let most = 0;
    const watch = setInterval(() => void memoryKib().then((now) => (most = Math.max(most, now))), 20);
    const logs = await logsOf(
      'const line = "x".repeat(10_000); for (let n = 0; n < 100_000; n++) console.log(line)',
    );
    clearInterval(watch);
    expect(cost(logs)).toBeLessThan(1_100_000);
    // What a heap of 64 MB may grow to, and no more.
    expect(most - before).toBeLessThan(120_000);
  });
});
