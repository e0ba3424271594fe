import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { PROCESS_ENDED } from '../../core/sandbox/protocol.ts';
import { terminalError } from '../../core/step-error.ts';
import {
  createFakeSandbox,
  fakeProgram,
  fakeRequest,
  sendFailed,
  type FakeRun,
  type FakeSandbox,
} from './fake-sandbox.fixture.ts';
import { openSession } from './session.ts';
import { SandboxLostError } from './types.ts';

const OTHER_NONCE = '0'.repeat(32);

test('returns what the program returns, with the program sent once for all runs', async () => {
  const sandbox = createFakeSandbox();
  const session = await openSession(sandbox);
  const ends = await Promise.all([1, 2, 3].map((input) => session.run(fakeRequest({ input }))));
  expect(ends).toEqual([1, 2, 3].map((output) => ({ type: 'result', output })));
  expect(await session.run(fakeRequest({ input: { __proto__x: 1 } }))).toMatchObject({ type: 'result' });
  expect(sandbox.received.filter(({ type }) => type === 'program')).toHaveLength(1);
  const nonces = sandbox.received.flatMap((header) => (header.type === 'run' ? [header.nonce] : []));
  expect(new Set(nonces).size).toBe(4);
  for (const nonce of nonces) expect(nonce).toMatch(/^[0-9a-f]{32}$/);
  session.close();
});

test('says of itself what the runner says', async () => {
  const session = await openSession(createFakeSandbox({ ready: { slots: 3, runtime: 'Deno 2' } }));
  expect(session).toMatchObject({ slots: 3, runtime: 'Deno 2', kernel: 'fake kernel' });
  session.close();
  expect(await session.lost).toMatchObject({ cause: 'closed', exit: { reason: 'killed' } });
});

test('large inputs come whole, in parts', async () => {
  const session = await openSession(createFakeSandbox());
  const input = 'ä'.repeat(500_000);
  expect(await session.run(fakeRequest({ input }))).toEqual({ type: 'result', output: input });
  session.close();
});

test('an input that no sandbox can hold is refused', async () => {
  const session = await openSession(createFakeSandbox());
  await expect(session.run(fakeRequest({ input: 'a'.repeat(34_000_000) }))).rejects.toMatchObject({
    code: 'invalid_input',
    retryable: false,
  });
  session.close();
});

test('packages are shared before the program is sent; what share says is the run’s error, and may pass', async () => {
  const sandbox = createFakeSandbox();
  const session = await openSession(sandbox);
  const program = fakeProgram('py', { id: 'numpy', folder: '/wheels' });
  const share = vi.spyOn(sandbox, 'share').mockRejectedValueOnce(terminalError('no_sandbox', 'not here'));
  await expect(session.run(fakeRequest({ program }))).rejects.toMatchObject({ code: 'no_sandbox' });
  expect(await session.run(fakeRequest({ program, input: 1 }))).toEqual({ type: 'result', output: 1 });
  expect(share).toHaveBeenCalledTimes(2);
  expect(sandbox.received).toContainEqual(
    expect.objectContaining({ type: 'program', packages: '/packages/numpy' }),
  );
  session.close();
});

test('a program that cannot be run fails every run of it, and only those', async () => {
  const session = await openSession(
    createFakeSandbox({
      onProgram: ({ program }, _source, runner) =>
        program === 'bad'
          ? runner.send(
              { type: 'program_failed', program, failure: 'syntax_error' },
              JSON.stringify({ name: 'SyntaxError', message: 'line 1' }),
            )
          : runner.send({ type: 'program_ready', program }),
    }),
  );
  const bad = fakeRequest({ program: fakeProgram('bad') });
  const failed = {
    type: 'failed',
    failure: 'syntax_error',
    detail: { name: 'SyntaxError', message: 'line 1' },
  };
  expect(await Promise.all([session.run(bad), session.run(bad)])).toEqual([failed, failed]);
  expect(await session.run(bad)).toEqual(failed);
  expect(await session.run(fakeRequest({ input: 1 }))).toEqual({ type: 'result', output: 1 });
  session.close();
});

test('a failure is told as the runner tells it, and a replaced slot is counted', async () => {
  const session = await openSession(
    createFakeSandbox({ onRun: (run, runner) => sendFailed(runner, run.nonce, 'out_of_memory', true) }),
  );
  expect(await session.run(fakeRequest())).toEqual({
    type: 'failed',
    failure: 'out_of_memory',
    detail: { name: 'Error', message: 'out_of_memory' },
  });
  expect(session.slotsLost()).toBe(1);
  session.close();
});

test.each([
  ['too large', '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"', 20, 'output_too_large'],
  ['too deep', '['.repeat(101) + ']'.repeat(101), 1000, 'invalid_output'],
  ['no JSON', '{"a":', 1000, 'invalid_output'],
  ['nothing', '', 1000, 'invalid_output'],
])('an output that is %s fails the run alone', async (_, output, maxOutputBytes, failure) => {
  const session = await openSession(
    createFakeSandbox({ onRun: ({ nonce }, runner) => runner.send({ type: 'result', nonce }, output) }),
  );
  expect(await session.run(fakeRequest({ maxOutputBytes }))).toMatchObject({ type: 'failed', failure });
  expect(await session.run(fakeRequest({ maxOutputBytes }))).toMatchObject({ type: 'failed', failure });
  session.close();
});

test('a `__proto__` in an output is a property like any other', async () => {
  const session = await openSession(
    createFakeSandbox({
      onRun: ({ nonce }, runner) => runner.send({ type: 'result', nonce }, '{"__proto__":{"polluted":true}}'),
    }),
  );
  const end = await session.run(fakeRequest());
  expect(end.type === 'result' && Object.keys(end.output as object)).toEqual(['__proto__']);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  session.close();
});

test('log entries come as they are sent; over the cap they are dropped and counted', async () => {
  const entry = 'x'.repeat(10_000);
  const session = await openSession(
    createFakeSandbox({
      onRun(run) {
        for (let i = 0; i < 50; i++) run.log(entry);
        run.result(null);
      },
    }),
  );
  const onLog = vi.fn();
  await session.run(fakeRequest({ maxLogBytes: 100_000, onLog }));
  const taken = onLog.mock.calls.filter(([, text]) => text === entry).length;
  expect(taken).toBeGreaterThan(9);
  expect(taken).toBeLessThan(17);
  expect(onLog).toHaveBeenLastCalledWith('warn', expect.stringContaining(`${50 - taken} more log`), true);
  session.close();
});

test('empty log entries have their cost, too', async () => {
  const session = await openSession(
    createFakeSandbox({
      onRun(run) {
        for (let i = 0; i < 5000; i++) run.log('');
        run.result(null);
      },
    }),
  );
  const onLog = vi.fn();
  await session.run(fakeRequest({ maxLogBytes: 0, onLog }));
  expect(onLog.mock.calls.length).toBeLessThan(1100);
  session.close();
});

test('an abort cancels the run, gently first', async () => {
  const sandbox = createFakeSandbox({ onRun: () => undefined });
  const session = await openSession(sandbox);
  const stop = new AbortController();
  const run = session.run(fakeRequest({ signal: stop.signal }));
  await vi.waitFor(() => expect(sandbox.received.at(-1)?.type).toBe('part'));
  stop.abort();
  expect(await run).toMatchObject({ type: 'failed', failure: 'cancelled' });
  expect(sandbox.received).toContainEqual(expect.objectContaining({ type: 'cancel', graceMs: 200 }));
  expect(sandbox.isKilled()).toBe(false);
  expect(await session.run(fakeRequest({ signal: stop.signal }))).toMatchObject({ failure: 'cancelled' });
  session.close();
});

test('the time of a run does not count while it waits for a slot', async () => {
  const sandbox = createFakeSandbox({
    onRun: (run, runner) => {
      const { nonce } = run;
      runner.send({ type: 'waiting', nonce });
      setTimeout(() => {
        runner.send({ type: 'started', nonce });
        run.result(1);
      }, 10);
    },
  });
  const session = await openSession(sandbox);
  const told: boolean[] = [];
  await session.run(fakeRequest({ onWaiting: (isWaiting) => told.push(isWaiting) }));
  expect(told).toEqual([true, false]);
});

test('the time of a run counts after a while, though its runner does not say that it has started', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const sandbox = createFakeSandbox({
    onRun: ({ nonce }, runner) => runner.send({ type: 'waiting', nonce }),
  });
  const session = await openSession(sandbox);
  const told: boolean[] = [];
  void session.run(fakeRequest({ onWaiting: (isWaiting) => told.push(isWaiting) }));
  await vi.waitFor(() => expect(told).toEqual([true]));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toEqual([true, false]);
});

test.each([['waiting', 'waiting'] as const, ['started'] as const])(
  'a run of which is said %s %s is a breach',
  async (...types) => {
    const sandbox = createFakeSandbox({
      onRun: ({ nonce }, runner) => {
        for (const type of types) runner.send({ type, nonce });
      },
    });
    const session = await openSession(sandbox);
    await expect(session.run(fakeRequest({}))).rejects.toThrow(SandboxLostError);
    expect((await session.lost).cause).toBe('breach');
  },
);

test('a runner that does not end a cancelled run is killed, and the others in it are lost', async () => {
  const sandbox = createFakeSandbox({ onRun: () => undefined, onCancel: () => undefined });
  const session = await openSession(sandbox);
  const stop = new AbortController();
  const started = performance.now();
  const other = session.run(fakeRequest()).catch((error: unknown) => error);
  const run = session.run(fakeRequest({ signal: stop.signal }));
  await vi.waitFor(() => expect(sandbox.received.filter(({ type }) => type === 'run')).toHaveLength(2));
  stop.abort();
  expect(await run).toMatchObject({ type: 'failed', failure: 'cancelled' });
  expect(performance.now() - started).toBeLessThan(3000);
  expect(await other).toMatchObject({ name: 'SandboxLostError', wasAlone: false });
  expect(sandbox.isKilled()).toBe(true);
  expect((await session.lost).cause).toBe('unresponsive');
});

describe.each([
  ['that does not end a cancelled run', (stop: AbortController) => stop.abort()],
  [
    'that is gone',
    (_: AbortController, sandbox: FakeSandbox) => sandbox.exit({ reason: 'exited', detail: 'by itself' }),
  ],
] as const)('a runner %s', (_, end) => {
  // Half of the log comes at once; the rest is kept until the run is over.
  test.each([
    ['may have kept a part of a long log, which is said to be lost', 40, 1],
    ['has sent all of a short log', 2, 0],
  ])('%s', async (_, entries, notes) => {
    const sandbox = createFakeSandbox({
      onRun(run) {
        for (let i = 0; i < entries; i++) run.log('x'.repeat(1000));
      },
      onCancel: () => undefined,
    });
    const session = await openSession(sandbox);
    const onLog = vi.fn();
    const stop = new AbortController();
    const ended = session
      .run(fakeRequest({ signal: stop.signal, onLog, maxLogBytes: 80_000 }))
      .catch(() => undefined);
    await vi.waitFor(() => expect(onLog).toHaveBeenCalledTimes(entries));
    end(stop, sandbox);
    await ended;
    expect(onLog).toHaveBeenCalledTimes(entries + notes);
    if (notes > 0)
      expect(onLog).toHaveBeenLastCalledWith('warn', expect.stringContaining('a long log is lost'), true);
  });
});

test('a run whose program is still on its way ends at once, and its slot counts as lost', async () => {
  const session = await openSession(createFakeSandbox({ onProgram: () => undefined }));
  const stop = new AbortController();
  const run = session.run(fakeRequest({ signal: stop.signal }));
  stop.abort();
  expect(await run).toMatchObject({ failure: 'cancelled' });
  expect(session.slotsLost()).toBe(1);
  session.close();
});

test.each([1, 2])(
  'a process killed at the memory limit takes the sandbox and all %i runs along',
  async (runs) => {
    const sandbox = createFakeSandbox({ onRun: () => undefined });
    const session = await openSession(sandbox);
    const lost = Promise.allSettled(Array.from({ length: runs }, () => session.run(fakeRequest())));
    await vi.waitFor(() => expect(sandbox.received.filter(({ type }) => type === 'run')).toHaveLength(runs));
    sandbox.isOutOfMemory = true;
    const run = sandbox.received.find(({ type }) => type === 'run') as { readonly nonce: string };
    const detail = JSON.stringify({
      name: PROCESS_ENDED,
      message: 'the code ended its process (signal SIGKILL)',
    });
    sandbox.runner.send(
      { type: 'failed', nonce: run.nonce, failure: 'code_error', slotReplaced: true },
      detail,
    );
    for (const result of await lost) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { exit: { reason: 'out_of_memory' }, wasAlone: runs === 1 },
      });
    }
    expect(sandbox.isKilled()).toBe(true);
    expect(await session.lost).toMatchObject({ cause: 'out_of_memory' });
  },
);

test('a process that ended by itself, or another failure after a killed one, is the run’s alone', async () => {
  for (const [isOutOfMemory, name] of [
    [false, PROCESS_ENDED],
    [true, 'ValueError'],
  ] as const) {
    const detail = { name, message: 'it failed' };
    const session = await openSession(
      createFakeSandbox({
        onRun: (run, runner) =>
          runner.send({ type: 'failed', nonce: run.nonce, failure: 'code_error' }, JSON.stringify(detail)),
      }),
    );
    (session.sandbox as FakeSandbox).isOutOfMemory = isOutOfMemory;
    expect(await session.run(fakeRequest())).toEqual({ type: 'failed', failure: 'code_error', detail });
    session.close();
  }
});

test('runs are lost with their sandbox, and each learns whether it was alone', async () => {
  for (const runs of [1, 2]) {
    const sandbox = createFakeSandbox({ onRun: () => undefined });
    const session = await openSession(sandbox);
    const lost = Promise.allSettled(Array.from({ length: runs }, () => session.run(fakeRequest())));
    await vi.waitFor(() => expect(sandbox.received.filter(({ type }) => type === 'run')).toHaveLength(runs));
    sandbox.exit({ reason: 'out_of_memory', detail: 'exit code 137' });
    for (const result of await lost) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { exit: { reason: 'out_of_memory', detail: 'exit code 137' }, wasAlone: runs === 1 },
      });
    }
    await expect(session.run(fakeRequest())).rejects.toThrow(SandboxLostError);
  }
});

test('a stream that ends lets the sandbox say how it ended', async () => {
  const sandbox = createFakeSandbox({
    onRun(_, runner) {
      runner.hangUp();
      setTimeout(() => sandbox.exit({ reason: 'process_limit', detail: 'exit code 2' }), 50);
    },
  });
  const session = await openSession(sandbox);
  await expect(session.run(fakeRequest())).rejects.toMatchObject({ exit: { reason: 'process_limit' } });
  expect(sandbox.isKilled()).toBe(false);
});

test.each([
  ['nothing', { ready: false }, /not ready within 50 ms/],
  ['another version', { ready: { protocol: 2 } }, /speaks version 2, not 1/],
] as const)('a runner that says %s at first is killed', async (_, script, message) => {
  const sandbox = createFakeSandbox(script);
  await expect(openSession(sandbox, { readyTimeoutMs: 50 })).rejects.toThrow(message);
  expect(sandbox.isKilled()).toBe(true);
});

test('a frame before `ready` is a breach', async () => {
  const sandbox = createFakeSandbox({ ready: false });
  sandbox.runner.send({ type: 'pong', ping: 1 });
  await expect(openSession(sandbox)).rejects.toThrow('sends "pong" before it is ready');
});

test('a sandbox that ends before it is ready is told as lost', async () => {
  const sandbox = createFakeSandbox({ ready: false });
  setTimeout(() => sandbox.exit({ reason: 'exited', detail: 'exit code 1: no such file' }), 10);
  await expect(openSession(sandbox)).rejects.toThrow('no such file');
});

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const breaches: readonly (readonly [string, (run: FakeRun) => readonly [object, Uint8Array?][]])[] = [
  ['an unknown nonce', () => [[{ type: 'result', nonce: OTHER_NONCE }, utf8('1')]]],
  ['an unknown type', () => [[{ type: 'shutdown' }]]],
  ['an unknown key', ({ nonce }) => [[{ type: 'result', nonce, admin: true }, utf8('1')]]],
  ['a header that is no object', () => [[[1, 2]]]],
  ['ready again', () => [[{ type: 'ready', protocol: 1, runtime: '', slots: 1, kernel: '' }]]],
  ['a pong that nobody asked for', () => [[{ type: 'pong', ping: 1 }]]],
  ['an unknown program', () => [[{ type: 'program_ready', program: 'p2' }]]],
  ['a program ready twice', () => [[{ type: 'program_ready', program: 'p1' }]]],
  [
    'a result that is not UTF-8',
    ({ nonce }) => [[{ type: 'result', nonce }, Uint8Array.of(0x22, 0xff, 0x22)]],
  ],
  ['a log that is not UTF-8', ({ nonce }) => [[{ type: 'log', nonce, level: 'info' }, Uint8Array.of(0xc0)]]],
  [
    'a log entry over its limit',
    ({ nonce }) => [[{ type: 'log', nonce, level: 'info' }, new Uint8Array(16_385)]],
  ],
  [
    'a failure of another shape',
    ({ nonce }) => [[{ type: 'failed', nonce, failure: 'code_error' }, utf8('{}')]],
  ],
  [
    'a failure that is no JSON',
    ({ nonce }) => [[{ type: 'failed', nonce, failure: 'code_error' }, utf8('{')]],
  ],
  ['data of a fetch that has not begun', ({ nonce }) => [[{ type: 'fetch_data', nonce, fetch: 1 }]]],
  ['a fetch out of turn', ({ nonce }) => [[fetchHeader(nonce, 2)]]],
  ['a fetch id again', ({ nonce }) => [[fetchHeader(nonce, 1)], [fetchHeader(nonce, 1)]]],
  [
    'data without a body',
    ({ nonce }) => [[fetchHeader(nonce, 1)], [{ type: 'fetch_data', nonce, fetch: 1 }, utf8('a')]],
  ],
  [
    'a piece over its limit',
    ({ nonce }) => [
      [fetchHeader(nonce, 1, true)],
      [{ type: 'fetch_data', nonce, fetch: 1 }, new Uint8Array(65_537)],
    ],
  ],
  [
    'more data than was asked for',
    ({ nonce }) => [
      [fetchHeader(nonce, 1, true)],
      ...Array.from(
        { length: 5 },
        () => [{ type: 'fetch_data', nonce, fetch: 1 }, new Uint8Array(65_536)] as [object, Uint8Array],
      ),
    ],
  ],
  [
    'data after the end',
    ({ nonce }) => [
      [fetchHeader(nonce, 1, true)],
      [{ type: 'fetch_end', nonce, fetch: 1 }],
      [{ type: 'fetch_data', nonce, fetch: 1 }, utf8('a')],
    ],
  ],
];
function fetchHeader(nonce: string, fetch: number, hasBody = false): object {
  return {
    type: 'fetch',
    nonce,
    fetch,
    target: 'https://a.test/',
    method: 'POST',
    headers: [],
    hasBody,
    redirect: 'follow',
  };
}

test.each(breaches)('%s kills the sandbox', async (_, frames) => {
  const sandbox = createFakeSandbox({
    onRun(run, runner) {
      // A hostile runner is not bound by the types of an honest one.
      for (const [header, payload] of frames(run)) runner.send(header as never, payload);
    },
  });
  const session = await openSession(sandbox);
  const signals: AbortSignal[] = [];
  const run = session.run(
    fakeRequest({
      fetch: ({ signal }) => {
        signals.push(signal);
        return new Promise(() => undefined);
      },
    }),
  );
  await expect(run).rejects.toMatchObject({ name: 'SandboxLostError', wasAlone: true });
  expect(sandbox.isKilled()).toBe(true);
  expect((await session.lost).cause).toBe('breach');
  expect(signals.every(({ aborted }) => aborted)).toBe(true);
});

test('a second result is a breach that spoils no result', async () => {
  const sandbox = createFakeSandbox({
    onRun(run) {
      run.result('first');
      setImmediate(() => run.result('second'));
    },
  });
  const session = await openSession(sandbox);
  expect(await session.run(fakeRequest())).toEqual({ type: 'result', output: 'first' });
  expect((await session.lost).cause).toBe('breach');
});

test('a runner that reads nothing is killed after a while', async () => {
  const sandbox = createFakeSandbox({ isDeaf: true });
  const session = await openSession(sandbox, { stallMs: 50 });
  const program = { ...fakeProgram(), source: new Uint8Array(1_000_000) };
  await expect(session.run(fakeRequest({ program }))).rejects.toThrow('took nothing for 50 ms');
  expect((await session.lost).cause).toBe('unresponsive');
});

test('a runner that says nothing of its program is killed after a while', async () => {
  const session = await openSession(createFakeSandbox({ onProgram: () => undefined }), {
    programTimeoutMs: 50,
  });
  await expect(session.run(fakeRequest())).rejects.toThrow('did not take a program in time');
});
