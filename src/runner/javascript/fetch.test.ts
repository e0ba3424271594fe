import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BODY_WINDOW_BYTES, MAX_FETCHES } from './limits.ts';
import {
  Refusal,
  startTestRunner,
  type FakeRequest,
  type FakeResponse,
  type RunResult,
  type TestRunner,
} from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

type Answer = (request: FakeRequest) => Promise<FakeResponse> | FakeResponse;

const run = (body: string, fetch?: Answer): Promise<RunResult> =>
  runner.run(`module.exports.default = async (ctx) => { ${body}\n};`, { ...(fetch && { fetch }) });

const output = async (body: string, fetch: Answer = echo): Promise<unknown> => {
  const end = await run(body, fetch);
  if (end.type === 'failed') throw new Error(`${end.failure}: ${JSON.stringify(end.detail)}`);
  return end.output;
};

/** Sends back what it was asked. */
async function echo(request: FakeRequest): Promise<FakeResponse> {
  const { target, method, headers, redirect, hasBody } = request;
  const body = hasBody ? await request.text() : null;
  return { body: JSON.stringify({ target, method, headers, redirect, body }) };
}

const ask = (args: string): Promise<unknown> => output(`return (await ctx.fetch(${args})).json()`);

async function* pieces(count: number, size: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield new Uint8Array(size).fill(index);
}

describe('a request', () => {
  it.each<[string, object]>([
    ['"https://a.example/x?y=1"', { target: 'https://a.example/x?y=1', method: 'GET', body: null }],
    ['new URL("https://a.example/é")', { target: 'https://a.example/%C3%A9' }],
    ['"crm:/customers/1"', { target: 'crm:/customers/1' }],
    ['new Request("https://a.example/", { method: "PUT", body: "b" })', { method: 'PUT', body: 'b' }],
    ['"x:/", { method: "delete", redirect: "manual" }', { method: 'DELETE', redirect: 'manual', body: null }],
    ['"x:/", { headers: { A: "1", b: 2 } }', { headers: { a: '1', b: '2' } }],
    ['"x:/", { headers: [["a", "1"]] }', { headers: { a: '1' } }],
  ])('is as %s says', async (args, expected) => {
    expect(await ask(args)).toMatchObject(expected);
  });

  it.each<[string, string, string | undefined]>([
    ['"text é"', 'text é', 'text/plain;charset=UTF-8'],
    ['new URLSearchParams({ a: "b c" })', 'a=b+c', 'application/x-www-form-urlencoded;charset=UTF-8'],
    ['new Blob(["x"], { type: "text/csv" })', 'x', 'text/csv'],
    ['new Uint8Array([97, 98])', 'ab', undefined],
    ['new Uint8Array([97, 98]).buffer', 'ab', undefined],
    ['Buffer.from("ab")', 'ab', undefined],
    [
      'new ReadableStream({ start(c) { c.enqueue(Buffer.from("a")); c.enqueue(Buffer.from("b")); c.close() } })',
      'ab',
      undefined,
    ],
    ['(async function* () { yield Buffer.from("a"); yield Buffer.from("b") })()', 'ab', undefined],
  ])('carries %s', async (body, expected, type) => {
    const seen = await ask(`"x:/", { method: "POST", duplex: "half", body: ${body} }`);
    expect(seen).toMatchObject({ body: expected });
    expect((seen as { headers: Record<string, string> }).headers['content-type']).toBe(type);
  });

  it('carries a form', async () => {
    const seen = await ask(
      '"x:/", { method: "POST", body: (() => { const f = new FormData(); f.append("a", "b"); return f })() }',
    );
    const { headers, body } = seen as { headers: Record<string, string>; body: string };
    expect(headers['content-type']).toMatch(/^multipart\/form-data; boundary=/);
    expect(body).toContain('name="a"\r\n\r\nb');
  });

  it.each([
    ['"x:/", { method: "GET", body: "b" }', 'TypeError'],
    ['"x:/", { method: "CONNECT" }', 'TypeError'],
    ['"x:/", { headers: { "a b": "c" } }', 'TypeError'],
    [
      '"x:/", { method: "POST", body: new ReadableStream({ start(c) { c.error(new RangeError("torn")) } }), duplex: "half" }',
      'RangeError',
    ],
  ])('that cannot be made rejects: %s', async (args, name) => {
    expect(await output(`return ctx.fetch(${args}).then(() => 0, (error) => error.name)`)).toBe(name);
  });

  it('is answered by the same broker as the global fetch, and one of axios-like clients', async () => {
    expect(await output('return (await fetch("x:/")).status + (await globalThis.fetch("x:/")).status')).toBe(
      400,
    );
  });

  it('larger than its window goes as fast as it is read, and arrives whole', async () => {
    const hash = createHash('sha256');
    let bytes = 0;
    const body = `
      let sent = 0;
      const body = new ReadableStream({
        pull(c) { if (sent === 40) return c.close(); c.enqueue(new Uint8Array(100_000).fill(sent++)) },
      }, { highWaterMark: 0 });
      const pending = ctx.fetch('x:/', { method: 'POST', body, duplex: 'half' });
      await new Promise((r) => setTimeout(r, 100));
      const early = sent;
      await pending;
      return [early, sent];`;
    const [early, sent] = (await output(body, async (request) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      for await (const part of request.body) {
        hash.update(part);
        bytes += part.length;
      }
      return {};
    })) as [number, number];
    expect(sent).toBe(40);
    expect(early).toBeLessThanOrEqual(BODY_WINDOW_BYTES / 100_000 + 2);
    expect(bytes).toBe(4_000_000);
    const expected = createHash('sha256');
    for await (const piece of pieces(40, 100_000)) expected.update(piece);
    expect(hash.digest('hex')).toBe(expected.digest('hex'));
  });

  it('beyond what may be under way at a time waits for its turn', async () => {
    let open = 0;
    let most = 0;
    const body = `const all = Array.from({ length: ${MAX_FETCHES * 2 + 3} }, (_, n) => ctx.fetch('x:/' + n).then((r) => r.text()));
      return (await Promise.all(all)).length`;
    const isFull = Promise.withResolvers<void>();
    const count = await output(body, async () => {
      most = Math.max(most, ++open);
      if (open === MAX_FETCHES) isFull.resolve();
      await isFull.promise; // nobody is answered before
      await new Promise((resolve) => setTimeout(resolve, 20));
      open--;
      return { body: 'x' };
    });
    expect(count).toBe(MAX_FETCHES * 2 + 3);
    expect(most).toBe(MAX_FETCHES);
  });
});

describe('a response', () => {
  it('has what a Response has', async () => {
    const body = `const r = await ctx.fetch('x:/');
      const copy = r.clone();
      return [r instanceof Response, r.status, r.ok, r.url, r.redirected, r.headers.get('x-a'), r.headers.getSetCookie(),
        await r.text(), r.bodyUsed, copy.url, await copy.json()]`;
    const answer: Answer = () => ({
      status: 201,
      url: 'https://b.example/',
      redirected: true,
      headers: [
        ['X-A', '1'],
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
      ],
      body: '{"n":1}',
    });
    expect(await output(body, answer)).toEqual([
      true,
      201,
      true,
      'https://b.example/',
      true,
      '1',
      ['a=1', 'b=2'],
      '{"n":1}',
      true,
      'https://b.example/',
      { n: 1 },
    ]);
  });

  it.each([204, 304, 404, 500, 103, 700])('may have status %i', async (status) => {
    expect(
      await output(`const r = await ctx.fetch('x:/'); return [r.status, r.ok, await r.text()]`, () => ({
        status,
      })),
    ).toEqual([status, status === 204, '']);
  });

  it('gives JSON of the context itself', async () => {
    const body = `const data = await (await ctx.fetch('x:/')).json();
      require('assert').deepStrictEqual(data, { list: [1] });
      return data.constructor === Object && data.list instanceof Array`;
    expect(await output(body, () => ({ body: '{"list":[1]}' }))).toBe(true);
  });

  it('larger than its window is sent no faster than it is read, and arrives whole', async () => {
    let sent = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces(100, 50_000)) {
        yield piece;
        sent++;
      }
    }
    const body = `const r = await ctx.fetch('x:/');
      await new Promise((resolve) => setTimeout(resolve, 300));
      console.log('reading');
      const hash = require('crypto').createHash('sha256');
      for await (const chunk of r.body) hash.update(chunk);
      return hash.digest('hex')`;
    const { program } = await runner.load(`module.exports.default = async (ctx) => { ${body} };`);
    const handle = runner.begin(program, { fetch: () => ({ body: source() }) });
    await handle.logged;
    expect(sent).toBeLessThanOrEqual(Math.ceil(BODY_WINDOW_BYTES / 50_000));
    const expected = createHash('sha256');
    for await (const piece of pieces(100, 50_000)) expected.update(piece);
    expect(await handle.ended).toMatchObject({ type: 'result', output: expected.digest('hex') });
  });

  it('that breaks off rejects its reader with the code', async () => {
    async function* torn(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      await new Promise((resolve) => setTimeout(resolve, 20));
      throw new Refusal('response_too_large', 'it is too large');
    }
    const body = `const r = await ctx.fetch('x:/'); return r.text().catch((e) => [e instanceof Error, e.code, e.message])`;
    expect(await output(body, () => ({ body: torn() }))).toEqual([
      true,
      'response_too_large',
      'it is too large',
    ]);
  });
});

describe('a refusal', () => {
  const refuse: Answer = () => {
    throw new Refusal('egress_denied', 'a.example is not allowed');
  };

  it('is an error with its code', async () => {
    const body = `return ctx.fetch('https://a.example').catch((e) => [e instanceof Error, e.name, e.code, e.message])`;
    expect(await output(body, refuse)).toEqual([
      true,
      'FetchError',
      'egress_denied',
      'a.example is not allowed',
    ]);
  });

  it.each([
    ['thrown', `await ctx.fetch('x:/')`],
    [
      'wrapped by a client',
      `await ctx.fetch('x:/').catch((cause) => { throw new Error('client', { cause }) })`,
    ],
  ])('that is %s is the reason of the failure', async (_, body) => {
    expect(await run(body, refuse)).toMatchObject({
      type: 'failed',
      failure: 'code_error',
      detail: { platformCode: 'egress_denied' },
    });
  });

  it.each([
    [
      'forged',
      `throw Object.assign(new Error('x'), { code: 'egress_denied', platformCode: 'egress_denied' })`,
    ],
    [
      'judged by the author',
      `await ctx.fetch('x:/').catch((cause) => { throw new ctx.TerminalError('mine', { cause }) })`,
    ],
  ])('that is %s is not', async (_, body) => {
    const end = await run(body, refuse);
    expect(end.type === 'failed' && end.detail.platformCode).toBe(undefined);
  });
});

describe('a request that nobody wants any more', () => {
  it.each([
    [
      'is aborted',
      `const a = new AbortController(); setTimeout(() => a.abort(), 20); return ctx.fetch('x:/', { signal: a.signal }).catch((e) => e.name)`,
      'AbortError',
    ],
    [
      'is aborted before',
      `return ctx.fetch('x:/', { signal: AbortSignal.abort(new RangeError('mine')) }).catch((e) => e.name)`,
      'RangeError',
    ],
    [
      'takes too long',
      `return ctx.fetch('x:/', { signal: AbortSignal.timeout(20) }).catch((e) => e.name)`,
      'TimeoutError',
    ],
  ])('as it %s rejects with the reason', async (_, body, name) => {
    let aborted = 0;
    const hang: Answer = ({ signal }) =>
      new Promise(() => signal.addEventListener('abort', () => void aborted++));
    expect(await output(body, hang)).toBe(name);
    expect(aborted).toBeLessThanOrEqual(1);
  });

  it('as its reader has gone, or its run has ended, is aborted outside', async () => {
    const aborted: string[] = [];
    const endless: Answer = ({ target, signal }) => {
      signal.addEventListener('abort', () => void aborted.push(target));
      async function* body(): AsyncGenerator<Uint8Array> {
        for (;;) {
          yield new Uint8Array(10);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
      return target === 'x:/never' ? new Promise(() => undefined) : { body: body() };
    };
    const body = `
      const one = await ctx.fetch('x:/cancelled'); await one.body.cancel();
      const two = await ctx.fetch('x:/unread');
      ctx.fetch('x:/never');
      return 1`;
    expect(await run(body, endless)).toMatchObject({ type: 'result', output: 1, slotReplaced: false });
    expect(aborted.toSorted()).toEqual(['x:/cancelled', 'x:/never', 'x:/unread']);
  });

  it('cannot be made after the end', async () => {
    let asked = 0;
    const leave = `setTimeout(() => ctx.fetch('x:/late'), 0); Promise.resolve().then(() => {}).then(() => ctx.fetch('x:/late').catch(() => {})); return 1`;
    const count: Answer = () => ({ body: String(asked++) });
    await run(leave, count);
    await run('await new Promise((r) => setTimeout(r, 50)); return 1', count);
    expect(asked).toBeLessThanOrEqual(1);
  });
});
