import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestRunner, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeEach(async () => {
  runner = await startTestRunner();
  // One slot is kept busy, so that each run is in the slot that the one before it was in.
  const { program } = await runner.load('module.exports.default = () => new Promise(() => {});');
  runner.begin(program);
});
afterEach(() => runner.stop());

describe('what is left under way', () => {
  it.each([
    ['timers', 'setInterval(() => console.log("late"), 1); setTimeout(() => { throw new Error("late") }, 5)'],
    ['immediates', 'const again = () => setImmediate(again); again()'],
    [
      'rejections',
      'Promise.reject(new Error("late")); setTimeout(() => Promise.reject(new Error("late")), 1)',
    ],
    [
      'waiting',
      'require("timers/promises").setInterval(1); AbortSignal.timeout(5).onabort = () => { throw 1 }',
    ],
    ['fetches', 'fetch("x:/never").then(() => { throw new Error("late") })'],
    [
      'open ports',
      'const { port1, port2 } = new MessageChannel(); port1.onmessage = () => port2.postMessage(1); port2.onmessage = () => port1.postMessage(1); port1.postMessage(1)',
    ],
    ['zipping', 'const z = require("zlib"); const again = () => z.gzip(Buffer.alloc(1e5), again); again()'],
    [
      'streams',
      'const s = new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(10)) } }); s.pipeTo(new WritableStream({ write: () => new Promise((r) => setTimeout(r)) })).catch(() => {})',
    ],
    [
      'compiling',
      '(async () => { for (;;) await WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => new Promise((r) => setTimeout(r))) })()',
    ],
    [
      'shared memory',
      'const a = new Int32Array(new SharedArrayBuffer(4)); (async () => { for (;;) await Atomics.waitAsync(a, 0, 0, 1).value })().catch(() => {})',
    ],
    ['digests', '(async () => { for (;;) await crypto.subtle.digest("SHA-1", new Uint8Array(10)) })()'],
  ])('does not go on, and harms nobody: %s', async (_, code) => {
    const { program } = await runner.load(`module.exports.default = async () => { ${code}\n; return 1 };`);
    const handle = runner.begin(program);
    // Code that never lets go of its thread is not at its end; its worker cancels it some time.
    const giveUp = setTimeout(() => handle.cancel(0), 1000);
    const end = await handle.ended;
    clearTimeout(giveUp);
    const isEnded = end.type === 'result';
    if (isEnded) expect(end.output).toBe(1);
    else expect(end).toMatchObject({ failure: 'cancelled', slotReplaced: true });
    const next = await runner.run(
      'module.exports.default = async () => { await new Promise((r) => setTimeout(r, 30)); return 2 };',
    );
    expect(next).toMatchObject({ type: 'result', output: 2, logs: [] });
    // A thread that was ended by force may go on: see slot-thread.ts.
    if (isEnded) await expect.poll(busyShare, { timeout: 5000, interval: 10 }).toBeLessThan(0.2);
  });
});

/** Of one core, over 100 ms in which the runner has nothing to do. */
async function busyShare(): Promise<number> {
  const ticks = async (): Promise<number> => {
    const stat = (await readFile(`/proc/${runner.process.pid}/stat`, 'utf8')).split(' ');
    return Number(stat[13]) + Number(stat[14]);
  };
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = await ticks();
  await new Promise((resolve) => setTimeout(resolve, 100));
  return ((await ticks()) - before) / 10;
}
