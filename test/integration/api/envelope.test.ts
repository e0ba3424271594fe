import { connect } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import { problemShape } from '../../../src/api/http/problem-shape.ts';
import { helloDefinition } from './fixtures.ts';
import { startTestApi, type Answer, type Call, type TestApi } from './harness.ts';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi({ limits: { maxBodyBytes: 4096 } });
  call = api.tenant.call;
});
afterAll(() => api.close());

function expectProblem(answer: Answer, status: number, code: string): void {
  expect([answer.status, answer.data.code]).toEqual([status, code]);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(problemShape.safeParse(answer.data).error).toBeUndefined();
  expect(answer.data.status).toBe(status);
  expect(answer.data.type).toBe(`urn:millrace:problem:${code}`);
  expect(answer.data.requestId).toBe(answer.headers.get('x-request-id'));
}

const KEYS = '/api/v1/api-keys';
const JSON_TYPE = 'application/json';
const post = (body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  call('POST', KEYS, body, headers);
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('a request body', () => {
  test.each([
    ['text/plain', 'unsupported_content_type'],
    ['application/json, text/plain', 'unsupported_content_type'],
    ['application/json; charset=utf-16', 'unsupported_content_type'],
    ['application/json; boundary=x', 'unsupported_content_type'],
    ['application/xml', 'unsupported_content_type'],
    ['application/yaml', 'unsupported_content_type'],
    ['multipart/form-data; boundary=x', 'unsupported_content_type'],
    ['json', 'unsupported_content_type'],
  ])('of type %s is 415', async (type, code) => {
    expectProblem(await post('{"name":"x","role":"viewer"}', { 'content-type': type }), 415, code);
  });

  test.each(['application/json', 'Application/JSON; charset="UTF-8"', 'application/json;charset=utf-8'])(
    'of type %s is taken',
    async (type) => {
      expect((await post('{"name":"x","role":"viewer"}', { 'content-type': type })).status).toBe(201);
    },
  );

  test.each([
    ['{"name":', 'malformed_json'],
    ['', 'malformed_json'],
    ["{'name':'x'}", 'malformed_json'],
    ['{"name":"x"} {}', 'malformed_json'],
    [Buffer.from([0x22, 0xff, 0x22]), 'malformed_json'],
    [nested(101), 'json_too_deep'],
    [nested(100), 'invalid_request'],
    ['[]', 'invalid_request'],
    ['null', 'invalid_request'],
    ['"text"', 'invalid_request'],
    ['{"__proto__":{"name":"x","role":"owner"}}', 'invalid_request'],
    ['{"constructor":{"prototype":{"name":"x"}}}', 'invalid_request'],
    ['{"name":"x","role":"viewer","isAdmin":true}', 'invalid_request'],
  ])('%s is 400 %s', async (body, code) => {
    expectProblem(await post(body), 400, code);
    expect(({} as { name?: string }).name).toBeUndefined();
  });

  test('over the limit is 413: declared, chunked, or lying about it', async () => {
    const big = JSON.stringify({ name: 'x'.repeat(5000), role: 'viewer' });
    expectProblem(await post(big), 413, 'body_too_large');
    const stream = new ReadableStream({
      start(controller) {
        for (let n = 0; n < 50; n++) controller.enqueue(new TextEncoder().encode('x'.repeat(1000)));
        controller.close();
      },
    });
    const chunked = await fetch(api.base + KEYS, {
      method: 'POST',
      body: stream,
      duplex: 'half',
      headers: { authorization: `Bearer ${api.tenant.key}`, 'content-type': JSON_TYPE },
    });
    expect(chunked.status).toBe(413);
  });

  test('is read compressed, and capped by what it inflates to', async () => {
    const body = '{"name":"zipped","role":"viewer"}';
    expect((await post(gzipSync(body), { 'content-encoding': 'gzip' })).status).toBe(201);
    expect((await post(deflateSync(body), { 'content-encoding': 'deflate' })).status).toBe(201);
    const bomb = gzipSync(Buffer.alloc(50_000_000, 0x20), { level: 9 });
    const startedAt = performance.now();
    expectProblem(await post(bomb, { 'content-encoding': 'gzip' }), 413, 'body_too_large');
    const smallBomb = gzipSync(Buffer.alloc(1_000_000, 0x20), { level: 9 });
    expect(smallBomb.length).toBeLessThan(4096);
    expectProblem(await post(smallBomb, { 'content-encoding': 'gzip' }), 413, 'body_too_large');
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test('that is broken or compressed in another way is refused', async () => {
    const broken = Buffer.from('no gzip at all');
    expectProblem(await post(broken, { 'content-encoding': 'gzip' }), 400, 'invalid_request');
    const cut = gzipSync('{"name":"zipped","role":"viewer"}').subarray(0, 20);
    expectProblem(await post(cut, { 'content-encoding': 'gzip' }), 400, 'invalid_request');
    const brotli = brotliCompressSync('{"name":"x","role":"viewer"}');
    for (const encoding of ['br', 'zstd', 'gzip, gzip', 'constructor']) {
      expectProblem(
        await post(brotli, { 'content-encoding': encoding }),
        415,
        'unsupported_content_encoding',
      );
    }
  });

  test('may be far larger where a workflow is deployed', async () => {
    const definition = `# ${'x'.repeat(200_000)}\n${helloDefinition('large')}`;
    expect((await call('PUT', '/api/v1/workflows/large', { definition })).status).toBe(201);
  });

  test('of a deployment: unknown fields and wrong files are 400, what is in the document is 422', async () => {
    const put = (body: unknown) => call('PUT', '/api/v1/workflows/x', body);
    for (const body of [
      {},
      { definition: 1 },
      { definition: '', files: [] },
      { definition: '', files: { a: 1 } },
      { definition: '', files: { a: { base64: '!' } } },
      { definition: '', force: true },
    ]) {
      expectProblem(await put(body), 400, 'invalid_request');
    }
    for (const definition of [
      '',
      'name: [',
      'a: &a [*a]',
      '!!js/function "x"',
      '\u0000',
      'name: x\ncolour: red\n',
    ]) {
      expectProblem(await put({ definition }), 422, 'workflow_invalid');
    }
  });
});

describe('an address', () => {
  test.each([
    ['GET', '/api/v1/nowhere'],
    ['GET', '/api/v1/me/'],
    ['GET', '/api/v1/Me'],
    ['GET', '/api/v1//me'],
    ['GET', '/api/v2/me'],
    ['GET', '/'],
    ['GET', '/api/v1/executions/x/steps'],
  ])('%s %s is 404', async (method, path) => {
    expectProblem(await call(method, path), 404, 'not_found');
  });

  test.each([
    ['DELETE', '/api/v1/me', 'GET, HEAD'],
    ['POST', '/api/v1/workflows/x', 'PUT, GET, HEAD, DELETE'],
    ['PATCH', '/api/v1/workflows/x', 'PUT, GET, HEAD, DELETE'],
    ['GET', '/api/v1/executions/x/cancel', 'POST'],
    ['OPTIONS', '/api/v1/me', 'GET, HEAD'],
  ])('%s %s is 405 and says what is allowed', async (method, path, allow) => {
    const answer = await call(method, path);
    expectProblem(answer, 405, 'method_not_allowed');
    expect(answer.headers.get('allow')).toBe(allow);
  });

  test('with a malformed percent-encoding is 400', async () => {
    expectProblem(await call('GET', '/api/v1/workflows/%ff'), 400, 'invalid_request');
  });

  test('answers HEAD like GET, without the body', async () => {
    const answer = await call('HEAD', '/api/v1/me');
    expect([answer.status, answer.text]).toEqual([200, '']);
  });

  test.each(['dryRun=yes', 'dryRun=true&dryRun=true', 'dryrun=true', 'dryRun[a]=1', '__proto__[x]=1'])(
    'with the query %s is 400',
    async (query) => {
      const answer = await call('PUT', `/api/v1/workflows/x?${query}`, { definition: '' });
      expectProblem(answer, 400, 'invalid_request');
    },
  );
});

describe('an answer', () => {
  test('forbids browsers to run, frame, sniff or keep anything of it', async () => {
    const { headers } = await call('GET', '/api/v1/me');
    expect(headers.get('content-security-policy')).toBe(
      "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
    );
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-frame-options')).toBe('DENY');
    expect(headers.get('strict-transport-security')).toMatch(/^max-age=/);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('x-powered-by')).toBeNull();
  });

  test('repeats a sane request id and replaces any other', async () => {
    const idOf = async (given: string): Promise<string | null> =>
      (await call('GET', '/api/v1/me', undefined, { 'x-request-id': given })).headers.get('x-request-id');
    expect(await idOf('trace-0123.abc_D')).toBe('trace-0123.abc_D');
    for (const odd of ['short', 'x'.repeat(200), 'a b c d e f g h', '<script>alert(1)</script>']) {
      expect(await idOf(odd)).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  test('lets only listed origins read it', async () => {
    const origin = async (from: string) =>
      (await call('GET', '/api/v1/me', undefined, { origin: from })).headers.get(
        'access-control-allow-origin',
      );
    expect(await origin('https://console.example.com')).toBe('https://console.example.com');
    expect(await origin('https://console.example.com.evil.example')).toBeNull();
    expect(await origin('null')).toBeNull();
    const preflight = await api.callWith(undefined)('OPTIONS', '/api/v1/executions', undefined, {
      origin: 'https://console.example.com',
      'access-control-request-method': 'POST',
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization');
    expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
  });
});

describe('what is no HTTP request', () => {
  /** Sends bytes and reads until the server closes. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(api.base).port), '127.0.0.1', () => socket.write(text));
      let answer = '';
      socket.on('data', (chunk) => void (answer += chunk.toString()));
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });
  const head = 'POST /api/v1/api-keys HTTP/1.1\r\nHost: x\r\n';

  test.each([
    ['noise', 'hello\r\n\r\n', 400],
    ['two lengths', `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400],
    ['a length and chunks', `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['an obfuscated encoding', `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400],
    ['a bare LF', 'GET /api/v1/me HTTP/1.1\nHost: x\n\n', 400],
    ['20 KB of headers', `${head}X-A: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  ])('%s is refused with a problem', async (_what, text, status) => {
    const answer = await raw(text);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toContain('application/problem+json');
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))).toMatchObject({ status });
  });
});

describe('without the database', () => {
  const open = (url: string): Database =>
    openDatabase({
      url,
      role: 'millrace_api',
      name: 'test',
      maxConnections: 1,
      queryTimeoutMs: 5_000,
      acquireTimeoutMs: 200,
      onError: () => undefined,
    });

  function expectOutage(answer: Answer): void {
    expectProblem(answer, 503, 'unavailable');
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(answer.text).not.toMatch(/postgres|ECONN|127\.0\.0\.1|timeout exceeded/i);
  }

  test('out of reach, a request is 503 with Retry-After and tells nothing of it', async () => {
    const db = open('postgres://nobody:canary@127.0.0.1:1/nothing');
    const other = await startTestApi({ deps: { db } });
    try {
      expectOutage(await other.tenant.call('GET', '/api/v1/me'));
    } finally {
      await other.close();
      await db.end();
    }
  });

  test('with all connections taken, it is 503 soon, and works again afterwards', async () => {
    const db = open(api.databaseUrl);
    const other = await startTestApi({ deps: { db } });
    try {
      const its = other.callWith(api.tenant.key);
      const { promise: held, resolve: release } = Promise.withResolvers<void>();
      const holding = db.withConnection(() => held);
      const startedAt = performance.now();
      expectOutage(await its('GET', '/api/v1/me'));
      expect(performance.now() - startedAt).toBeLessThan(2_000);
      release();
      await holding;
      expect((await its('GET', '/api/v1/me')).status).toBe(200);
    } finally {
      await other.close();
      await db.end();
    }
  });
});
