import type { IncomingMessage, RequestListener } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { closeServers, serve } from '../../../test/support/http-server.ts';
import { settled } from '../../../test/support/settled.ts';
import { parseAllowPrivate } from './addresses.ts';
import { createEgressClient } from './client.ts';
import type { EgressClient, EgressRequest } from './types.ts';

const clients: EgressClient[] = [];

afterEach(async () => {
  closeServers();
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

function makeClient(allow = '127.0.0.0/8'): EgressClient {
  const client = createEgressClient({ allowPrivate: parseAllowPrivate(allow) });
  clients.push(client);
  return client;
}

const get = (url: string, more: Partial<EgressRequest> = {}): EgressRequest => ({
  method: 'GET',
  url,
  timeoutMs: 10_000,
  maxResponseBytes: 100_000_000,
  ...more,
});
const post = (
  url: string,
  chunks: AsyncIterable<Uint8Array>,
  more: Partial<EgressRequest> = {},
): EgressRequest => get(url, { method: 'POST', body: { chunks, bytes: undefined }, ...more });

const MIB = 1_048_576;
/** The kernel's own buffers on loopback hold this much at most. */
const KERNEL_BYTES = 16 * MIB;

/** Writes as fast as it is taken, and tells how much that was. */
function pour(total: number): { handler: RequestListener; written: () => number } {
  let written = 0;
  const handler: RequestListener = (_, response) => {
    const piece = Buffer.alloc(65_536, 'x');
    const more = (): void => {
      while (written < total && !response.destroyed) {
        written += piece.length;
        if (!response.write(piece)) return;
      }
      response.end();
    };
    response.on('drain', more);
    more();
  };
  return { handler, written: () => written };
}

describe('a response', () => {
  test('has its head before its body has come', async () => {
    let finish = (): void => {};
    const server = await serve((_, response) => {
      finish = () => void response.end(' second');
      response.writeHead(201, ['X-One', '1', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']);
      response.write('first');
    });
    const stream = await makeClient().stream(get(`${server.url}/a#b`));
    expect(stream).toMatchObject({ status: 201, url: `${server.url}/a`, hops: 0 });
    expect(stream.headers.filter(([name]) => name === 'set-cookie' || name === 'x-one')).toEqual([
      ['x-one', '1'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ]);
    expect((await stream.body.next()).value?.toString()).toBe('first');
    finish();
    expect(await text(stream.body)).toBe(' second');
  });

  test('of 50 MB waits for a slow reader where it is: in the kernel and at its server', async () => {
    const source = pour(50 * MIB);
    const server = await serve(source.handler);
    const stream = await makeClient().stream(get(server.url));
    const first = await stream.body.next();
    let read = first.value?.length ?? 0;
    expect(await settled(source.written)).toBeLessThan(KERNEL_BYTES);
    for (let i = 0; i < 100; i++) read += (await stream.body.next()).value?.length ?? 0;
    expect((await settled(source.written)) - read).toBeLessThan(KERNEL_BYTES);
    for await (const piece of stream.body) read += piece.length;
    expect(read).toBe(50 * MIB);
  });

  test('that is left early ends its connection', async () => {
    const source = pour(50 * MIB);
    const server = await serve(source.handler);
    const client = makeClient();
    for await (const piece of (await client.stream(get(server.url))).body) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    (await client.stream(get(server.url))).cancel();
    await vi.waitFor(() => expect(server.sockets.map(({ destroyed }) => destroyed)).toEqual([true, true]));
    expect(source.written()).toBeLessThan(50 * MIB);
  });

  test('leaves its connection to the next one when it was read to its end', async () => {
    const server = await serve((_, response) => response.end('x'.repeat(200_000)));
    const client = makeClient();
    for (let i = 0; i < 10; i++) await text((await client.stream(get(server.url))).body);
    expect(server.sockets.length).toBeLessThanOrEqual(2);
  });

  test('fails its reader when the signal is aborted or time is up, also while nobody reads', async () => {
    const server = await serve((_, response) => void response.write('x'));
    const client = makeClient();
    const controller = new AbortController();
    const cancelled = await client.stream(get(server.url, { signal: controller.signal }));
    await cancelled.body.next();
    const waiting = cancelled.body.next();
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    const late = await client.stream(get(server.url, { timeoutMs: 50 }));
    await vi.waitFor(() => expect(server.sockets.every(({ destroyed }) => destroyed)).toBe(true));
    await expect(text(late.body)).rejects.toMatchObject({ code: 'timeout', retryable: true });
  });

  test('that breaks off fails its reader', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('x', () => response.destroy());
    });
    const stream = await makeClient().stream(get(server.url));
    await expect(text(stream.body)).rejects.toMatchObject({ code: 'connect_failed', retryable: true });
  });

  test('is cut off at its limit, announced or not', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/announced') response.setHeader('content-length', 70_001);
      response.write('x'.repeat(70_000));
      response.end('x');
    });
    const client = makeClient();
    const limited = (path: string, maxResponseBytes: number) =>
      client.stream(get(server.url + path, { maxResponseBytes }));
    await expect(limited('/announced', 70_000)).rejects.toMatchObject({ code: 'response_too_large' });
    await expect(text((await limited('/', 70_000)).body)).rejects.toMatchObject({
      code: 'response_too_large',
    });
    expect(await text((await limited('/', 70_001)).body)).toHaveLength(70_001);
  });

  test.each([
    ['gzip', zlib.gzipSync],
    ['deflate', zlib.deflateSync],
    ['deflate', zlib.deflateRawSync],
    ['br', zlib.brotliCompressSync],
    ['zstd', zlib.zstdCompressSync],
  ] as const)(
    'of %s is decompressed as it comes, and a bomb stops at the limit',
    async (coding, compress) => {
      const plain = Buffer.from(JSON.stringify(Array.from({ length: 20_000 }, (_, id) => ({ id }))));
      const server = await serve((request, response) => {
        response.setHeader('content-encoding', coding);
        if (request.url === '/empty') response.end();
        else response.end(compress(request.url === '/bomb' ? Buffer.alloc(20_000_000) : plain));
      });
      const client = makeClient();
      const stream = await client.stream(get(server.url));
      expect(stream.headers.map(([name]) => name)).not.toContain('content-encoding');
      expect(stream.headers.map(([name]) => name)).not.toContain('content-length');
      expect((await buffer(stream.body)).equals(plain)).toBe(true);
      expect(await text((await client.stream(get(`${server.url}/empty`))).body)).toBe('');
      const bomb = await client.stream(get(`${server.url}/bomb`, { maxResponseBytes: 1_000_000 }));
      let received = 0;
      const reading = async (): Promise<void> => {
        for await (const piece of bomb.body) received += piece.length;
      };
      await expect(reading()).rejects.toMatchObject({ code: 'response_too_large' });
      expect(received).toBeLessThanOrEqual(1_000_000);
      await vi.waitFor(async () =>
        expect((await client.stream(get(`${server.url}/empty`))).status).toBe(200),
      );
    },
  );

  test('of several codings is undone in order, and a bomb in the middle is met', async () => {
    const inner = zlib.gzipSync(Buffer.alloc(5_000_000));
    const server = await serve((request, response) => {
      response.setHeader('content-encoding', 'gzip, br');
      response.end(zlib.brotliCompressSync(request.url === '/bomb' ? inner : zlib.gzipSync('plain')));
    });
    const client = makeClient();
    expect(await text((await client.stream(get(server.url))).body)).toBe('plain');
    const bomb = await client.stream(get(`${server.url}/bomb`, { maxResponseBytes: 1_000_000 }));
    await expect(buffer(bomb.body)).rejects.toMatchObject({ code: 'response_too_large' });
  });

  test('that is not what its coding says, or ends too early, is connect_failed', async () => {
    const whole = zlib.gzipSync('x'.repeat(10_000));
    const server = await serve((request, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end(request.url === '/cut' ? whole.subarray(0, -12) : 'not gzip');
    });
    const client = makeClient();
    for (const path of ['/', '/cut']) {
      const { body } = await client.stream(get(server.url + path));
      await expect(text(body)).rejects.toMatchObject({ code: 'connect_failed' });
    }
  });

  test('that is compressed and stalls can be left, and its connection ends', async () => {
    const whole = zlib.gzipSync(Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * 7919) % 251)));
    const server = await serve((_, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.write(whole.subarray(0, whole.length >> 1));
    });
    const stream = await makeClient().stream(get(server.url));
    await stream.body.next();
    stream.cancel();
    await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
  });

  test('to HEAD has headers and no body', async () => {
    const server = await serve(
      (_, response) =>
        void response.writeHead(200, { 'content-length': 5, 'content-encoding': 'gzip' }).end(),
    );
    const stream = await makeClient().stream(get(server.url, { method: 'HEAD' }));
    expect(Object.fromEntries(stream.headers)).toMatchObject({
      'content-length': '5',
      'content-encoding': 'gzip',
    });
    expect(await text(stream.body)).toBe('');
  });
});

describe('a streamed request', () => {
  const echo: RequestListener = (request, response) => void request.pipe(response);

  test('arrives chunked, or with its length where that is known', async () => {
    const server = await serve(echo);
    const client = makeClient();
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('one ');
      yield new Uint8Array(0);
      yield new TextEncoder().encode('two');
    };
    expect(await text((await client.stream(post(server.url, chunks()))).body)).toBe('one two');
    const sized = { chunks: chunks(), bytes: 7 };
    expect(await text((await client.stream(get(server.url, { method: 'PUT', body: sized }))).body)).toBe(
      'one two',
    );
    expect(
      server.requests.map(({ headers }) => [headers['transfer-encoding'], headers['content-length']]),
    ).toEqual([
      ['chunked', undefined],
      [undefined, '7'],
    ]);
    expect((await client.request(post(server.url, chunks()))).body.toString()).toBe('one two');
  });

  test.each([3, 8])(
    'that is not as long as announced (%i) is invalid_input, and nothing follows on its connection',
    async (bytes) => {
      const server = await serve((request) => void request.resume());
      const chunks = async function* (): AsyncGenerator<Uint8Array> {
        yield Buffer.from('seven b');
      };
      const sending = makeClient().stream(
        get(server.url, { method: 'POST', body: { chunks: chunks(), bytes } }),
      );
      await expect(sending).rejects.toMatchObject({ code: 'invalid_input' });
      await vi.waitFor(() => expect(server.sockets.every(({ destroyed }) => destroyed)).toBe(true));
    },
  );

  test('is made no faster than its server takes it', async () => {
    let taken: IncomingMessage | undefined;
    const server = await serve((request, response) => {
      taken = request;
      request.on('end', () => response.end('done'));
    });
    let made = 0;
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 50; i++) {
        made += MIB;
        yield Buffer.alloc(MIB);
      }
    };
    const sending = makeClient().request(post(server.url, chunks()));
    await vi.waitFor(() => expect(taken).toBeDefined());
    expect(await settled(() => made)).toBeLessThan(KERNEL_BYTES + 2 * MIB);
    taken?.resume();
    expect((await sending).body.toString()).toBe('done');
    expect(made).toBe(50 * MIB);
  });

  test('whose response is complete before it is ends its producer', async () => {
    const server = await serve((_, response) => void response.writeHead(413).end('enough'));
    let isEnded = false;
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          yield Buffer.alloc(1000);
          await turn();
        }
      } finally {
        isEnded = true;
      }
    };
    const response = await makeClient().request(post(server.url, chunks()));
    expect([response.status, response.body.toString()]).toEqual([413, 'enough']);
    await vi.waitFor(() => expect(isEnded).toBe(true));
  });

  test('that is aborted while its producer waits ends its connection', async () => {
    const server = await serve((request) => void request.resume());
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
      await new Promise(() => {});
    };
    const controller = new AbortController();
    const sending = makeClient().stream(post(server.url, chunks(), { signal: controller.signal }));
    const failed = expect(sending).rejects.toMatchObject({ code: 'cancelled' });
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    controller.abort();
    await failed;
    await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
  });

  test('whose producer fails is not taken for a whole one', async () => {
    let isWhole = false;
    const server = await serve((request) => {
      request.on('end', () => (isWhole = true)).resume();
      request.on('error', () => {});
    });
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
      throw new Error('the producer is gone');
    };
    await expect(makeClient().stream(post(server.url, chunks()))).rejects.toMatchObject({
      code: 'connect_failed',
    });
    await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
    expect(isWhole).toBe(false);
  });

  test.each([307, 308])('is not sent again after %i, and the remedy is said', async (status) => {
    const server = await serve((request, response) => {
      request.resume().on('end', () => response.writeHead(status, { location: '/end' }).end());
    });
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
    };
    await expect(makeClient().stream(post(server.url, chunks()))).rejects.toMatchObject({
      code: 'redirect_denied',
      message: expect.stringContaining('send the request to where it redirects to'),
    });
    expect(server.requests).toHaveLength(1);
  });

  test.each([301, 302, 303])('becomes a GET without it after %i', async (status) => {
    const server = await serve((request, response) => {
      if (request.url === '/end') response.end(request.method);
      else request.resume().on('end', () => response.writeHead(status, { location: '/end' }).end());
    });
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
    };
    const stream = await makeClient().stream(post(server.url, chunks()));
    expect([await text(stream.body), stream.hops]).toEqual(['GET', 1]);
  });
});

describe('a redirect', () => {
  const away: RequestListener = (request, response) => {
    if (request.url === '/end') response.end('end');
    else response.writeHead(302, { location: '/end' }).end('moved');
  };

  test('is followed, given back, or an error, as asked', async () => {
    const server = await serve(away);
    const client = makeClient();
    const followed = await client.stream(get(server.url));
    expect([followed.status, followed.hops, await text(followed.body)]).toEqual([200, 1, 'end']);
    const manual = await client.stream(get(server.url, { redirect: 'manual' }));
    expect([manual.status, manual.hops, await text(manual.body)]).toEqual([302, 0, 'moved']);
    expect(Object.fromEntries(manual.headers)['location']).toBe('/end');
    const refusing = get(server.url, { redirect: 'error' });
    const denied = { status: 'rejected', reason: { code: 'redirect_denied', retryable: false } };
    expect(await Promise.allSettled([client.stream(refusing), client.request(refusing)])).toMatchObject([
      denied,
      denied,
    ]);
    expect((await client.stream(get(`${server.url}/end`, { redirect: 'error' }))).status).toBe(200);
  });

  test('asks for permission at every hop, before the name is looked up', async () => {
    const server = await serve(away);
    const lookup = vi.fn(async () => ['127.0.0.1']);
    const client = createEgressClient({ allowPrivate: parseAllowPrivate('127.0.0.0/8'), lookup });
    clients.push(client);
    const asked: string[] = [];
    await text(
      (await client.stream(get(server.url, { permit: (url) => void asked.push(url.pathname) }))).body,
    );
    expect(asked).toEqual(['/', '/end']);
    const refusing = client.stream(
      get('http://elsewhere.example/', {
        permit: () => {
          throw new Error('no');
        },
      }),
    );
    await expect(refusing).rejects.toThrow('no');
    expect(lookup).not.toHaveBeenCalled();
  });
});

test('a client that is closed refuses, and waits for what is under way', async () => {
  const server = await serve((_, response) => {
    response.write('x');
    setTimeout(() => response.end('y'), 30);
  });
  const client = makeClient();
  const stream = await client.stream(get(server.url));
  const closing = client.close();
  await expect(client.stream(get(server.url))).rejects.toMatchObject({ code: 'connect_failed' });
  expect(await text(stream.body)).toBe('xy');
  await closing;
});
