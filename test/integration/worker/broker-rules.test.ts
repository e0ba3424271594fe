import type { IncomingMessage } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Credential } from '../../../src/core/credentials/types.ts';
import type { StepError } from '../../../src/core/step-error.ts';
import { ask, bearer, closeBroker, failure, makeGrant, redirecting, TOKEN } from '../../support/broker.ts';
import { ok, serve, type TestServer } from '../../support/http-server.ts';

afterEach(closeBroker);

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
