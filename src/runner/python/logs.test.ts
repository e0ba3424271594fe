import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES } from '../../core/sandbox/protocol.ts';
import { startTestRunner, type LogLine, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const step = (body: string): string => `def run(ctx, input):\n    ${body.replaceAll('\n', '\n    ')}\n`;
const texts = (logs: readonly LogLine[]): readonly string[] =>
  logs.map(({ level, text }) => `${level} ${text}`);
const bytesOf = (logs: readonly LogLine[]): number =>
  logs.reduce((sum, { text }) => sum + Buffer.byteLength(text) + LOG_ENTRY_COST_BYTES, 0);

describe('log entries', () => {
  test('come from print, stderr, logging, warnings and ctx.log, with their levels', async () => {
    const body = [
      'import logging, sys, warnings',
      'print("one", 2); print("a\\nb", end=""); print("c"); print("no end", end="")',
      'sys.stderr.write("err\\n"); sys.stdout.buffer.write("é\\n".encode())',
      'logging.info("i %d", 1); logging.getLogger("some.lib").error("e"); logging.debug("unseen")',
      'try: 1 / 0',
      'except ZeroDivisionError: logging.exception("x")',
      'ctx.log.debug("d"); ctx.log.warn("w"); ctx.log.warning("%s of %s", 1, 2); ctx.log.error({"k": 1}, [2])',
      'ctx.log.info("f", customer="c1"); ctx.log.info("100%", 5)',
    ].join('\n');
    const { logs } = await runner.run(step(body));
    const lines = texts(logs);
    expect(lines.filter((line) => !line.includes('Traceback'))).toEqual([
      'info one 2',
      'info a',
      'info bc',
      'warn err',
      'info no endé',
      'info i 1',
      'error e',
      'debug d',
      'warn w',
      'warn 1 of 2',
      'error {"k": 1} [2]',
      'info f {"customer": "c1"}',
      'info 100% 5',
    ]);
    expect(lines.find((line) => line.includes('Traceback'))).toMatch(/^error x\n[^]*ZeroDivisionError/);
  });

  test('come while the step runs', async () => {
    const seen = Promise.withResolvers<void>();
    let isOver = false;
    const end = runner
      .run(step('print("now")\nctx.signal.wait(1)'), { onLog: () => seen.resolve() })
      .finally(() => (isOver = true));
    await seen.promise;
    expect(isOver).toBe(false);
    await end;
  });

  test('come from subprocesses and from what writes to the descriptors, too', async () => {
    const body = [
      'import os, subprocess, sys',
      'os.write(1, b"direct\\n"); os.write(2, b"to stderr\\n")',
      'subprocess.run(["/bin/sh", "-c", "echo from a shell"])',
      'subprocess.run(["/bin/sh", "-c", "echo to our stdout; exit 3"], stdout=sys.stdout)',
      'os.write(1, b"no end")',
    ].join('\n');
    const { logs } = await runner.run(step(body));
    expect([...texts(logs)].sort()).toEqual([
      'info direct',
      'info from a shell',
      'info no end',
      'info to our stdout',
      'warn to stderr',
    ]);
  });

  test('of one step are none of the next, though its line had no end', async () => {
    await runner.run(step('import os; os.write(1, b"half"); print("half", end="")'));
    expect((await runner.run(step('print("whole")'))).logs).toMatchObject([{ text: 'whole' }]);
  });

  test('are cut at their limit, on a whole character, and say so', async () => {
    const { logs } = await runner.run(
      step('print("é" * 10_000_000)\nctx.log.info("x" * 20_000)\nprint("y" * 16_384)'),
    );
    expect(logs).toHaveLength(3);
    for (const { text } of logs) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MAX_LOG_ENTRY_BYTES);
    expect(logs[0]?.text).toMatch(/^é+… \[cut, 99\d{5} more characters\]$/);
    expect(logs[1]?.text).toMatch(/^x+… \[cut, 36\d\d more characters\]$/);
    expect(logs[2]?.text).toBe('y'.repeat(16_384));
  });
});

describe('a flood', () => {
  const LIMIT = 20_000;

  test.each([
    ['print', 'for i in range(20_000): print(f"line {i:05}")', 'line 19999'],
    ['empty lines', 'for i in range(20_000): print()\nprint("last")', 'last'],
    ['logging', 'import logging\nfor i in range(20_000): logging.info("line %05d", i)', 'line 19999'],
    [
      'a subprocess',
      'import subprocess\nsubprocess.run(["/bin/sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done"])',
      'line 4999',
    ],
    [
      'several threads',
      'import threading\ndef flood():\n    for i in range(3000): print("x" * 50)\nts = [threading.Thread(target=flood) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()\nprint("last")',
      'last',
    ],
  ])('of %s keeps its beginning and its end, and tells what is missing', async (_, body, last) => {
    const { logs, ...end } = await runner.run(step(body), { maxLogBytes: LIMIT });
    expect(end).toMatchObject({ type: 'result' });
    expect(bytesOf(logs)).toBeLessThanOrEqual(LIMIT);
    expect(bytesOf(logs)).toBeGreaterThan(LIMIT * 0.9);
    const markers = logs.filter(({ truncated }) => truncated);
    expect(markers).toMatchObject([
      { text: expect.stringMatching(/^\d+ entries \(\d+ bytes\) are left out here/) },
    ]);
    const at = logs.findIndex(({ truncated }) => truncated);
    expect(at).toBeGreaterThan(10);
    expect(logs.slice(at + 1).length).toBeGreaterThan(10);
    expect(logs.at(-1)?.text).toBe(last);
    const missing = Number(/^\d+/.exec(markers[0]?.text ?? '')?.[0]);
    expect(missing).toBeGreaterThan(0);
  });

  test('of half the limit is passed on whole', async () => {
    const { logs } = await runner.run(step('for i in range(100): print(i)'), { maxLogBytes: LIMIT });
    expect(logs.map(({ text }) => text)).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
  });

  test('of hundreds of megabytes costs the runner no memory', async () => {
    const before = await residentBytes(runner.pid);
    const body =
      'import os\nblock = b"z" * 1_000_000\nfor _ in range(200): os.write(1, block)\nfor _ in range(30): print("y" * 10_000_000)';
    const { logs } = await runner.run(step(body), { maxLogBytes: LIMIT });
    expect(bytesOf(logs)).toBeLessThanOrEqual(LIMIT);
    expect((await residentBytes(runner.pid)) - before).toBeLessThan(8_000_000);
  });
});

/** What a process has in memory. */
async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
