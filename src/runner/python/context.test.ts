import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BODY_WINDOW_BYTES } from '../../core/sandbox/protocol.ts';
import { terminalError } from '../../core/step-error.ts';
import type { BrokerRequest, BrokerResponse } from '../../worker/sandbox/types.ts';
import { startTestRunner, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const step = (body: string): string => `def run(ctx, input):\n    ${body.replaceAll('\n', '\n    ')}\n`;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function* pieces(...parts: readonly (string | Uint8Array)[]): AsyncIterable<Uint8Array> {
  for (const part of parts) yield typeof part === 'string' ? bytes(part) : part;
}
const answer = (body: AsyncIterable<Uint8Array>, more: Partial<BrokerResponse> = {}): BrokerResponse => ({
  status: 200,
  headers: [['Content-Type', 'text/plain']],
  url: 'https://api.example.com/',
  redirected: false,
  body,
  ...more,
});
async function textOf(body: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of body ?? []) parts.push(part);
  return Buffer.concat(parts).toString();
}

describe('ctx', () => {
  test('has what the step may know, by key and by attribute, read only', async () => {
    const body = [
      'for change in ("ctx.secrets[\'a\'] = 1", "ctx.config.b = 2", "ctx.config.deep.update(x=1)"):',
      '    try: exec(change)',
      '    except TypeError: continue',
      '    return f"{change} went through"',
      'import copy, json',
      'copied = copy.deepcopy(ctx.config); copied["deep"]["x"] = 3',
      'return [ctx.secrets["key"], ctx.secrets.key, ctx.config.deep.list, json.dumps(ctx.config), copied,',
      '        ctx.idempotency_key, ctx.idempotencyKey, ctx.execution.id, ctx.workflow["version"], ctx.step.attempt,',
      '        ctx.secrets.get("nope"), "nope" in ctx.secrets]',
    ].join('\n');
    const context = { secrets: { key: 's3' }, config: { deep: { list: [1] } } };
    const end = await runner.run(step(body), { context });
    expect(end).toMatchObject({
      type: 'result',
      output: [
        's3',
        's3',
        [1],
        '{"deep": {"list": [1]}}',
        { deep: { list: [1], x: 3 } },
        'execution-1.score',
        'execution-1.score',
        'execution-1',
        3,
        1,
        null,
        false,
      ],
    });
  });

  test.each(['ctx.secrets["nope"]', 'ctx.secrets.nope'])(
    'says of %s where to list it',
    async (expression) => {
      expect(await runner.run(step(`return ${expression}`))).toMatchObject({
        failure: 'code_error',
        detail: { message: expect.stringContaining("list its name under the step's `secrets:`") },
      });
    },
  );

  test('has no environment of whoever started the runner', async () => {
    const end = await runner.run(step('import os; return dict(os.environ)'));
    expect(JSON.stringify(end)).not.toContain('canary');
    expect(end).toMatchObject({ output: { HOME: expect.stringContaining(runner.scratch) } });
  });
});

describe('ctx.signal', () => {
  test('tells a step in time to clean up, and the slot stays', async () => {
    const abort = new AbortController();
    const before = runner.session.slotsLost();
    const end = runner.run(step('print("ready")\nctx.signal.wait()\nprint("cleaned up")'), {
      signal: abort.signal,
      onLog: () => abort.abort(),
    });
    expect(await end).toMatchObject({
      failure: 'cancelled',
      logs: [{ text: 'ready' }, { text: 'cleaned up' }],
    });
    expect(runner.session.slotsLost()).toBe(before);
  });

  test('is not set while nobody cancels', async () => {
    const body =
      'import time; t = time.monotonic()\nreturn [ctx.signal.aborted, ctx.signal.wait(0.05), time.monotonic() - t >= 0.05]';
    expect(await runner.run(step(body))).toMatchObject({ output: [false, false, true] });
  });

  const STUBBORN = [
    'import os, signal',
    'for number in range(1, 65):',
    '    try: signal.signal(number, signal.SIG_IGN)',
    '    except (OSError, ValueError): pass',
    'signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))',
  ].join('\n');
  test.each([
    ['loops for ever', 'print(1)\nwhile True: pass'],
    ['ignores and blocks every signal', `${STUBBORN}\nprint(1)\nwhile True: pass`],
    [
      'catches everything',
      'print(1)\nwhile True:\n    try: ctx.signal.throw_if_aborted()\n    except BaseException: pass',
    ],
    [
      'hides in sessions of its own',
      'import os, time\nif os.fork() == 0: os.setsid(); os.fork(); time.sleep(60)\nprint(1)\nwhile True: pass',
    ],
  ])('a step that %s is ended by force, and its neighbour goes on', async (_, body) => {
    const abort = new AbortController();
    const before = runner.session.slotsLost();
    const neighbour = runner.run(step('import time; time.sleep(1); return "here"'));
    const end = runner.run(step(body), { signal: abort.signal, onLog: () => abort.abort() });
    expect(await end).toMatchObject({ failure: 'cancelled' });
    expect(runner.session.slotsLost()).toBe(before + 1);
    expect(await neighbour).toMatchObject({ type: 'result', output: 'here' });
    expect(await runner.run(step('return 1'))).toMatchObject({ output: 1 });
  });
});

describe('ctx.fetch', () => {
  test('sends method, headers and body, and gives status, headers and body', async () => {
    const seen: unknown[] = [];
    const fetch = async ({
      target,
      method,
      headers,
      body,
      redirect,
    }: BrokerRequest): Promise<BrokerResponse> => {
      seen.push({ target, method, headers, redirect, body: await textOf(body) });
      return answer(pieces('{"n":', ' 1}'), {
        status: 201,
        headers: [
          ['X-Id', '7'],
          ['x-id', '8'],
        ],
      });
    };
    const body = [
      'r = ctx.fetch("svc:/orders", json={"é": 1}, headers={"X-A": "b"}, redirect="manual")',
      'return [r.status, r.ok, r.headers["X-ID"], r.json(), r.text(), len(r.bytes()), r.url, r.redirected]',
    ].join('\n');
    const end = await runner.run(step(body), { fetch });
    expect(seen).toEqual([
      {
        target: 'svc:/orders',
        method: 'POST',
        headers: [
          ['X-A', 'b'],
          ['content-type', 'application/json'],
        ],
        redirect: 'manual',
        body: '{"é": 1}',
      },
    ]);
    expect(end).toMatchObject({
      output: [201, true, '7, 8', { n: 1 }, '{"n": 1}', 8, 'https://api.example.com/', false],
    });
  });

  test.each<[string, string, number]>([
    ['str', '"é" * 200_000', 400_000],
    ['bytes', 'b"x" * 1_000_000', 1_000_000],
    ['a file', '__import__("io").BytesIO(b"x" * 1_000_000)', 1_000_000],
    ['an iterator of pieces', '(b"x" * 1000 for _ in range(1000))', 1_000_000],
    ['nothing at all', 'b""', 0],
  ])('streams a body given as %s', async (_, body, length) => {
    let got = 0;
    const fetch = async (request: BrokerRequest): Promise<BrokerResponse> => {
      for await (const part of request.body ?? []) got += part.length;
      return answer(pieces());
    };
    const end = await runner.run(
      step(`return ctx.fetch("https://x.test", method="PUT", body=${body}).status`),
      { fetch },
    );
    expect(end).toMatchObject({ output: 200 });
    expect(got).toBe(length);
  });

  test('takes a response’s body only as it is read', async () => {
    let sent = 0;
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) {
        sent += 65_536;
        yield new Uint8Array(65_536);
      }
    }
    const abort = new AbortController();
    const body = 'r = ctx.fetch("https://x.test")\nnext(iter(r))\nprint("read")\nctx.signal.wait()';
    const end = runner.run(step(body), {
      fetch: async () => answer(endless()),
      signal: abort.signal,
      onLog: () => void delay(300).then(() => abort.abort()),
    });
    await end;
    // What the broker and the session have in hand is beyond the window.
    expect(sent).toBeLessThan(BODY_WINDOW_BYTES + 8 * 65_536);
  });

  test('gives all of a large body, piece by piece', async () => {
    const chunk = new Uint8Array(50_000).fill(97);
    const body = 'n = 0\nfor piece in ctx.fetch("https://x.test"): n += len(piece)\nreturn n';
    const fetch = async (): Promise<BrokerResponse> =>
      answer(pieces(...Array.from({ length: 100 }, () => chunk)));
    expect(await runner.run(step(body), { fetch })).toMatchObject({ output: 5_000_000 });
  });

  test('works from many threads, and beside asyncio', async () => {
    const fetch = async ({ target }: BrokerRequest): Promise<BrokerResponse> => {
      await delay(20);
      return answer(pieces(target.slice(-2)));
    };
    const threads = [
      'from concurrent.futures import ThreadPoolExecutor',
      'with ThreadPoolExecutor(8) as pool:',
      '    return list(pool.map(lambda n: ctx.fetch(f"https://x.test/{n:02}").text(), range(24)))',
    ].join('\n');
    const expected = Array.from({ length: 24 }, (_, n) => String(n).padStart(2, '0'));
    expect(await runner.run(step(threads), { fetch })).toMatchObject({ output: expected });
    const source =
      'import asyncio\nasync def run(ctx, input):\n' +
      '    get = lambda n: ctx.fetch(f"https://x.test/{n:02}").text()\n' +
      '    return await asyncio.gather(*[asyncio.to_thread(get, n) for n in range(24)])\n';
    expect(await runner.run(source, { fetch })).toMatchObject({ output: expected });
  });

  const refuse = (): Promise<BrokerResponse> =>
    Promise.reject(terminalError('egress_denied', 'x.test is not among the hosts under `egress:`'));
  test('raises the platform’s refusal with its code; uncaught, it is the step’s', async () => {
    const caught = step(
      'try: ctx.fetch("https://x.test")\nexcept Exception as e: return [type(e).__name__, e.code, str(e)]',
    );
    expect(await runner.run(caught, { fetch: refuse })).toMatchObject({
      output: ['FetchError', 'egress_denied', 'x.test is not among the hosts under `egress:`'],
    });
    expect(await runner.run(step('ctx.fetch("https://x.test")'), { fetch: refuse })).toMatchObject({
      failure: 'code_error',
      detail: { name: 'FetchError', platformCode: 'egress_denied' },
    });
    // The author's own error on top of it is the author's.
    const own = step(
      'try: ctx.fetch("https://x.test")\nexcept Exception as e: raise ValueError("mine") from e',
    );
    const end = await runner.run(own, { fetch: refuse });
    expect(end.type === 'failed' && end.detail).not.toHaveProperty('platformCode');
  });

  test('fails in the middle of a body with the platform’s code', async () => {
    async function* broken(): AsyncIterable<Uint8Array> {
      yield bytes('first');
      throw terminalError('response_too_large', 'more than 10 bytes');
    }
    const body =
      'r = ctx.fetch("https://x.test")\ntry: r.bytes()\nexcept Exception as e: return [r.status, e.code]';
    const end = await runner.run(step(body), { fetch: async () => answer(broken()) });
    expect(end).toMatchObject({ output: [200, 'response_too_large'] });
  });

  test.each([
    ['closed', 'with ctx.fetch("https://x.test/1"): pass'],
    ['forgotten', 'ctx.fetch("https://x.test/1")\nctx.fetch("https://x.test/2")'],
    ['timed out', 'try: ctx.fetch("https://x.test/slow", timeout=0.05)\nexcept TimeoutError: pass'],
  ])('tells the broker of a request that was %s', async (_, body) => {
    const aborted = Promise.withResolvers<void>();
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) yield new Uint8Array(65_536);
    }
    const end = runner.run(step(`${body}\nprint("on")\nctx.signal.wait(5)\nreturn "late"`), {
      fetch: async ({ target, signal }) => {
        signal.addEventListener('abort', () => aborted.resolve());
        if (target.endsWith('slow')) await delay(1000, undefined, { signal }).catch(() => undefined);
        return answer(endless());
      },
      signal: AbortSignal.timeout(2000),
    });
    const first = await Promise.race([aborted.promise.then(() => 'aborted'), end.then(() => 'over')]);
    expect(first).toBe('aborted');
    await end;
  });

  test.each([
    ['ctx.fetch("https://x.test", body={"a": 1})', /takes str, bytes.*`json=`/],
    ['ctx.fetch("https://x.test", body="a", json=1)', /`body` or `json`, not both/],
    ['ctx.fetch(1)', /target of ctx\.fetch is int/],
    ['ctx.fetch("https://x.test", redirect="maybe")', /follow, manual, error/],
    ['ctx.fetch("https://x.test/" + "a" * 40000)', /too long/],
    ['ctx.fetch("https://x.test", headers={"a": "b" * 200000})', /limit is 120000/],
    ['ctx.fetch("https://x.test", headers={"a": None})', /header 'a' is NoneType/],
  ])('%s is refused with what is allowed', async (call, message) => {
    expect(await runner.run(step(call))).toMatchObject({
      detail: { message: expect.stringMatching(message) },
    });
  });
});
