import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createRedactor } from '../../../src/core/credentials/redact.ts';
import { parseHostPattern, sensitiveValuesOf, type Credential } from '../../../src/core/credentials/types.ts';
import { parseAllowPrivate } from '../../../src/core/egress/addresses.ts';
import { createEgressClient } from '../../../src/core/egress/client.ts';
import type { EgressClient } from '../../../src/core/egress/types.ts';
import { StepError } from '../../../src/core/step-error.ts';
import {
  createBroker,
  type BrokerDeps,
  type Grant,
  type GrantOptions,
} from '../../../src/worker/broker/broker.ts';
import type { BrokerLimits } from '../../../src/worker/broker/limits.ts';
import type { BrokerRequest } from '../../../src/worker/sandbox/types.ts';

const TOKEN = 'canary-token-0123456789';
const MIB = 1_048_576;
/** The kernel's own buffers on loopback hold this much at most. */
const KERNEL_BYTES = 16 * MIB;

interface TestServer {
  readonly port: number;
  readonly url: string;
  readonly requests: readonly IncomingMessage[];
  readonly sockets: readonly Socket[];
}

const servers: Server[] = [];
const clients: EgressClient[] = [];
const grants: Grant[] = [];

afterEach(async () => {
  for (const grant of grants.splice(0)) grant.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

const ok: RequestListener = (_, response) => response.end('ok');

async function serve(handler: RequestListener = ok, host = '127.0.0.1', port = 0): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  const sockets: Socket[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.on('connection', (socket) => sockets.push(socket));
  servers.push(server);
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo; // it listens on TCP
  return { port: address.port, url: `http://${host}:${address.port}`, requests, sockets };
}

interface TestGrant extends Grant {
  readonly logs: readonly string[];
  readonly refusals: readonly string[];
}

interface GrantSetup {
  /** As an author writes them. */
  readonly egress?: readonly string[];
  readonly credentials?: Readonly<Record<string, Credential | undefined>>;
  readonly limits?: Partial<BrokerLimits>;
  readonly options?: Partial<GrantOptions>;
  /** EGRESS_ALLOW_PRIVATE */
  readonly allow?: string;
  readonly lookup?: (name: string) => Promise<readonly string[]>;
}

function makeGrant(setup: GrantSetup = {}): TestGrant {
  const egress = createEgressClient({
    allowPrivate: parseAllowPrivate(setup.allow ?? '127.0.0.0/8'),
    ...(setup.lookup === undefined ? {} : { lookup: setup.lookup, lookupTtlMs: 0 }),
  });
  clients.push(egress);
  const logs: string[] = [];
  const refusals: string[] = [];
  const deps: BrokerDeps = {
    egress,
    onRefusal: (reason) => refusals.push(reason),
    limits: setup.limits ?? {},
  };
  const credentials = new Map(Object.entries(setup.credentials ?? {}));
  const grant = createBroker(deps).grant({
    rules: (setup.egress ?? []).map((entry) => parseHostPattern(entry)!), // each of these can be read
    credentials,
    redactor: createRedactor(
      [...credentials.values()].flatMap((one) => (one === undefined ? [] : sensitiveValuesOf(one))),
    ),
    traceparent: undefined,
    signal: new AbortController().signal,
    timeoutMs: 10_000,
    log: (level, message) => logs.push(`${level} ${message}`),
    ...setup.options,
  });
  grants.push(grant);
  return { ...grant, logs, refusals };
}

const ask = (target: string, more: Partial<BrokerRequest> = {}): BrokerRequest => ({
  target,
  method: 'GET',
  headers: [],
  body: undefined,
  redirect: 'follow',
  signal: new AbortController().signal,
  ...more,
});

async function* chunksOf(...chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

async function failure(promise: Promise<unknown>): Promise<StepError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (raw: unknown) => raw,
  );
  if (error instanceof StepError) return error;
  throw error;
}

const bearer = (baseUrl: string, allowedHosts?: string[]): Credential => ({
  type: 'bearer',
  data: { token: TOKEN, baseUrl, allowedHosts },
});
const redirecting =
  (location: (request: IncomingMessage) => string, status = 307): RequestListener =>
  (request, response) => {
    if (request.url?.startsWith('/end')) response.end('end');
    else response.writeHead(status, { location: location(request) }).end();
  };

describe('deny by default', () => {
  test('a host that no rule has is refused, with the rule to add, and nothing is looked up', async () => {
    const lookup = vi.fn(async () => ['127.0.0.1']);
    const grant = makeGrant({ egress: ['api.example.com'], lookup });
    const error = await failure(grant.fetch(ask('https://api.example.org:8443/v1?token=x')));
    expect([error.code, error.retryable]).toEqual(['egress_denied', false]);
    expect(error.message).toBe(
      'This step may not call api.example.org:8443: it is neither under its `egress` nor a host of its credentials; ' +
        'add it to the step: `egress: [api.example.org:8443]`',
    );
    expect(lookup).not.toHaveBeenCalled();
    expect(grant.refusals).toEqual(['host_not_allowed']);
    expect(grant.logs).toEqual([
      expect.stringMatching(
        /^warn GET https:\/\/api\.example\.org:8443\/v1 failed as egress_denied: This step may not/,
      ),
    ]);
  });

  test.each([
    ['its rule', ['127.0.0.1:PORT'], true],
    ['another port', ['127.0.0.1:1', '127.0.0.1'], false],
    ['another host', ['127.0.0.2:PORT', '*.0.0.1.example:PORT'], false],
    ['no rule', [], false],
  ])('with %s a call is made: %s %s', async (_, rules, isMade) => {
    const server = await serve();
    const egress = rules.map((rule) => rule.replace('PORT', String(server.port)));
    const grant = makeGrant({ egress });
    const code = await grant.fetch(ask(server.url)).then(
      async (response) => text(response.body),
      (error: StepError) => error.code,
    );
    expect(code).toBe(isMade ? 'ok' : 'egress_denied');
    expect(server.sockets).toHaveLength(isMade ? 1 : 0);
  });

  test('the hosts of listed credentials are allowed, without the credential', async () => {
    const home = await serve();
    const second = await serve();
    const grant = makeGrant({ credentials: { crm: bearer(home.url, [`127.0.0.1:${second.port}`]) } });
    for (const { url } of [home, second]) expect((await grant.fetch(ask(url))).status).toBe(200);
    for (const { requests } of [home, second]) expect(requests[0]?.headers.authorization).toBeUndefined();
  });

  test('every redirect is checked again', async () => {
    const other = await serve();
    const server = await serve(redirecting(() => other.url));
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    const error = await failure(grant.fetch(ask(server.url)));
    expect([error.code, error.message]).toEqual([
      'redirect_denied',
      expect.stringContaining(`add it to the step: \`egress: [127.0.0.1:${other.port}]\``),
    ]);
    expect([other.sockets.length, grant.refusals]).toEqual([0, ['redirect_denied']]);
  });

  test('an allow-list opens no private address (X12)', async () => {
    const canary = await serve();
    const places = [
      `127.0.0.1:${canary.port}`, // Redis, PostgreSQL, another sandbox, kubelet: whatever listens here
      'localhost:6379',
      '10.96.0.1:443', // kube API
      '169.254.169.254', // metadata
      '[fd00:ec2::254]',
      '168.63.129.16',
      'metadata.google.internal',
      'redis.internal:6379',
    ];
    const grant = makeGrant({ egress: places, allow: '', lookup: async () => ['127.0.0.1'] });
    for (const place of places) {
      for (const scheme of ['http', 'https']) {
        const error = await failure(grant.fetch(ask(`${scheme}://${place}/`)));
        expect({ place, code: error.code }).toEqual({ place, code: 'egress_denied' });
      }
    }
    expect(canary.sockets).toEqual([]);
    expect(grant.refusals).toEqual(Array(2 * places.length).fill('address_denied'));
  });

  test('every spelling of a private address is refused, whatever the list says', async () => {
    const canary = await serve();
    const { port } = canary;
    const egress = [
      '127.0.0.1',
      '0.0.0.0',
      '[::1]',
      '[::]',
      '[::ffff:7f00:1]',
      '[64:ff9b::7f00:1]',
      'localhost',
    ].map((host) => `${host}:${port}`);
    const grant = makeGrant({ egress, allow: '', lookup: async () => ['127.0.0.1'] });
    const spellings = [
      `http://2130706433:${port}/`,
      `http://0x7f000001:${port}/`,
      `http://0177.0.0.01:${port}/`,
      `http://127.1:${port}/`,
      `http://１２７.０.０.１:${port}/`,
      `http://%31%32%37.0.0.1:${port}/`,
      `http://127.0.0.1.:${port}/`,
      `http://localhost.:${port}/`,
      `http://user@127.0.0.1:${port}/`,
      `http://127.0.0.1:${port}\\@example.com/`,
      `http:127.0.0.1:${port}/`,
      `http://0:${port}/`,
      `http://[::]:${port}/`,
      `http://[::ffff:127.0.0.1]:${port}/`,
      `http://[64:ff9b::127.0.0.1]:${port}/`,
      `file:///etc/passwd`,
      `ws://127.0.0.1:${port}/`,
      `gopher://127.0.0.1:${port}/`,
      'data:text/plain,x',
    ];
    for (const target of spellings) {
      expect({ target, code: (await failure(grant.fetch(ask(target)))).code }).toEqual({
        target,
        code: 'egress_denied',
      });
    }
    expect(canary.sockets).toEqual([]);
  });

  test.each([
    'http://127.0.0.2:PORT/',
    '//127.0.0.2:PORT/',
    'http://0x7f000002:PORT/',
    'http://inside.example:PORT/',
    'http://169.254.169.254/latest/meta-data/',
    'file:///etc/passwd',
  ])('a redirect to %s is denied, and nothing arrives', async (location) => {
    const server = await serve(
      redirecting((request) => location.replace('PORT', String(request.socket.localPort))),
    );
    const canary = await serve(ok, '127.0.0.2', server.port);
    const grant = makeGrant({
      egress: ['127.0.0.1', '127.0.0.2', 'inside.example', '169.254.169.254'].flatMap((host) => [
        host,
        `${host}:${server.port}`,
      ]),
      allow: `127.0.0.1:${server.port}`,
      lookup: async () => ['127.0.0.2'],
    });
    expect((await failure(grant.fetch(ask(server.url)))).code).toBe('redirect_denied');
    expect([server.requests.length, canary.sockets.length]).toEqual([1, 0]);
  });

  test('no rebinding gets through: 50 times first allowed, then denied', async () => {
    const server = await serve();
    const canary = await serve(ok, '127.0.0.2', server.port);
    let lookups = 0;
    const grant = makeGrant({
      egress: [`rebind.example:${server.port}`],
      allow: `127.0.0.1:${server.port}`,
      lookup: async () => [lookups++ % 2 === 0 ? '127.0.0.1' : '127.0.0.2'],
    });
    for (let i = 0; i < 50; i++) {
      const target = `http://rebind.example:${server.port}/`;
      expect(await text((await grant.fetch(ask(target))).body)).toBe('ok');
      expect((await failure(grant.fetch(ask(target)))).code).toBe('egress_denied');
    }
    expect([server.requests.length, canary.sockets.length]).toEqual([50, 0]);
  });

  test('proxy variables play no part', async () => {
    const server = await serve();
    const proxy = await serve();
    for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'HTTPS_PROXY']) vi.stubEnv(name, proxy.url);
    try {
      const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
      expect(await text((await grant.fetch(ask(server.url))).body)).toBe('ok');
    } finally {
      vi.unstubAllEnvs();
    }
    expect([server.requests.length, proxy.sockets.length]).toEqual([1, 0]);
  });
});

describe('a credential', () => {
  test.each<[string, (baseUrl: string) => Credential, (request: IncomingMessage) => unknown, unknown]>([
    ['bearer', (baseUrl) => bearer(baseUrl), ({ headers }) => headers.authorization, `Bearer ${TOKEN}`],
    [
      'basic',
      (baseUrl) => ({ type: 'basic', data: { username: 'u', password: TOKEN, baseUrl } }),
      ({ headers }) => headers.authorization,
      `Basic ${Buffer.from(`u:${TOKEN}`).toString('base64')}`,
    ],
    [
      'api-key in a header',
      (baseUrl) => ({ type: 'api-key', data: { in: 'header', name: 'X-Key', value: TOKEN, baseUrl } }),
      ({ headers }) => headers['x-key'],
      TOKEN,
    ],
    [
      'api-key in the query',
      (baseUrl) => ({ type: 'api-key', data: { in: 'query', name: 'key', value: TOKEN, baseUrl } }),
      ({ url }) => url,
      `/v1/x?a=1&key=${TOKEN}`,
    ],
  ])('of type %s is added on the way out', async (_, make, read, expected) => {
    const server = await serve();
    const grant = makeGrant({ credentials: { svc: make(`${server.url}/v1`) } });
    const response = await grant.fetch(ask('svc:/x?a=1'));
    expect(read(server.requests[0]!)).toBe(expected); // it arrived
    expect(response.url).toBe(`${server.url}/v1/x?a=1`);
    await text(response.body);
    expect(grant.logs).toEqual([
      expect.stringMatching(/^info GET .*\/v1\/x answered 200 \(2 bytes received, \d+ ms\)$/),
    ]);
    expect(grant.logs.join()).not.toContain(TOKEN);
  });

  test('that is not listed, or belongs to nobody, is refused (X20)', async () => {
    const server = await serve();
    const grant = makeGrant({ credentials: { crm: bearer(server.url), gone: undefined } });
    expect(await failure(grant.fetch(ask('other:/x')))).toMatchObject({
      code: 'egress_denied',
      message: 'This step does not list the credential other; add it to the step: `credentials: [other]`',
    });
    expect(await failure(grant.fetch(ask('gone:/x')))).toMatchObject({ code: 'credential_missing' });
    expect((await failure(grant.fetch(ask('http:/x')))).code).toBe('egress_denied'); // a scheme: the host x
    expect((await failure(grant.fetch(ask('crm://evil.example/')))).code).toBe('invalid_input');
    expect((await failure(grant.fetch(ask('crm:/../admin')))).code).toBe('invalid_input');
    expect(server.sockets).toEqual([]);
    expect(grant.refusals).toEqual(['credential_not_listed', 'host_not_allowed']);
  });

  test('of type secret has no server', async () => {
    const grant = makeGrant({ credentials: { plain: { type: 'secret', data: { value: TOKEN } } } });
    const error = await failure(grant.fetch(ask('plain:/x')));
    expect(error.code).toBe('credential_missing');
    expect(error.message).not.toContain(TOKEN);
  });

  test('does not go along to another host, and comes back with the way back', async () => {
    const away = await serve(redirecting(() => `${home.url}/end`));
    const home: TestServer = await serve(redirecting(() => `${away.url}/away`));
    const grant = makeGrant({
      egress: [`127.0.0.1:${away.port}`],
      credentials: { crm: bearer(home.url) },
    });
    const response = await grant.fetch(
      ask('crm:/start', {
        headers: [
          ['X-Mine', TOKEN],
          ['Cookie', TOKEN],
        ],
      }),
    );
    expect(await text(response.body)).toBe('end');
    expect(response).toMatchObject({ redirected: true, url: `${home.url}/end` });
    expect(JSON.stringify([away.requests[0]?.url, away.requests[0]?.rawHeaders])).not.toContain(TOKEN);
    expect(home.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array(2).fill(`Bearer ${TOKEN}`),
    );
  });

  test('cannot be replaced by the code', async () => {
    const server = await serve();
    const grant = makeGrant({
      credentials: {
        crm: bearer(server.url),
        keyed: { type: 'api-key', data: { in: 'query', name: 'key', value: TOKEN, baseUrl: server.url } },
      },
    });
    await grant.fetch(ask('crm:/x', { headers: [['AUTHORIZATION', 'Bearer mine']] }));
    expect(server.requests[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
    const error = await failure(grant.fetch(ask('keyed:/x?key=mine')));
    expect([error.code, error.message]).toEqual(['invalid_input', expect.stringContaining('`key`')]);
    expect(server.requests).toHaveLength(1);
  });

  test('of the code’s own goes where the code may call', async () => {
    const server = await serve();
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    await grant.fetch(ask(server.url, { headers: [['Authorization', 'Bearer mine']] }));
    expect(server.requests[0]?.headers.authorization).toBe('Bearer mine');
  });

  test('is masked where the service repeats it: headers, text, in any coding and piece', async () => {
    const encoded = Buffer.from(TOKEN).toString('base64');
    const server = await serve((request, response) => {
      response.setHeader('x-echo', `you sent ${request.headers.authorization}`);
      response.setHeader('content-type', request.url === '/sse' ? 'text/event-stream' : 'application/json');
      if (request.url === '/sse') {
        response.write(`data: ${TOKEN.slice(0, 8)}`);
        setTimeout(() => response.end(`${TOKEN.slice(8)}\n\n`), 20);
      } else if (request.url === '/gzip') {
        response.setHeader('content-encoding', 'gzip');
        response.end(zlib.gzipSync(`{"you":"${TOKEN}","encoded":"${encoded}"}`));
      } else response.writeHead(302, { location: `/end?t=${TOKEN}` }).end();
    });
    const grant = makeGrant({ credentials: { crm: bearer(server.url) } });
    const gzip = await grant.fetch(ask('crm:/gzip'));
    expect(Object.fromEntries(gzip.headers)['x-echo']).toBe('you sent Bearer [redacted]');
    expect(await text(gzip.body)).toMatch(/^\{"you":"\[redacted\]","encoded":"\[redacted\]=*"\}$/);
    expect(await text((await grant.fetch(ask('crm:/sse'))).body)).toBe('data: [redacted]\n\n');
    const manual = await grant.fetch(ask('crm:/', { redirect: 'manual' }));
    expect(Object.fromEntries(manual.headers)['location']).toBe('/end?t=[redacted]');
    expect(grant.logs.join()).not.toContain(TOKEN);
  });

  test('is left in bytes that are no text, which arrive unchanged with their length', async () => {
    const body = Buffer.concat([Buffer.from([0, 255, 254]), Buffer.from(TOKEN)]);
    const server = await serve((_, response) => {
      response
        .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length })
        .end(body);
    });
    const response = await makeGrant({ credentials: { crm: bearer(server.url) } }).fetch(ask('crm:/x'));
    expect(Object.fromEntries(response.headers)['content-length']).toBe(String(body.length));
    expect((await buffer(response.body)).equals(body)).toBe(true);
  });

  test('is in no error and no log entry', async () => {
    const server = await serve((request) => void request.socket.destroy());
    const grant = makeGrant({ credentials: { crm: bearer(server.url) } });
    const broken = await failure(grant.fetch(ask(`crm:/${TOKEN}?q=${TOKEN}`)));
    const refused = await failure(grant.fetch(ask(`https://${TOKEN}.example/`)));
    expect([broken.code, refused.code]).toEqual(['connect_failed', 'egress_denied']);
    expect([broken.message, refused.message, ...grant.logs].join()).not.toContain(TOKEN);
    expect(broken.cause).toBeDefined(); // for the platform's own log, which the code does not see
  });
});

describe('a request', () => {
  test('carries what the code gave, but not what frames the message', async () => {
    const server = await serve();
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`], options: { traceparent } });
    await grant.fetch(
      ask(server.url, {
        method: 'POST',
        headers: [
          ['X-One', 'a'],
          ['x-one', 'b'],
          ['Cookie', 'a=1'],
          ['Cookie', 'b=2'],
          ['Connection', 'x-one'],
          ['Transfer-Encoding', 'gzip'],
          ['Content-Length', '5'],
          ['Expect', '100-continue'],
          ['Host', `127.0.0.1:${server.port}`],
          ['traceparent', 'mine'],
        ],
        body: chunksOf('hello'),
      }),
    );
    expect(server.requests[0]?.headers).toMatchObject({
      'x-one': 'a, b',
      cookie: 'a=1; b=2',
      connection: 'keep-alive',
      'content-length': '5',
      traceparent,
    });
    expect(server.requests[0]?.headers).not.toHaveProperty('transfer-encoding');
    expect(server.requests[0]?.headers).not.toHaveProperty('expect');
    expect(server.requests[0]?.headers).not.toHaveProperty('idempotency-key');
  });

  test.each([
    [{ headers: [['Host', 'evil.example']] }, 'host'],
    [{ headers: [['Upgrade', 'websocket']] }, 'Upgrade'],
    [{ headers: [['Proxy-Authorization', 'x']] }, 'Proxy-Authorization'],
    [{ headers: [['X-A', 'a\r\nX-B: b']] }, 'X-A'],
    [{ headers: [['X A', 'a']] }, 'not a header name'],
    [{ method: 'CONNECT' }, 'CONNECT'],
    [{ method: 'GET / HTTP/1.1\r\nX: y' }, 'cannot be used as a method'],
  ] as const)('of %j is invalid_input, and nothing is sent', async (wrong, said) => {
    const server = await serve();
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    const error = await failure(grant.fetch(ask(server.url, wrong)));
    expect(error.code).toBe('invalid_input');
    expect(error.message.toLowerCase()).toContain(said.toLowerCase());
    expect(server.sockets).toEqual([]);
    expect(grant.logs.join()).not.toMatch(/[\r\n]/);
  });

  test('with a short body is sent with its length, and again after a redirect', async () => {
    const bodies: string[] = [];
    const server = await serve((request, response) => {
      void text(request).then((body) => {
        bodies.push(body);
        if (request.url === '/end') response.end('end');
        else response.writeHead(307, { location: '/end' }).end();
      });
    });
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    const body = chunksOf('x'.repeat(30_000), 'y'.repeat(30_000));
    await grant.fetch(ask(server.url, { method: 'POST', body }));
    expect(bodies).toEqual(Array(2).fill('x'.repeat(30_000) + 'y'.repeat(30_000)));
    expect(server.requests[0]?.headers['content-length']).toBe('60000');
    const long = chunksOf('x'.repeat(70_000));
    expect(await failure(grant.fetch(ask(server.url, { method: 'POST', body: long })))).toMatchObject({
      code: 'redirect_denied',
    });
  });

  test('with a long body is sent while it is made, with its length where the code says it', async () => {
    let taken: IncomingMessage | undefined;
    const server = await serve((request, response) => {
      taken = request;
      request.on('end', () => response.end('done'));
    });
    const grant = makeGrant({
      egress: [`127.0.0.1:${server.port}`],
      limits: { requestBytes: 100 * MIB },
    });
    let made = 0;
    const body = async function* (): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 800; i++) {
        made += 65_536;
        yield Buffer.alloc(65_536);
      }
    };
    const headers = [['content-length', String(50 * MIB)]] as const;
    const sending = grant.fetch(ask(server.url, { method: 'PUT', headers, body: body() }));
    await vi.waitFor(() => expect(taken).toBeDefined());
    expect(await settled(() => made)).toBeLessThan(KERNEL_BYTES);
    taken?.resume();
    expect(await text((await sending).body)).toBe('done');
    expect([made, taken?.headers['content-length']]).toEqual([50 * MIB, String(50 * MIB)]);
    expect(grant.logs[0]).toContain(`(${50 * MIB} bytes sent, 4 bytes received, `);
  });

  test.each(['manual', 'error'] as const)('whose redirects are handled as `%s`', async (redirect) => {
    const server = await serve(redirecting(() => '/end'));
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    const asked = grant.fetch(ask(server.url, { redirect }));
    if (redirect === 'error') expect((await failure(asked)).code).toBe('redirect_denied');
    else expect(await asked).toMatchObject({ status: 307, redirected: false });
    expect(server.requests).toHaveLength(1);
  });
});

describe('limits', () => {
  const limited = async (limits: Partial<BrokerLimits>, handler: RequestListener = ok) => {
    const server = await serve(handler);
    return { server, grant: makeGrant({ egress: [`127.0.0.1:${server.port}`], limits }) };
  };
  const limit = async (promise: Promise<unknown>) => {
    const error = await failure(promise);
    return [error.code, error.retryable, /^The limit `(\w+)` is (\d+) /.exec(error.message)?.slice(1)];
  };
  const read = async (grant: Grant, target: string): Promise<string> =>
    text((await grant.fetch(ask(target))).body);

  test('are the number of requests, logged once when it is reached', async () => {
    const { server, grant } = await limited({ requests: 3 });
    for (let i = 0; i < 3; i++) await read(grant, server.url);
    for (let i = 0; i < 5; i++) {
      expect(await limit(read(grant, server.url))).toEqual(['egress_limit', false, ['requests', '3']]);
    }
    expect([server.requests.length, grant.logs.length, grant.refusals]).toEqual([3, 4, ['limit']]);
  });

  test('are the bytes of a response, announced, chunked or compressed', async () => {
    const { server, grant } = await limited({ responseBytes: 1000 }, (request, response) => {
      if (request.url === '/announced') response.setHeader('content-length', 1001);
      if (request.url === '/gzip')
        response.setHeader('content-encoding', 'gzip').end(zlib.gzipSync('x'.repeat(1001)));
      else response.end('x'.repeat(request.url === '/fits' ? 1000 : 1001));
    });
    expect(await read(grant, `${server.url}/fits`)).toHaveLength(1000);
    for (const path of ['/announced', '/chunked', '/gzip']) {
      expect(await limit(read(grant, server.url + path))).toEqual([
        'egress_limit',
        false,
        ['responseBytes', '1000'],
      ]);
    }
    expect(grant.refusals).toEqual(Array(3).fill('limit'));
  });

  test('are the bytes of all responses', async () => {
    const { server, grant } = await limited({ responseBytesInAll: 2500 }, (_, response) =>
      response.end('x'.repeat(1000)),
    );
    await read(grant, server.url);
    await read(grant, server.url);
    expect(await limit(read(grant, server.url))).toEqual([
      'egress_limit',
      false,
      ['responseBytesInAll', '2500'],
    ]);
  });

  test.each([
    ['requestBytes', { requestBytes: 100_000 }, 1],
    ['requestBytesInAll', { requestBytesInAll: 150_000 }, 2],
  ] as const)('are %s', async (name, limits, times) => {
    const { server, grant } = await limited(limits, (request, response) => {
      request.resume().on('end', () => response.end('ok'));
    });
    const send = (bytes: number, headers: BrokerRequest['headers'] = []) =>
      grant.fetch(ask(server.url, { method: 'POST', headers, body: chunksOf(Buffer.alloc(bytes)) }));
    for (let i = 1; i < times; i++) await send(90_000);
    const value = String(Object.values(limits)[0]);
    expect(await limit(send(100_001))).toEqual(['egress_limit', false, [name, value]]);
    if (name === 'requestBytes') {
      expect(await limit(send(5, [['content-length', '100001']]))).toEqual([
        'egress_limit',
        false,
        [name, value],
      ]);
    }
  });

  test('are the requests at once: others wait until a body is read, left or aborted', async () => {
    const { server, grant } = await limited({ requestsAtOnce: 2 }, (_, response) =>
      response.end('x'.repeat(10)),
    );
    const aborting = new AbortController();
    const first = await grant.fetch(ask(server.url));
    const second = await grant.fetch(ask(server.url, { signal: aborting.signal }));
    const answered: number[] = [];
    const waiting = [3, 4, 5].map(async (n) => {
      const response = await grant.fetch(ask(server.url));
      answered.push(n);
      return response;
    });
    await settled(() => server.requests.length);
    expect([server.requests.length, answered]).toEqual([2, []]);
    await text(first.body);
    const third = await waiting[0]!;
    expect(answered).toEqual([3]);
    aborting.abort();
    await waiting[1];
    expect(answered).toEqual([3, 4]);
    await third.body[Symbol.asyncIterator]().return?.();
    await waiting[2];
    expect(answered).toEqual([3, 4, 5]);
    expect(await failure(text(second.body))).toMatchObject({ code: 'cancelled' });
  });

  test('let what waits be aborted', async () => {
    const { server, grant } = await limited({ requestsAtOnce: 1 });
    const first = await grant.fetch(ask(server.url));
    const aborting = new AbortController();
    const waiting = failure(grant.fetch(ask(server.url, { signal: aborting.signal })));
    aborting.abort();
    expect((await waiting).code).toBe('cancelled');
    await text(first.body);
    expect(await text((await grant.fetch(ask(server.url))).body)).toBe('ok');
    expect(server.requests).toHaveLength(2);
  });

  test('are the time that is left of the attempt', async () => {
    const server = await serve(() => {});
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`], options: { timeoutMs: 100 } });
    expect(await failure(grant.fetch(ask(server.url)))).toMatchObject({ code: 'timeout', retryable: true });
    const startedAt = performance.now();
    expect((await failure(grant.fetch(ask(server.url)))).code).toBe('timeout');
    expect(performance.now() - startedAt).toBeLessThan(90);
  });
});

describe('a response', () => {
  test('of 50 MB waits for slow code at its server', async () => {
    let written = 0;
    const server = await serve((_, response) => {
      const piece = Buffer.alloc(65_536, 'x');
      const more = (): void => {
        while (written < 50 * MIB) {
          written += piece.length;
          if (!response.write(piece)) return;
        }
        response.end();
      };
      response.on('drain', more);
      more();
    });
    const grant = makeGrant({
      egress: [`127.0.0.1:${server.port}`],
      limits: { responseBytes: 100 * MIB },
    });
    const { body } = await grant.fetch(ask(server.url));
    const pieces = body[Symbol.asyncIterator]();
    let read = 0;
    for (let i = 0; i < 3; i++) {
      expect((await settled(() => written)) - read).toBeLessThan(KERNEL_BYTES);
      for (let n = 0; n < 50; n++) read += ((await pieces.next()).value as Uint8Array).length; // far from its end
    }
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next())
      read += next.value.length;
    expect(read).toBe(50 * MIB);
    expect(grant.logs).toEqual([expect.stringContaining(`answered 200 (${50 * MIB} bytes received, `)]);
  });

  test('comes while it is made', async () => {
    let send: (event: string) => void = () => {};
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      send = (event) => void response.write(event);
      send('data: 1\n\n');
    });
    const grant = makeGrant({ credentials: { crm: bearer(server.url) } });
    const pieces = (await grant.fetch(ask('crm:/events'))).body[Symbol.asyncIterator]();
    for (let n = 1; n < 5; n++) {
      const { value } = await pieces.next();
      expect(Buffer.from(value as Uint8Array).toString()).toBe(`data: ${n}\n\n`);
      send(`data: ${n + 1}\n\n`);
    }
    await pieces.return?.();
    await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
    expect(grant.logs).toHaveLength(1);
  });

  test('that the code aborts ends its connection', async () => {
    const server = await serve((_, response) => void response.write('x'));
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`] });
    const aborting = new AbortController();
    const { body } = await grant.fetch(ask(server.url, { signal: aborting.signal }));
    aborting.abort();
    await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
    expect((await failure(text(body))).code).toBe('cancelled');
    expect(grant.logs).toEqual([expect.stringMatching(/^warn .* answered 200, then failed as cancelled/)]);
  });

  test('keeps repeated headers apart, and none of the connection’s', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Keep-Alive', 'timeout=5']).end();
    });
    const { headers } = await makeGrant({ egress: [`127.0.0.1:${server.port}`] }).fetch(ask(server.url));
    expect(headers.filter(([name]) => name === 'set-cookie').map(([, value]) => value)).toEqual([
      'a=1',
      'b=2',
    ]);
    expect(headers.map(([name]) => name)).not.toContain('keep-alive');
    expect(headers.map(([name]) => name)).not.toContain('connection');
    expect(headers.map(([name]) => name)).not.toContain('transfer-encoding');
  });
});

describe('the end of the step', () => {
  const stalling: RequestListener = (request, response) => {
    request.resume();
    if (request.url === '/body') response.write('x');
  };

  test('ends every request, whatever it is doing, and refuses later ones (X20)', async () => {
    const server = await serve(stalling);
    const grant = makeGrant({
      egress: [`127.0.0.1:${server.port}`],
      credentials: { crm: bearer(server.url) },
      limits: { requestsAtOnce: 3 },
    });
    const stuck = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
      await new Promise(() => {});
    };
    const { body } = await grant.fetch(ask(`${server.url}/body`));
    const running = [
      failure(text(body)),
      failure(grant.fetch(ask(`${server.url}/head`))),
      failure(grant.fetch(ask(server.url, { method: 'POST', body: stuck() }))),
      failure(grant.fetch(ask(`${server.url}/waiting`))),
    ];
    await vi.waitFor(() => expect(server.requests).toHaveLength(2));
    grant.close();
    grant.close();
    for (const error of await Promise.all(running)) {
      expect([error.code, error.message]).toEqual([
        'egress_denied',
        expect.stringContaining('The step has ended'),
      ]);
    }
    await vi.waitFor(() => expect(server.sockets.every(({ destroyed }) => destroyed)).toBe(true));
    const logged = grant.logs.length;
    for (const target of [server.url, 'crm:/x', 'other:/x']) {
      expect(await failure(grant.fetch(ask(target)))).toMatchObject({
        code: 'egress_denied',
        message: expect.stringContaining('The step has ended'),
      });
    }
    expect([server.requests.length, grant.logs.length]).toEqual([2, logged]);
    expect(grant.refusals).toEqual(Array(3).fill('step_ended'));
  });

  test('comes with the attempt’s signal, too', async () => {
    const server = await serve(stalling);
    const attempt = new AbortController();
    const grant = makeGrant({ egress: [`127.0.0.1:${server.port}`], options: { signal: attempt.signal } });
    const running = failure(grant.fetch(ask(server.url)));
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    attempt.abort();
    expect((await running).code).toBe('cancelled');
    expect((await failure(grant.fetch(ask(server.url)))).code).toBe('egress_denied');
    const late = makeGrant({ egress: [`127.0.0.1:${server.port}`], options: { signal: attempt.signal } });
    expect((await failure(late.fetch(ask(server.url)))).code).toBe('egress_denied');
    expect(server.requests).toHaveLength(1);
  });
});

/** Waits until a figure has stopped growing. */
async function settled(figure: () => number): Promise<number> {
  for (let last = -1, same = 0; same < 50;) {
    await turn();
    await delay(2);
    same = figure() === last ? same + 1 : 0;
    last = figure();
  }
  return figure();
}
