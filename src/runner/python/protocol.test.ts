import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFrameDecoder, encodeFrame } from '../../core/sandbox/frames.ts';
import { runnerHeaderSchema, type RunnerHeader, type WorkerHeader } from '../../core/sandbox/protocol.ts';
import { RUNNER_COMMAND } from './runner.fixture.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const MEBIBYTE = 1_048_576;
const nonce = (n: number): string => String(n).padStart(32, '0');

interface Received {
  readonly header: RunnerHeader;
  readonly payload: unknown;
}

let scratch: string;
let stop: () => Promise<unknown>;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'millrace-python-'));
});
afterEach(async () => {
  await stop();
  await rm(scratch, { recursive: true, force: true });
});

/** The runner with nothing between: frames as they are sent and come. */
function start(): {
  send(header: WorkerHeader, payload?: Uint8Array): void;
  sendBytes(bytes: Uint8Array): void;
  /** The next frame that `isWanted`; the ones before are dropped. */
  next(isWanted: (header: RunnerHeader) => boolean): Promise<Received>;
  end(): void;
  readonly exited: Promise<unknown>;
} {
  const [program, ...args] = RUNNER_COMMAND;
  const child = spawn(program, [...args, '--scratch', scratch], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'] },
  });
  const exited = once(child, 'exit').then(([code]: unknown[]) => code);
  child.stdin.on('error', () => undefined);
  stop = () => {
    child.kill('SIGKILL');
    return exited;
  };
  const frames = createFrameDecoder();
  const waiting: Received[] = [];
  let wake = Promise.withResolvers<void>();
  child.stdout.on('data', (chunk: Buffer) => {
    for (const { header, payload } of frames.push(chunk)) {
      const known = runnerHeaderSchema.parse(header);
      const text = decoder.decode(payload);
      waiting.push({ header: known, payload: known.type === 'log' || text === '' ? text : JSON.parse(text) });
    }
    wake.resolve();
  });
  return {
    send: (header, payload) => void child.stdin.write(encodeFrame(header, payload)),
    sendBytes: (bytes) => void child.stdin.write(bytes),
    async next(isWanted) {
      for (;;) {
        for (let found = waiting.shift(); found; found = waiting.shift()) {
          if (isWanted(found.header)) return found;
        }
        wake = Promise.withResolvers<void>();
        await wake.promise;
      }
    },
    end: () => void child.stdin.end(),
    exited,
  };
}

type Started = ReturnType<typeof start>;
const isEnd = (n: number) => (header: RunnerHeader) =>
  (header.type === 'result' || header.type === 'failed') && header.nonce === nonce(n);

async function load(runner: Started, id: string, source: string, packages?: string): Promise<void> {
  const bytes = encoder.encode(JSON.stringify({ entry: 'step.py', files: { 'step.py': source } }));
  const header = { type: 'program', program: id, language: 'python', entry: 'step.py' } as const;
  runner.send({ ...header, bytes: bytes.length, ...(packages === undefined ? {} : { packages }) });
  // In two pieces, so that it is not taken for whole too early.
  runner.send({ type: 'part', of: id }, bytes.subarray(0, 10));
  runner.send({ type: 'part', of: id }, bytes.subarray(10));
  await runner.next((header) => header.type === 'program_ready' && header.program === id);
}

function begin(
  runner: Started,
  n: number,
  program: string,
  more: { memoryBytes?: number; isHeaderOnly?: true } = {},
): void {
  const { isHeaderOnly, ...header } = more;
  const context = { execution: {}, workflow: {}, step: {}, config: {}, secrets: {}, idempotencyKey: '' };
  const bytes = encoder.encode(JSON.stringify({ input: n, context }));
  const limits = { maxOutputBytes: MEBIBYTE, maxLogBytes: MEBIBYTE };
  runner.send({ type: 'run', nonce: nonce(n), program, bytes: bytes.length, ...limits, ...header });
  if (!isHeaderOnly) runner.send({ type: 'part', of: nonce(n) }, bytes);
}

test('says first what it is, and answers pings', async () => {
  const runner = start();
  const { header } = await runner.next(() => true);
  expect(header).toMatchObject({
    type: 'ready',
    protocol: 1,
    runtime: expect.stringMatching(/^python 3\.\d+\.\d+$/),
    slots: 2,
    kernel: expect.stringMatching(/^Linux version/),
  });
  runner.send({ type: 'ping', ping: 7 });
  expect(await runner.next(() => true)).toMatchObject({ header: { type: 'pong', ping: 7 } });
});

test('makes files that a program imports from', async () => {
  const runner = start();
  const folder = await mkdtemp(join(tmpdir(), 'millrace-packages-'));
  const file = (path: string, text: string): void =>
    runner.send({ type: 'file', path: `${folder}/${path}` }, encoder.encode(text));
  file('maths/__init__.py', '');
  file('maths/sums.py', 'def add(a, b):\n');
  file('maths/sums.py', '    return a + b\n');
  await load(runner, 'p', 'from maths.sums import add\ndef run(ctx, input): return add(input, 40)\n', folder);
  begin(runner, 2, 'p');
  expect(await runner.next(isEnd(2))).toMatchObject({ header: { type: 'result' }, payload: 42 });
  await rm(folder, { recursive: true });
});

test('ends when a file cannot be made', async () => {
  const runner = start();
  runner.send({ type: 'file', path: '/proc/nowhere/file' }, encoder.encode('x'));
  expect(await runner.exited).toBe(1);
});

test('refuses a program of another language', async () => {
  const runner = start();
  runner.send({ type: 'program', program: 'js', language: 'javascript', entry: 'a.js', bytes: 0 });
  expect(await runner.next(({ type }) => type === 'program_failed')).toMatchObject({
    payload: { message: 'this runner runs Python' },
  });
});

test('runs more at a time than it has slots one after the other, each with one answer', async () => {
  const runner = start();
  await load(runner, 'p', 'import time\ndef run(ctx, input):\n    time.sleep(0.02)\n    return input\n');
  const ends = new Map<string, unknown>();
  for (let n = 1; n <= 6; n++) begin(runner, n, 'p');
  for (let n = 1; n <= 6; n++) {
    const { header, payload } = await runner.next(({ type }) => type === 'result');
    if ('nonce' in header) ends.set(header.nonce, payload);
  }
  expect(ends).toEqual(new Map(Array.from({ length: 6 }, (_, i) => [nonce(i + 1), i + 1])));
});

test('says of a run that no slot is free for it, and when one is', async () => {
  const runner = start();
  await load(runner, 'p', 'import time\ndef run(ctx, input):\n    time.sleep(0.1)\n    return input\n');
  for (let n = 1; n <= 5; n++) begin(runner, n, 'p');
  const said = new Map<string, string[]>();
  for (let ended = 0; ended < 5;) {
    const { header } = await runner.next(() => true);
    if (!('nonce' in header)) continue;
    said.set(header.nonce, [...(said.get(header.nonce) ?? []), header.type]);
    if (header.type === 'result') ended++;
  }
  expect(said.get(nonce(1))).toEqual(['result']);
  expect(said.get(nonce(5))).toEqual(['waiting', 'started', 'result']);
});

test('cancels what has not come whole, or has not begun, at once', async () => {
  const runner = start();
  await load(runner, 'p', 'import time\ndef run(ctx, input): time.sleep(1)\n');
  begin(runner, 1, 'p', { isHeaderOnly: true });
  runner.send({ type: 'cancel', nonce: nonce(1), graceMs: 60_000 });
  expect(await runner.next(isEnd(1))).toMatchObject({ header: { failure: 'cancelled' } });
  for (const n of [2, 3, 4]) begin(runner, n, 'p');
  runner.send({ type: 'cancel', nonce: nonce(4), graceMs: 60_000 });
  expect(await runner.next(() => true)).toMatchObject({ header: { failure: 'cancelled', nonce: nonce(4) } });
});

test('ends a step that uses up its memory, within what it is told the sandbox has', async () => {
  const runner = start();
  const all = 'x = []\n    while True: x.append(bytearray(10**6))';
  await load(runner, 'all', `def run(ctx, input):\n    ${all}\n`);
  await load(runner, 'some', 'def run(ctx, input): return len(bytearray(120 * 10**6))\n');
  begin(runner, 1, 'all', { memoryBytes: 192 * MEBIBYTE });
  expect(await runner.next(isEnd(1))).toMatchObject({
    header: { failure: 'out_of_memory', slotReplaced: true },
    payload: {
      name: 'MemoryError',
      message: 'its process took more than 96 MiB beyond what it began with',
      stack: expect.stringContaining('File "step.py", line 3'),
    },
  });
  begin(runner, 2, 'some', { memoryBytes: 192 * MEBIBYTE });
  expect(await runner.next(isEnd(2))).toMatchObject({ header: { failure: 'out_of_memory' } });
  begin(runner, 3, 'some', { memoryBytes: 512 * MEBIBYTE });
  expect(await runner.next(isEnd(3))).toMatchObject({ payload: 120_000_000 });
});

test('ends with its channel, and takes everything with it', async () => {
  const runner = start();
  await load(runner, 'p', 'import time\ndef run(ctx, input):\n    print(1)\n    time.sleep(60)\n');
  begin(runner, 1, 'p');
  await runner.next(({ type }) => type === 'log');
  runner.end();
  expect(await runner.exited).toBe(0);
});

test.each([
  ['a frame larger than any', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2)],
  ['a header that is not JSON', Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 2, 0x7b, 0x7b)],
  ['a header that is no object', Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 2, 0x5b, 0x5d)],
  ['a frame it does not know', encodeFrame({ type: 'nothing' })],
  [
    'a run of a program that was not sent',
    encodeFrame({ type: 'run', nonce: nonce(1), program: 'p', bytes: 0 }),
  ],
])('ends the sandbox for %s', async (_, bytes) => {
  const runner = start();
  await runner.next(() => true);
  runner.sendBytes(bytes);
  expect(await runner.exited).toBe(1);
});
