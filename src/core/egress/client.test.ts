import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StepError, type StepErrorCode } from '../step-error.ts';
import { parseAllowPrivate } from './addresses.ts';
import { createEgressClient, type EgressClientOptions } from './client.ts';
import type { EgressClient, EgressRequest } from './types.ts';

interface TestServer {
  readonly port: number;
  readonly url: string;
  readonly requests: IncomingMessage[];
  readonly connections: () => number;
}

const servers: Server[] = [];
const clients: EgressClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(handler: RequestListener, host = '127.0.0.1', port = 0): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  let connections = 0;
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.on('connection', () => connections++);
  servers.push(server);
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo; // it listens on TCP
  return {
    port: address.port,
    url: `http://${host}:${address.port}`,
    requests,
    connections: () => connections,
  };
}

const ok: RequestListener = (_, response) => response.end('ok');
/** Two hosts on one port: the first is allowed, nothing may ever arrive at the second. */
async function serveWithCanary(
  handler: RequestListener = ok,
): Promise<{ server: TestServer; canary: TestServer }> {
  const server = await serve(handler);
  const canary = await serve(ok, '127.0.0.2', server.port);
  return { server, canary };
}

function clientFor(allow: string, options: Partial<EgressClientOptions> = {}): EgressClient {
  const client = createEgressClient({
    allowPrivate: parseAllowPrivate(allow),
    lookup: () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })),
    ...options,
  });
  clients.push(client);
  return client;
}

const get = (url: string, more: Partial<EgressRequest> = {}): EgressRequest => ({
  method: 'GET',
  url,
  timeoutMs: 5000,
  maxResponseBytes: 1_000_000,
  ...more,
});

async function failure(promise: Promise<unknown>): Promise<StepError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (raw: unknown) => raw,
  );
  if (error instanceof StepError) return error;
  throw error;
}

const codeOf = async (promise: Promise<unknown>): Promise<StepErrorCode> => (await failure(promise)).code;

describe('a request', () => {
  test('sends method, headers and body, and gives back status, headers and body', async () => {
    const chunks: Buffer[] = [];
    const server = await serve((request, response) => {
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        response.writeHead(
          201,
          [
            ['X-One', '1'],
            ['Set-Cookie', 'a=1'],
            ['Set-Cookie', 'b=2'],
          ].flat(),
        );
        response.end('created');
      });
    });
    const response = await clientFor(`127.0.0.1:${server.port}`, { userAgent: 'millrace/1' }).request(
      get(`${server.url}/a%20b?c=d#e`, { method: 'post', headers: { 'X-Two': '2' }, body: 'héllo' }),
    );
    expect(response).toMatchObject({ status: 201, hops: 0, url: `${server.url}/a%20b?c=d` });
    expect(response.headers).toMatchObject({ 'x-one': '1', 'set-cookie': 'a=1, b=2' });
    expect(response.body.toString()).toBe('created');
    expect(response.timings.totalMs).toBeGreaterThanOrEqual(response.timings.firstByteMs);
    const [request] = server.requests;
    expect(request).toMatchObject({ method: 'POST', url: '/a%20b?c=d' });
    expect(request?.headers).toMatchObject({
      host: `127.0.0.1:${server.port}`,
      'x-two': '2',
      'user-agent': 'millrace/1',
      'content-length': '6',
      'accept-encoding': 'gzip, deflate, br, zstd',
    });
    expect(Buffer.concat(chunks).toString()).toBe('héllo');
  });

  test('leaves its connection to the next ones', async () => {
    const server = await serve(ok);
    const client = clientFor(`127.0.0.1:${server.port}`);
    for (let i = 0; i < 20; i++) await client.request(get(server.url));
    // The pool counts a connection as busy until a moment after its response has ended.
    expect(server.connections()).toBeLessThanOrEqual(2);
  });

  test('waits for a free connection beyond the limit', async () => {
    const server = await serve((_, response) => setTimeout(() => response.end('ok'), 10));
    const client = clientFor(`127.0.0.1:${server.port}`, { connectionsPerOrigin: 2 });
    await Promise.all(Array.from({ length: 10 }, () => client.request(get(server.url))));
    expect(server.connections()).toBe(2);
  });

  test('ignores informational responses', async () => {
    const server = await serve((_, response) => {
      response.writeProcessing();
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.end('ok');
    });
    const response = await clientFor(`127.0.0.1:${server.port}`).request(get(server.url));
    expect([response.status, response.body.toString()]).toEqual([200, 'ok']);
  });

  test('pays no heed to proxy variables', async () => {
    const server = await serve(ok);
    const proxy = await serve(ok, '127.0.0.3');
    for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'HTTPS_PROXY']) vi.stubEnv(name, proxy.url);
    try {
      await clientFor(`127.0.0.1:${server.port}`).request(get(server.url));
    } finally {
      vi.unstubAllEnvs();
    }
    expect([server.requests.length, proxy.connections()]).toEqual([1, 0]);
  });

  test('is refused after close, which waits for those in flight', async () => {
    const server = await serve((_, response) => setTimeout(() => response.end('late'), 50));
    const client = clientFor(`127.0.0.1:${server.port}`);
    const running = client.request(get(server.url));
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    await client.close();
    expect((await running).body.toString()).toBe('late');
    expect(await codeOf(client.request(get(server.url)))).toBe('connect_failed');
  });
});

describe('the guard', () => {
  const spellings = (port: number): string[] => [
    `http://127.0.0.1:${port}/`,
    `http://2130706433:${port}/`,
    `http://0x7f000001:${port}/`,
    `http://0x7f.0x0.0x0.0x1:${port}/`,
    `http://017700000001:${port}/`,
    `http://0177.0.0.01:${port}/`,
    `http://127.1:${port}/`,
    `http://127.0.1:${port}/`,
    `http://１２７.０.０.１:${port}/`,
    `http://127。0。0。1:${port}/`,
    `http://①②⑦.⓪.⓪.①:${port}/`,
    `http://%31%32%37.0.0.1:${port}/`,
    `http://127.0.0.1.:${port}/`,
    `http://user@127.0.0.1:${port}/`,
    `http://example.com@127.0.0.1:${port}/`,
    `http://127.0.0.1:${port}@example.com/`,
    `http://:secret@127.0.0.1:${port}/`,
    `http://127.0.0.1:${port}\\@example.com/`,
    `http:\\\\127.0.0.1:${port}\\`,
    `http:/127.0.0.1:${port}/`,
    `http:127.0.0.1:${port}/`,
    `HTTP://127.0.0.1:${port}/`,
    `http://0:${port}/`,
    `http://0.0.0.0:${port}/`,
    `http://[::1]:${port}/`,
    `http://[::]:${port}/`,
    `http://[::ffff:127.0.0.1]:${port}/`,
    `http://[::ffff:7f00:1]:${port}/`,
    `http://[0:0:0:0:0:ffff:7f00:0001]:${port}/`,
    `http://[::127.0.0.1]:${port}/`,
    `http://[64:ff9b::127.0.0.1]:${port}/`,
    `http://[2002:7f00:1::]:${port}/`,
    `http://169.254.169.254/latest/meta-data/`,
    `http://168.63.129.16/`,
    `http://10.0.0.1/`,
    'file:///etc/passwd',
    'ftp://127.0.0.1/',
    'gopher://127.0.0.1/',
    'data:text/plain,x',
    `ws://127.0.0.1:${port}/`,
  ];

  test('refuses every spelling of a denied address, and nothing arrives', async () => {
    const canary = await serve(ok);
    const client = clientFor('');
    for (const url of spellings(canary.port)) {
      const error = await failure(client.request(get(url)));
      expect({ url, code: error.code, retryable: error.retryable }).toEqual({
        url,
        code: 'egress_denied',
        retryable: false,
      });
    }
    expect(canary.connections()).toBe(0);
  });

  test('names the rule and the remedy, but not the address behind a name', async () => {
    const client = clientFor('', { lookup: async () => ['10.9.8.7'] });
    expect((await failure(client.request(get('http://127.0.0.1:81/?q=1')))).message).toBe(
      '127.0.0.1 is in 127.0.0.0/8 (loopback), which steps may not reach; a platform administrator can allow it with EGRESS_ALLOW_PRIVATE=127.0.0.1:81',
    );
    const { message } = await failure(client.request(get('https://intra.example/')));
    expect(message).toContain('intra.example leads to an address in 10.0.0.0/8 (private)');
    expect(message).toContain('EGRESS_ALLOW_PRIVATE=intra.example:443');
    expect(message).not.toContain('10.9.8.7');
  });

  test.each(['localhost', 'localhost.', 'x.localhost', 'rebind.example', '127.0.0.1.nip.example'])(
    'refuses the name %s that leads inside',
    async (name) => {
      const canary = await serve(ok);
      const client = clientFor('', { lookup: async () => ['127.0.0.1'] });
      expect(await codeOf(client.request(get(`http://${name}:${canary.port}/`)))).toBe('egress_denied');
      expect(canary.connections()).toBe(0);
    },
  );

  test('refuses localhost as the system resolves it', async () => {
    const canary = await serve(ok);
    const client = clientFor('', { lookup: undefined });
    expect(await codeOf(client.request(get(`http://localhost:${canary.port}/`)))).toBe('egress_denied');
    expect(canary.connections()).toBe(0);
  });

  test('refuses a name of which any address is denied', async () => {
    const { server, canary } = await serveWithCanary();
    for (const addresses of [
      ['127.0.0.1', '127.0.0.2'],
      ['127.0.0.2', '127.0.0.1'],
      ['127.0.0.1', 'fe80::1%lo'],
      ['127.0.0.1', '127.1'],
    ]) {
      const client = clientFor(`127.0.0.1:${server.port}`, { lookup: async () => addresses });
      expect(await codeOf(client.request(get(`http://mixed.example:${server.port}/`)))).toBe('egress_denied');
    }
    expect([server.connections(), canary.connections()]).toEqual([0, 0]);
  });

  test('allows host and port as the administrator wrote them, and no other port', async () => {
    const { server, canary } = await serveWithCanary();
    const client = clientFor(`app.internal:${server.port}`, { lookup: async () => ['127.0.0.1'] });
    expect((await client.request(get(`http://app.internal:${server.port}/`))).status).toBe(200);
    expect((await client.request(get(`http://App.Internal.:${server.port}/`))).status).toBe(200);
    expect(server.requests.map(({ headers }) => headers.host)).toEqual(
      Array(2).fill(`app.internal:${server.port}`),
    );
    expect(await codeOf(client.request(get(`http://other.internal:${server.port}/`)))).toBe('egress_denied');
    expect(await codeOf(client.request(get(`http://127.0.0.1:${server.port}/`)))).toBe('egress_denied');
    expect(await codeOf(clientFor('127.0.0.1:1').request(get(server.url)))).toBe('egress_denied');
    expect((await clientFor('127.0.0.2/32').request(get(canary.url))).status).toBe(200);
  });

  test('lets no rebinding through: 50 times first allowed, then denied', async () => {
    const { server, canary } = await serveWithCanary();
    let lookups = 0;
    const client = clientFor(`127.0.0.1:${server.port}`, {
      lookupTtlMs: 0,
      lookup: async () => [lookups++ % 2 === 0 ? '127.0.0.1' : '127.0.0.2'],
    });
    for (let i = 0; i < 50; i++) {
      const url = `http://rebind.example:${server.port}/`;
      expect((await client.request(get(url))).status).toBe(200);
      expect(await codeOf(client.request(get(url)))).toBe('egress_denied');
    }
    expect(lookups).toBe(100);
    expect([server.requests.length, canary.connections()]).toEqual([50, 0]);
  });

  test('uses one look-up for check and connection, and remembers it for a while', async () => {
    const { server, canary } = await serveWithCanary();
    const answers = ['127.0.0.1'];
    const client = clientFor(`127.0.0.1:${server.port}`, {
      lookup: async () => [answers.shift() ?? '127.0.0.2'],
    });
    const url = `http://rebind.example:${server.port}/`;
    await Promise.all(Array.from({ length: 10 }, () => client.request(get(url))));
    expect([server.requests.length, canary.connections()]).toEqual([10, 0]);
  });

  test('does not use a kept connection when the name leads elsewhere', async () => {
    const server = await serve(ok);
    const moved = await serve(ok, '127.0.0.3', server.port);
    let address = '127.0.0.1';
    const client = clientFor('127.0.0.0/8', { lookupTtlMs: 0, lookup: async () => [address] });
    const url = `http://moving.example:${server.port}/`;
    await client.request(get(url));
    address = '127.0.0.3';
    await client.request(get(url));
    expect([server.requests.length, moved.requests.length]).toEqual([1, 1]);
  });

  test('asks no resolver about addresses', async () => {
    const server = await serve(ok);
    const lookup = vi.fn(async () => ['127.0.0.1']);
    await clientFor(`127.0.0.1:${server.port}`, { lookup }).request(get(server.url));
    expect(lookup).not.toHaveBeenCalled();
  });

  test('drops a connection whose peer is not the checked address, before a byte is sent', async () => {
    const server = await serve(ok);
    // Linux connects 0.0.0.0 to 127.0.0.1.
    const error = await failure(clientFor('0.0.0.0/32').request(get(`http://0.0.0.0:${server.port}/`)));
    expect([error.code, error.message]).toEqual(['egress_denied', expect.stringContaining('not checked')]);
    expect(server.requests).toEqual([]);
  });

  test('denies the platform’s own networks, though they be public', async () => {
    const client = clientFor('', { ownNetworks: ['9.9.9.0/24'], lookup: async () => ['9.9.9.9'] });
    expect((await failure(client.request(get('https://me.example/')))).message).toContain(
      'the platform’s own network',
    );
  });

  test('tries the next checked address when the first does not answer', async () => {
    const server = await serve(ok, '127.0.0.3');
    const client = clientFor('127.0.0.0/8', { lookup: async () => ['127.0.0.4', '127.0.0.3'] });
    expect((await client.request(get(`http://two.example:${server.port}/`))).status).toBe(200);
  });
});

describe('redirects', () => {
  const redirectTo =
    (location: string, status = 302): RequestListener =>
    (request, response) => {
      if (request.url === '/start') response.writeHead(status, { location }).end();
      else response.end(`${request.method} ${request.url}`);
    };

  test.each([
    ['/end?x=1', 302, 'GET /end?x=1'],
    ['end', 301, 'GET /end'],
    ['?q', 303, 'GET /start?q'],
    ['/end', 307, 'POST /end'],
    ['/end', 308, 'POST /end'],
  ])('to %s with %i is followed', async (location, status, echoed) => {
    const server = await serve(redirectTo(location, status));
    const client = clientFor(`127.0.0.1:${server.port}`);
    const response = await client.request(get(`${server.url}/start`, { method: 'POST', body: 'x' }));
    expect([response.body.toString(), response.hops]).toEqual([echoed, 1]);
    expect(response.url).toBe(new URL(location, `${server.url}/start`).href);
  });

  test('are given back when they are not to be followed', async () => {
    const server = await serve(redirectTo('/end'));
    const client = clientFor(`127.0.0.1:${server.port}`);
    const response = await client.request(get(`${server.url}/start`, { redirect: 'manual' }));
    expect(response).toMatchObject({ status: 302, hops: 0, headers: { location: '/end' } });
  });

  test('without a Location are ordinary answers', async () => {
    const server = await serve((_, response) => void response.writeHead(302).end('here'));
    const response = await clientFor(`127.0.0.1:${server.port}`).request(get(server.url));
    expect([response.status, response.body.toString()]).toEqual([302, 'here']);
  });

  test('are followed five times and no more', async () => {
    const server = await serve((request, response) => {
      const left = Number(request.url?.slice(1));
      if (left === 0) response.end('end');
      else response.writeHead(302, { location: `/${left - 1}` }).end();
    });
    const client = clientFor(`127.0.0.1:${server.port}`);
    expect((await client.request(get(`${server.url}/5`))).hops).toBe(5);
    const error = await failure(client.request(get(`${server.url}/6`)));
    expect([error.code, error.retryable]).toEqual(['redirect_denied', false]);
  });

  test.each([
    (port: number) => `http://127.0.0.2:${port}/`,
    (port: number) => `//127.0.0.2:${port}/`,
    (port: number) => `http://0x7f000002:${port}/`,
    (port: number) => `\\\\127.0.0.2:${port}\\`,
    (port: number) => `http://inside.example:${port}/`,
    (port: number) => `http://user:pass@127.0.0.1:${port}/`,
    () => 'file:///etc/passwd',
    () => 'http://[',
    () => 'http://169.254.169.254/latest/meta-data/',
  ])('to a denied place (%#) are denied, and nothing arrives', async (locationOf) => {
    const { server, canary } = await serveWithCanary((request, response) => {
      response.writeHead(307, { location: locationOf(Number(request.headers.host?.split(':')[1])) }).end();
    });
    const client = clientFor(`127.0.0.1:${server.port}`, { lookup: async () => ['127.0.0.2'] });
    const error = await failure(client.request(get(`${server.url}/start`)));
    expect([error.code, error.retryable]).toEqual(['redirect_denied', false]);
    expect([server.requests.length, canary.connections()]).toEqual([1, 0]);
  });

  test('with an endless body do not hold up the request', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/end') {
        response.end('end');
        return;
      }
      response.writeHead(302, { location: '/end' });
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384)));
      };
      response.on('drain', pour);
      pour();
    });
    const response = await clientFor(`127.0.0.1:${server.port}`).request(get(`${server.url}/start`));
    expect(response.body.toString()).toBe('end');
  });

  test('to another origin carry no credential, and the way back asks for it anew', async () => {
    const other = await serve(
      (_, response) => void response.writeHead(307, { location: `${home.url}/end` }).end(),
    );
    const home: TestServer = await serve((request, response) => {
      if (request.url?.startsWith('/end')) response.end('end');
      else response.writeHead(307, { location: `${other.url}/away` }).end();
    });
    const asked: string[] = [];
    const response = await clientFor('127.0.0.0/8').request(
      get(`${home.url}/start?a=%20b`, {
        headers: {
          Authorization: 'canary',
          Cookie: 'canary',
          'X-Api-Key': 'canary',
          'Idempotency-Key': 'k1',
        },
        authorize: (url) => {
          asked.push(url.href);
          if (url.origin !== home.url) return undefined;
          return { headers: { 'x-service-token': 'canary' }, query: { token: 'canary &' } };
        },
      }),
    );
    expect(asked).toEqual([`${home.url}/start?a=%20b`, `${other.url}/away`, `${home.url}/end`]);
    const [away] = other.requests;
    expect(JSON.stringify([away?.url, away?.rawHeaders])).not.toContain('canary');
    expect(away?.headers['idempotency-key']).toBe('k1');
    const [start, end] = home.requests;
    expect(start?.url).toBe('/start?a=%20b&token=canary+%26');
    expect(start?.headers).toMatchObject({
      authorization: 'canary',
      cookie: 'canary',
      'x-service-token': 'canary',
    });
    expect(end?.url).toBe('/end?token=canary+%26');
    expect(end?.headers.authorization).toBeUndefined();
    expect(end?.headers['x-service-token']).toBe('canary');
    expect(response).toMatchObject({ hops: 2, url: `${home.url}/end` });
  });
});

describe('limits', () => {
  test('a body of exactly the limit is read, one byte more is refused, announced or not', async () => {
    const server = await serve((request, response) => {
      const body = Buffer.alloc(Number(new URL(request.url ?? '', 'http://x').searchParams.get('n')), 0x61);
      if (request.url?.startsWith('/length')) response.setHeader('content-length', body.length);
      else response.write(body.subarray(0, 1));
      response.end(request.url?.startsWith('/length') ? body : body.subarray(1));
    });
    const client = clientFor(`127.0.0.1:${server.port}`);
    for (const kind of ['length', 'chunked']) {
      const fits = await client.request(get(`${server.url}/${kind}?n=70000`, { maxResponseBytes: 70_000 }));
      expect(fits.body).toHaveLength(70_000);
      const error = await failure(
        client.request(get(`${server.url}/${kind}?n=70001`, { maxResponseBytes: 70_000 })),
      );
      expect([error.code, error.retryable]).toEqual(['response_too_large', false]);
    }
  });

  test('an answer to HEAD may announce any length', async () => {
    const server = await serve(
      (_, response) => void response.writeHead(200, { 'content-length': '9999999' }).end(),
    );
    const response = await clientFor(`127.0.0.1:${server.port}`).request(get(server.url, { method: 'HEAD' }));
    expect([response.status, response.body.length]).toEqual([200, 0]);
  });

  test.each([
    ['gzip', zlib.gzipSync],
    ['deflate', zlib.deflateSync],
    ['br', zlib.brotliCompressSync],
    ['zstd', zlib.zstdCompressSync],
  ] as const)('a %s body is decompressed, and a bomb stops at the limit', async (coding, compress) => {
    const server = await serve((request, response) => {
      response.setHeader('content-encoding', coding);
      response.end(compress(request.url === '/bomb' ? Buffer.alloc(50_000_000) : Buffer.from('{"a":1}')));
    });
    const client = clientFor(`127.0.0.1:${server.port}`);
    const response = await client.request(get(server.url));
    expect(response.body.toString()).toBe('{"a":1}');
    expect(response.headers['content-encoding']).toBeUndefined();
    expect(await codeOf(client.request(get(`${server.url}/bomb`)))).toBe('response_too_large');
  });

  test('a coding that is not known is left as it is', async () => {
    const server = await serve(
      (_, response) => void response.setHeader('content-encoding', 'x-own').end('raw'),
    );
    const response = await clientFor(`127.0.0.1:${server.port}`).request(get(server.url));
    expect([response.headers['content-encoding'], response.body.toString()]).toEqual(['x-own', 'raw']);
  });

  test('headers beyond 64 KiB are refused', async () => {
    const server = await serve(
      (_, response) => void response.setHeader('x-big', 'a'.repeat(70_000)).end('x'),
    );
    const error = await failure(clientFor(`127.0.0.1:${server.port}`).request(get(server.url)));
    expect([error.code, error.retryable]).toEqual(['response_too_large', false]);
  });

  test.each([
    ['never answers', () => {}],
    [
      'never ends its body',
      (_: IncomingMessage, response: Parameters<RequestListener>[1]) =>
        void response.writeHead(200).write('x'),
    ],
  ])('a server that %s runs into the time-out', async (_, handler) => {
    const server = await serve(handler);
    const error = await failure(
      clientFor(`127.0.0.1:${server.port}`).request(get(server.url, { timeoutMs: 100 })),
    );
    expect([error.code, error.retryable, error.message]).toEqual([
      'timeout',
      true,
      'The request did not finish within 100 ms',
    ]);
  });

  test('redirects and look-ups share the time-out', async () => {
    const server = await serve((_, response) => {
      setTimeout(() => response.writeHead(302, { location: '/' }).end(), 60);
    });
    const client = clientFor(`127.0.0.1:${server.port}`, { lookup: () => new Promise(() => {}) });
    expect(await codeOf(client.request(get(server.url, { timeoutMs: 150 })))).toBe('timeout');
    expect(await codeOf(client.request(get('http://slow.example/', { timeoutMs: 50 })))).toBe('timeout');
  });

  test('an abort cancels the request and drops its connection', async () => {
    let isDropped = false;
    const server = await serve((request) => void request.socket.on('close', () => (isDropped = true)));
    const client = clientFor(`127.0.0.1:${server.port}`);
    const controller = new AbortController();
    const running = failure(client.request(get(server.url, { signal: controller.signal })));
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    controller.abort();
    expect(await running).toMatchObject({ code: 'cancelled', retryable: false });
    await vi.waitFor(() => expect(isDropped).toBe(true));
    expect(await codeOf(client.request(get(server.url, { signal: controller.signal })))).toBe('cancelled');
    expect(server.requests).toHaveLength(1);
  });

  test('a request that gives up while it waits for a connection is never sent', async () => {
    const release: (() => void)[] = [];
    const server = await serve((_, response) => void release.push(() => response.end('ok')));
    const client = clientFor(`127.0.0.1:${server.port}`, { connectionsPerOrigin: 1 });
    const first = client.request(get(`${server.url}/first`));
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    expect(await codeOf(client.request(get(`${server.url}/second`, { timeoutMs: 50 })))).toBe('timeout');
    release[0]?.();
    expect((await first).status).toBe(200);
    const third = client.request(get(`${server.url}/third`));
    await vi.waitFor(() => expect(release).toHaveLength(2));
    release[1]?.();
    expect((await third).status).toBe(200);
    expect(server.requests.map(({ url }) => url)).toEqual(['/first', '/third']);
  });
});

describe('what fails on the way', () => {
  test('is a name without an address: dns_failed', async () => {
    expect(await failure(clientFor('').request(get('http://nowhere.example/')))).toMatchObject({
      code: 'dns_failed',
      retryable: true,
      message: 'The name nowhere.example could not be resolved (ENOTFOUND); is it spelled right?',
    });
    expect(await codeOf(clientFor('', { lookup: async () => [] }).request(get('http://x.example/')))).toBe(
      'dns_failed',
    );
  });

  test('is a refused or broken connection: connect_failed, without the query', async () => {
    const server = await serve((request) => void request.socket.destroy());
    const client = clientFor('127.0.0.0/8');
    const broken = await failure(client.request(get(`${server.url}/?token=canary`)));
    expect([broken.code, broken.retryable]).toEqual(['connect_failed', true]);
    expect(broken.message).not.toContain('canary');
    const refused = await failure(client.request(get(`http://127.0.0.9:${server.port}/?token=canary`)));
    expect([refused.code, refused.retryable]).toEqual(['connect_failed', true]);
    expect(refused.message).toContain(`127.0.0.9:${server.port}`);
    expect(refused.message).toContain('ECONNREFUSED');
  });

  test('is a body that is not what it claims to be: connect_failed', async () => {
    const server = await serve(
      (_, response) => void response.setHeader('content-encoding', 'gzip').end('not gzip'),
    );
    expect(await codeOf(clientFor(`127.0.0.1:${server.port}`).request(get(server.url)))).toBe(
      'connect_failed',
    );
  });
});

describe('input that cannot be sent', () => {
  test.each([
    [{ url: 'not a url' }, /not a URL/],
    [{ url: '/path' }, /not a URL/],
    [{ url: 'http://a b/' }, /not a URL/],
    [{ url: 'http://example.com/\r\nHost: evil' }, /line break/],
    [{ method: 'GET / HTTP/1.1\r\nX: y' }, /cannot be used as a method/],
    [{ method: 'CONNECT' }, /CONNECT/],
    [{ method: 'trace' }, /trace/],
    [{ headers: { 'X-A': 'a\r\nX-B: b' } }, /value of header `X-A`/],
    [{ headers: { 'X-A': 'a\u0000' } }, /value of header `X-A`/],
    [{ headers: { 'X-A': 'š' } }, /encode it/],
    [{ headers: { 'X-A\r\nX-B': 'b' } }, /not a header name/],
    [{ headers: { '': 'b' } }, /not a header name/],
    [{ headers: { Host: 'evil' } }, /`Host` cannot be set/],
    [{ headers: { 'Content-Length': '0' } }, /`Content-Length` cannot be set/],
    [{ headers: { 'transfer-encoding': 'chunked' } }, /cannot be set/],
    [{ headers: { Connection: 'upgrade' } }, /cannot be set/],
    [{ headers: { Upgrade: 'websocket' } }, /cannot be set/],
    [{ headers: { Expect: '100-continue' } }, /cannot be set/],
    [{ headers: { 'Proxy-Authorization': 'x' } }, /cannot be set/],
    [{ headers: { 'X-A': '1', 'x-a': '2' } }, /given twice/],
    [{ headers: { 'X-A': 'a'.repeat(70_000) } }, /larger than/],
    [{ authorize: () => ({ headers: { 'x-key': 'canary\r\n' } }) }, /value of header `x-key`/],
  ])('%j is invalid_input', async (wrong, message) => {
    const server = await serve(ok);
    const error = await failure(clientFor(`127.0.0.1:${server.port}`).request(get(server.url, wrong)));
    expect([error.code, error.retryable]).toEqual(['invalid_input', false]);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('canary');
    expect(server.connections()).toBe(0);
  });
});
