import type { IncomingMessage, RequestListener } from 'node:http';
import { text } from 'node:stream/consumers';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Grant } from '../../../src/worker/broker/broker.ts';
import type { BrokerLimits } from '../../../src/worker/broker/limits.ts';
import type { BrokerRequest } from '../../../src/worker/sandbox/types.ts';
import {
  ask,
  bearer,
  chunksOf,
  closeBroker,
  failure,
  KERNEL_BYTES,
  makeGrant,
  MIB,
  redirecting,
} from '../../support/broker.ts';
import { ok, serve } from '../../support/http-server.ts';
import { settled } from '../../support/settled.ts';

afterEach(closeBroker);

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
