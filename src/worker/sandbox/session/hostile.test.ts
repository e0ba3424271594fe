import fc from 'fast-check';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import { LOG_LEVELS, RUN_FAILURES, type RunnerHeader } from '../../../core/sandbox/protocol.ts';
import { createFakeSandbox, fakeRequest, type FakeRun } from '../fake-sandbox.fixture.ts';
import { openSession } from '../session.ts';
import { SandboxLostError, type BrokerRequest, type BrokerResponse } from '../types.ts';

/** What a hostile runner may send: `nonces` are those that it was told of. */
type HostileMove = (nonces: readonly string[]) => Uint8Array;

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json({ maxDepth: 3 }).map(utf8),
  fc.constantFrom(
    utf8('{"name":"Error","message":"m"}'),
    utf8('['.repeat(5000)),
    new Uint8Array(65_536),
    new Uint8Array(300_000),
  ),
);
const nonce = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.nat(3).map((index) => (nonces: readonly string[]) => nonces[index % nonces.length] ?? ''),
  },
  { weight: 1, arbitrary: fc.string({ minLength: 32, maxLength: 32 }).map((text) => () => text) },
);
const fetchId = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer(), fc.constant(Number.MAX_SAFE_INTEGER));

/** Headers of the protocol's shapes, about runs that are under way and others. */
const header = fc.oneof(
  fc.record({ type: fc.constantFrom('waiting', 'started') }),
  fc.record({ type: fc.constant('log'), level: fc.constantFrom(...LOG_LEVELS) }),
  fc.record({ type: fc.constant('result') }),
  fc.record({ type: fc.constant('failed'), failure: fc.constantFrom(...RUN_FAILURES) }),
  fc.record({
    type: fc.constant('fetch'),
    fetch: fetchId,
    target: fc.webUrl(),
    method: fc.constant('POST'),
    headers: fc.constant([]),
    hasBody: fc.boolean(),
    redirect: fc.constant('follow'),
  }),
  fc.record({ type: fc.constantFrom('fetch_data', 'fetch_end', 'fetch_abort'), fetch: fetchId }),
  fc.record({
    type: fc.constant('fetch_credit'),
    fetch: fetchId,
    bytes: fc.integer({ min: 1, max: 1_048_576 }),
  }),
);
const aboutNobody = fc.oneof(
  fc.record({
    type: fc.constant('ready'),
    protocol: fc.nat(),
    runtime: fc.string(),
    slots: fc.nat(),
    kernel: fc.string(),
  }),
  fc.record({ type: fc.constant('program_ready'), program: fc.constantFrom('p1', 'p2') }),
  fc.record({
    type: fc.constant('program_failed'),
    program: fc.constantFrom('p1', 'p2'),
    failure: fc.constantFrom(...RUN_FAILURES),
  }),
  fc.record({ type: fc.constant('pong'), ping: fc.nat() }),
  fc.object(),
);

/** Mostly frames that are right in themselves: what is wrong at the first byte shows little. */
const hostileMove: fc.Arbitrary<HostileMove> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.tuple(header, nonce, payload).map(
      ([fields, choose, bytes]): HostileMove =>
        (nonces) =>
          encodeFrame({ ...fields, nonce: choose(nonces) }, bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(aboutNobody, payload).map(
      ([fields, bytes]): HostileMove =>
        () =>
          encodeFrame(fields, bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 100 }).map(
      (bytes): HostileMove =>
        () =>
          bytes,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(header, nonce, fc.nat(50)).map(
      ([fields, choose, missing]): HostileMove =>
        (nonces) =>
          encodeFrame({ ...fields, nonce: choose(nonces) }).subarray(missing),
    ),
  },
);

const escaped: unknown[] = [];
const note = (error: unknown): void => void escaped.push(error);
beforeAll(() => {
  process.on('uncaughtException', note);
  process.on('unhandledRejection', note);
});
afterAll(() => {
  process.off('uncaughtException', note);
  process.off('unhandledRejection', note);
});

/** A broker that reads what it is sent, says it back, and minds its signal. */
async function echo({ body, signal, target }: BrokerRequest): Promise<BrokerResponse> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body ?? []) chunks.push(chunk);
  signal.throwIfAborted();
  // oxlint-disable-next-line typescript/require-await -- bodies are asynchronous, this one just does not wait
  const answer = (async function* () {
    yield* chunks;
  })();
  return { status: 200, headers: [], url: target, redirected: false, body: answer };
}

test('whatever a hostile runner sends, each run ends once, with its own end or with the loss', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(hostileMove, { maxLength: 25 }),
      fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      async (moves, sizes, isAborted) => {
        const nonces: string[] = [];
        const sandbox = createFakeSandbox({ onRun: ({ nonce }) => void nonces.push(nonce) });
        const session = await openSession(sandbox, { onError: () => undefined });
        const stop = new AbortController();
        const ends: number[] = [0, 0, 0];
        const runs = ends.map(async (_, index) => {
          const request = fakeRequest({ input: index, fetch: echo, maxLogBytes: 1000, signal: stop.signal });
          const end = await session.run(request).catch((error: unknown) => error);
          ends[index]!++; // of the same list
          return end;
        });
        await vi.waitFor(() => expect(nonces).toHaveLength(3), { interval: 1 });

        const bytes = Buffer.concat(moves.map((move) => move(nonces)));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!; // of a list that is not empty
          sandbox.runner.raw(bytes.subarray(at, at + size));
          at += size;
          if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        if (isAborted) stop.abort();
        await new Promise((resolve) => setImmediate(resolve));
        session.close();
        for (const end of await Promise.all(runs)) {
          if (end instanceof SandboxLostError) expect(['killed', 'exited']).toContain(end.exit.reason);
          else expect(end).toMatchObject({ type: expect.stringMatching(/^(result|failed)$/) });
        }
        expect(ends).toEqual([1, 1, 1]);
        expect(sandbox.isKilled()).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
  expect(escaped).toEqual([]);
});

test('no result ever reaches another run, in any order and any chunking', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 9 }),
      async (order, sizes) => {
        const begun: FakeRun[] = [];
        const sandbox = createFakeSandbox({ onRun: (run) => void begun.push(run) });
        const session = await openSession(sandbox);
        const logs: string[][] = order.map(() => []);
        const runs = order.map((_, input) =>
          session.run(fakeRequest({ input, onLog: (_level, text) => logs[input]!.push(text) })),
        );
        await vi.waitFor(() => expect(begun).toHaveLength(order.length), { interval: 1 });
        const frames = order.flatMap((place) => {
          const { nonce, payload } = begun[place]!; // as many have begun
          const frame = (header: RunnerHeader): Uint8Array =>
            encodeFrame(header, Buffer.from(JSON.stringify(payload.input)));
          return [frame({ type: 'log', nonce, level: 'info' }), frame({ type: 'result', nonce })];
        });
        const bytes = Buffer.concat(frames);
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!; // of a list that is not empty
          sandbox.runner.raw(bytes.subarray(at, at + size));
          at += size;
        }
        expect(await Promise.all(runs)).toEqual(order.map((_, output) => ({ type: 'result', output })));
        expect(logs).toEqual(order.map((_, input) => [String(input)]));
        session.close();
      },
    ),
    { numRuns: 50 },
  );
});

test('a flood of frames leaves others their turn and memory as it was', async () => {
  const seen = { logs: 0, lateBy: 0 };
  const started = Promise.withResolvers<FakeRun>();
  const sandbox = createFakeSandbox({ onRun: started.resolve });
  const session = await openSession(sandbox);
  const run = session.run(fakeRequest({ maxLogBytes: 100_000, onLog: () => void seen.logs++ }));
  const { nonce } = await started.promise;
  const frame = encodeFrame({ type: 'log', nonce, level: 'info' }, new Uint8Array(200).fill(0x61));
  const flood = Buffer.concat(Array.from({ length: 2000 }, () => frame));
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let last = performance.now();
  const watch = setInterval(() => {
    seen.lateBy = Math.max(seen.lateBy, performance.now() - last - 5);
    last = performance.now();
  }, 5);
  for (let i = 0; i < 50; i++) {
    sandbox.runner.raw(flood);
    await new Promise((resolve) => setImmediate(resolve));
  }
  sandbox.runner.send({ type: 'result', nonce }, '1');
  expect(await run).toEqual({ type: 'result', output: 1 });
  clearInterval(watch);
  session.close();
  expect(seen.logs).toBeLessThan(1000);
  expect(seen.lateBy).toBeLessThan(2000);
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1_048_576);
});

test('a flood of refused fetches from a runner that reads nothing ends it', async () => {
  let nonce = '';
  const sandbox = createFakeSandbox({ onRun: (run) => void (nonce = run.nonce) });
  const session = await openSession(sandbox, { stallMs: 200 });
  const run = session
    .run(fakeRequest({ fetch: () => new Promise(() => undefined) }))
    .catch((error: unknown) => error);
  await vi.waitFor(() => expect(nonce).not.toBe(''));
  // From now on it is deaf.
  sandbox.deafen();
  for (let id = 1; id <= 20_000 && !sandbox.isKilled(); id++) {
    sandbox.runner.send({
      type: 'fetch',
      nonce,
      fetch: id,
      target: 'https://a.test/',
      method: 'GET',
      headers: [],
      hasBody: false,
      redirect: 'follow',
    });
    if (id % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await run).toBeInstanceOf(SandboxLostError);
  expect((await session.lost).cause).toBe('unresponsive');
});
