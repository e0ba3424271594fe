import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { authorizationFor, resolvePath, resolveTarget } from './apply.ts';
import type { Credential } from './types.ts';

const bearer = (baseUrl: string, allowedHosts?: string[]): Credential => ({
  type: 'bearer',
  data: { token: 'canary', baseUrl, allowedHosts },
});
const isSent = (credential: Credential, url: string): boolean =>
  authorizationFor(credential, new URL(url)) !== undefined;

describe('authorizationFor', () => {
  const baseUrl = 'https://api.example.com/v1';
  const url = new URL('https://api.example.com/v1/x');

  test.each([
    [bearer(baseUrl), { headers: { authorization: 'Bearer canary' } }],
    [
      { type: 'basic', data: { username: 'Aladdin', password: 'open sesame', baseUrl } },
      { headers: { authorization: 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==' } },
    ],
    [
      { type: 'basic', data: { username: 'ü', password: 'ß', baseUrl } },
      { headers: { authorization: 'Basic w7w6w58=' } },
    ],
    [
      { type: 'api-key', data: { in: 'header', name: 'X-Api-Key', value: 'v', baseUrl } },
      { headers: { 'x-api-key': 'v' } },
    ],
    [{ type: 'api-key', data: { in: 'query', name: 'Key', value: 'v', baseUrl } }, { query: { Key: 'v' } }],
    [{ type: 'secret', data: { value: 'v' } }, undefined],
  ] as const)('adds what %j stands for', (credential, expected) => {
    expect(authorizationFor(credential as Credential, url)).toEqual(expected);
  });

  test.each([
    ['https://api.example.com/anything', true],
    ['https://API.example.com:443/', true],
    ['https://api.example.com:8443/', false],
    ['http://api.example.com/', false],
    ['https://api.example.com./', false],
    ['https://example.com/', false],
    ['https://evil.example.com/', false],
    ['https://api.example.com.evil.test/', false],
    ['https://api.example.com@evil.test/', false],
  ])('sends to the baseUrl’s origin only: %s %s', (target, expected) => {
    expect(isSent(bearer(baseUrl), target)).toBe(expected);
  });

  test.each([
    [['files.example.net'], 'https://files.example.net/', true],
    [['files.example.net'], 'https://files.example.net:8443/', false],
    [['files.example.net'], 'https://a.files.example.net/', false],
    [['files.example.net'], 'http://files.example.net/', false],
    [['files.example.net:8443'], 'https://files.example.net:8443/', true],
    [['files.example.net:8443'], 'https://files.example.net/', false],
    [['files.example.net:443'], 'https://files.example.net/', true],
    [['*.example.net'], 'https://a.b.example.net/', true],
    [['*.example.net'], 'https://example.net/', false],
    [['*.example.net'], 'https://evilexample.net/', false],
    [['*.example.net'], 'https://a.example.net:8443/', false],
    [['*.example.net:8443'], 'https://a.example.net:8443/', true],
    [['nope', 'files.example.net'], 'https://files.example.net/', true],
  ])('with allowedHosts %j sends to %s: %s', (allowedHosts, target, expected) => {
    expect(isSent(bearer(baseUrl, allowedHosts), target)).toBe(expected);
  });

  test('sends over plain http only when the baseUrl is http', () => {
    const plain = bearer('http://127.0.0.1:9000', ['files.example.net']);
    expect(isSent(plain, 'http://127.0.0.1:9000/x')).toBe(true);
    expect(isSent(plain, 'http://files.example.net/')).toBe(true);
    expect(isSent(plain, 'https://files.example.net/')).toBe(true);
    expect(isSent(plain, 'ftp://files.example.net/')).toBe(false);
  });
});

describe('resolvePath', () => {
  test.each([
    ['https://api.example.com', '/users', 'https://api.example.com/users'],
    ['https://api.example.com/', '/', 'https://api.example.com/'],
    ['https://api.example.com/v1', '/users/7?x=1&y=..#z', 'https://api.example.com/v1/users/7?x=1&y=..#z'],
    ['https://api.example.com/v1/', '/users', 'https://api.example.com/v1/users'],
    ['http://127.0.0.1:9000/v1', '/a b', 'http://127.0.0.1:9000/v1/a%20b'],
    ['https://api.example.com/v1', '/@evil.test/', 'https://api.example.com/v1/@evil.test/'],
    ['https://api.example.com', '/x:80', 'https://api.example.com/x:80'],
    ['https://api.example.com/v1', '/a..b/...', 'https://api.example.com/v1/a..b/...'],
    ['https://api.example.com/v1', '/a/%E2%82%AC', 'https://api.example.com/v1/a/%E2%82%AC'],
  ])('%s plus %s', (baseUrl, path, expected) => {
    expect(resolvePath(bearer(baseUrl), path)).toBe(expected);
  });

  test.each([
    '',
    'users',
    '//evil.test/',
    '/\\evil.test/',
    '/..',
    '/../admin',
    '/a/../../admin',
    '/a/..',
    '/%2e%2e/admin',
    '/%2E./admin',
    '/a/..%2fadmin',
    '/a%2f..%2fadmin',
    '/a\\..\\admin',
    '/a/%5c..%5cadmin',
    '/a/%252e%252e/admin',
    '/a/..%252fadmin',
    '/a/.\t./admin',
    '/a\r\nHost: x',
    '/..?x',
  ])('refuses %j', (path) => {
    expect(() => resolvePath(bearer('https://api.example.com/v1'), path)).toThrow(
      expect.objectContaining({ code: 'invalid_input', retryable: false }),
    );
  });

  test('stays below the baseUrl, whatever the path', () => {
    const piece = fc.constantFrom(
      '/',
      '\\',
      '.',
      '..',
      '%2e',
      '%2f',
      '%5c',
      '%25',
      '@',
      ':',
      '?',
      '#',
      'a',
      '\t',
      '[',
      '\u00e9',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        let resolved: string;
        try {
          resolved = resolvePath(bearer('https://api.example.com/v1'), `/${pieces.join('')}`);
        } catch {
          return;
        }
        const url = new URL(resolved);
        expect(url.host).toBe('api.example.com');
        expect(url.username + url.password).toBe('');
        expect(url.pathname.startsWith('/v1/')).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('needs a credential with a baseUrl', () => {
    expect(() => resolvePath({ type: 'secret', data: { value: 'x' } }, '/a')).toThrow(/no baseUrl/);
  });
});

describe('resolveTarget', () => {
  const crm = bearer('https://crm.example.com/v2');
  const listed = new Map<string, Credential | undefined>([
    ['crm', crm],
    ['gone', undefined],
  ]);

  test.each([
    ['crm:/customers/7', { url: 'https://crm.example.com/v2/customers/7', credential: crm }],
    ['https://example.com/x', { url: 'https://example.com/x', credential: undefined }],
    ['https:/example.com/x', { url: 'https:/example.com/x', credential: undefined }],
    ['ftp://example.com/', { url: 'ftp://example.com/', credential: undefined }],
    ['file:/etc/passwd', { url: 'file:/etc/passwd', credential: undefined }],
    ['CRM:/customers', { url: 'CRM:/customers', credential: undefined }],
    ['/crm:/x', { url: '/crm:/x', credential: undefined }],
  ])('reads %s', (target, expected) => {
    expect(resolveTarget(target, listed)).toEqual(expected);
  });

  test.each([
    ['erp:/x', 'egress_denied', 'add it to the step: `credentials: [erp]`'],
    ['gone:/x', 'credential_missing', 'create it'],
    ['crm://evil.test/', 'invalid_input', 'one slash only'],
    ['crm:/../admin', 'invalid_input', '`..`'],
  ])('refuses %s as %s', (target, code, remedy) => {
    expect(() => resolveTarget(target, listed)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(remedy) }),
    );
  });
});
