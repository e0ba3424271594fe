import { expect, test, vi } from 'vitest';
import {
  BODY_WINDOW_BYTES,
  MAX_CHUNK_BYTES,
  MAX_FETCHES,
  type WorkerHeader,
} from '../../../core/sandbox/protocol.ts';
import { terminalError } from '../../../core/step-error.ts';
import { createFakeSandbox, fakeRequest, type FakeRunner } from '../fake-sandbox.fixture.ts';
import { openSession, type Session } from '../session.ts';
import type { BrokerRequest, BrokerResponse, RunRequest } from '../types.ts';

/** A run that has begun and does nothing by itself; what the worker says of fetches is in `frames`. */
async function begin(fetch: RunRequest['fetch'], options: { onError?: (error: Error) => void } = {}) {
  const frames: { header: WorkerHeader; payload: Uint8Array }[] = [];
  const begun = Promise.withResolvers<{ nonce: string; runner: FakeRunner }>();
  const sandbox = createFakeSandbox({
    onRun: ({ nonce }, runner) => begun.resolve({ nonce, runner }),
    onFetchFrame: (header, payload) => void frames.push({ header, payload }),
  });
  const session: Session = await openSession(sandbox, options);
  const stop = new AbortController();
  const run = session.run(fakeRequest({ fetch, signal: stop.signal }));
  const { nonce, runner } = await begun.promise;
  const start = (id: number, hasBody = false): void =>
    runner.send({
      type: 'fetch',
      nonce,
      fetch: id,
      target: 'crm:/orders',
      method: 'POST',
      headers: [['x-a', '1']],
      hasBody,
      redirect: 'manual',
    });
  const data = (id: number, bytes: Uint8Array): void =>
    runner.send({ type: 'fetch_data', nonce, fetch: id }, bytes);
  const end = async (): Promise<void> => {
    runner.send({ type: 'result', nonce }, 'null');
    await run;
    session.close();
  };
  const typesOf = (id: number): string[] =>
    frames.flatMap(({ header }) => ('fetch' in header && header.fetch === id ? [header.type] : []));
  return { sandbox, session, runner, nonce, frames, run, stop, start, data, end, typesOf };
}
const response = (...body: Uint8Array[]): BrokerResponse => ({
  status: 200,
  headers: [['content-type', 'text/plain']],
  url: 'https://crm.test/orders',
  redirected: false,
  // oxlint-disable-next-line typescript/require-await -- bodies are asynchronous, this one just does not wait
  body: (async function* () {
    yield* body;
  })(),
});
const bytesOf = (frames: readonly { header: WorkerHeader; payload: Uint8Array }[]): number =>
  frames.reduce((sum, { header, payload }) => sum + (header.type === 'fetch_data' ? payload.length : 0), 0);

test('the broker is asked what the code asks, and its answer comes back with its body', async () => {
  const requests: BrokerRequest[] = [];
  const it = await begin(async (request) => {
    requests.push(request);
    return response(Buffer.from('he'), Buffer.from('llo'));
  });
  it.start(1);
  await vi.waitFor(() => expect(it.typesOf(1).at(-1)).toBe('fetch_end'));
  expect(requests).toMatchObject([
    { target: 'crm:/orders', method: 'POST', headers: [['x-a', '1']], body: undefined, redirect: 'manual' },
  ]);
  expect(it.frames[0]?.header).toMatchObject({
    type: 'fetch_head',
    status: 200,
    url: 'https://crm.test/orders',
  });
  expect(Buffer.concat(it.frames.map(({ payload }) => payload)).toString()).toBe('hello');
  await it.end();
});

test('a request’s body flows as the broker takes it, with credit for what it took', async () => {
  const taken: number[] = [];
  const gate = Promise.withResolvers<void>();
  const it = await begin(async ({ body }) => {
    await gate.promise;
    for await (const bytes of body ?? []) taken.push(bytes.length);
    return response();
  });
  it.start(1, true);
  const piece = new Uint8Array(MAX_CHUNK_BYTES);
  for (let sent = 0; sent < BODY_WINDOW_BYTES; sent += piece.length) it.data(1, piece);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(it.frames).toEqual([]);
  gate.resolve();
  await vi.waitFor(() => expect(taken).toHaveLength(4));
  const credit = it.frames.reduce(
    (sum, { header }) => sum + (header.type === 'fetch_credit' ? header.bytes : 0),
    0,
  );
  expect(credit).toBe(BODY_WINDOW_BYTES);
  it.data(1, piece);
  it.runner.send({ type: 'fetch_end', nonce: it.nonce, fetch: 1 });
  await vi.waitFor(() => expect(it.typesOf(1).at(-1)).toBe('fetch_end'));
  expect(taken.reduce((sum, length) => sum + length, 0)).toBe(BODY_WINDOW_BYTES + MAX_CHUNK_BYTES);
  await it.end();
});

test('a response’s body is sent in pieces, and no further than the runner has room', async () => {
  let given = 0;
  const it = await begin(async () => ({
    ...response(),
    // oxlint-disable-next-line typescript/require-await -- as above
    body: (async function* () {
      for (let i = 0; i < 10; i++) {
        given++;
        yield new Uint8Array(100_000);
      }
    })(),
  }));
  it.start(1);
  await vi.waitFor(() => expect(bytesOf(it.frames)).toBe(BODY_WINDOW_BYTES));
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(bytesOf(it.frames)).toBe(BODY_WINDOW_BYTES);
  expect(given).toBe(3);
  expect(Math.max(...it.frames.map(({ payload }) => payload.length))).toBeLessThanOrEqual(MAX_CHUNK_BYTES);
  it.runner.send({ type: 'fetch_credit', nonce: it.nonce, fetch: 1, bytes: 1_000_000 });
  await vi.waitFor(() => expect(it.typesOf(1).at(-1)).toBe('fetch_end'));
  expect(bytesOf(it.frames)).toBe(1_000_000);
  await it.end();
});

test('a refusal is told with its code; an error of our own is not told', async () => {
  const onError = vi.fn();
  const it = await begin(
    async ({ target }) => {
      await Promise.resolve();
      throw target === 'crm:/orders' && it.typesOf(1).length === 0
        ? terminalError('egress_denied', 'a.test is not allowed')
        : new Error('/etc/secret');
    },
    { onError },
  );
  it.start(1);
  await vi.waitFor(() => expect(it.frames).toHaveLength(1));
  it.start(2);
  await vi.waitFor(() => expect(it.frames).toHaveLength(2));
  expect(it.frames.map(({ header }) => header)).toMatchObject([
    { type: 'fetch_failed', fetch: 1, code: 'egress_denied', message: 'a.test is not allowed' },
    {
      type: 'fetch_failed',
      fetch: 2,
      code: 'internal_error',
      message: 'The request failed inside the platform.',
    },
  ]);
  expect(onError).toHaveBeenCalledOnce();
  await it.end();
});

test('a response with too many headers is refused, not cut', async () => {
  const it = await begin(async () => ({
    ...response(),
    headers: Array.from({ length: 201 }, (_, i) => [`x-${i}`, 'a'] as const),
  }));
  it.start(1);
  await vi.waitFor(() => expect(it.frames[0]?.header).toMatchObject({ code: 'response_too_large' }));
  await it.end();
});

test('one fetch too many at a time is refused; when others are over, more may follow', async () => {
  const gate = Promise.withResolvers<void>();
  const it = await begin(async () => {
    await gate.promise;
    return response();
  });
  for (let id = 1; id <= MAX_FETCHES + 1; id++) it.start(id);
  await vi.waitFor(() => expect(it.frames).toHaveLength(1));
  expect(it.frames[0]?.header).toMatchObject({
    type: 'fetch_failed',
    fetch: MAX_FETCHES + 1,
    code: 'egress_limit',
  });
  // Data of the refused one may have been under way.
  it.data(MAX_FETCHES + 1, Uint8Array.of(1));
  gate.resolve();
  await vi.waitFor(() => expect(it.typesOf(MAX_FETCHES).at(-1)).toBe('fetch_end'));
  it.start(MAX_FETCHES + 2);
  await vi.waitFor(() => expect(it.typesOf(MAX_FETCHES + 2).at(-1)).toBe('fetch_end'));
  await it.end();
});

test('what the code aborts is aborted for the broker, and nothing more is sent', async () => {
  const signals: AbortSignal[] = [];
  const it = await begin(async ({ signal }) => {
    signals.push(signal);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    return response(Buffer.from('too late'));
  });
  it.start(1);
  it.runner.send({ type: 'fetch_abort', nonce: it.nonce, fetch: 1 });
  await vi.waitFor(() => expect(signals[0]?.aborted).toBe(true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(it.frames).toEqual([]);
  await it.end();
});

test.each(['result', 'cancel', 'loss'] as const)('grants end with the run: %s', async (how) => {
  const signals: AbortSignal[] = [];
  let bodyError: unknown;
  const it = await begin(async ({ signal, body }) => {
    signals.push(signal);
    try {
      for await (const _ of body ?? []);
    } catch (error) {
      bodyError = error;
    }
    return response();
  });
  it.start(1, true);
  await vi.waitFor(() => expect(signals).toHaveLength(1));
  const settled = Promise.allSettled([it.run]);
  if (how === 'result') it.runner.send({ type: 'result', nonce: it.nonce }, 'null');
  else if (how === 'cancel') it.stop.abort();
  else it.sandbox.kill();
  await settled;
  expect(signals[0]?.aborted).toBe(true);
  await vi.waitFor(() => expect(bodyError).toMatchObject({ code: 'cancelled' }));
  it.session.close();
});
