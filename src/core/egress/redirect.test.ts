import { describe, expect, test } from 'vitest';
import { isRedirect, nextHop, type Hop } from './redirect.ts';

const hop = (method: string, url = 'https://api.example.com/a/b?c'): Hop => ({
  url: new URL(url),
  method,
  headers: new Map([
    ['authorization', 'Bearer canary'],
    ['x-api-key', 'canary'],
    ['content-type', 'application/json'],
    ['accept', '*/*'],
  ]),
  body: Buffer.from('body'),
});

describe('nextHop', () => {
  test.each([
    [301, 'GET', 'GET', true],
    [301, 'POST', 'GET', false],
    [301, 'PUT', 'PUT', true],
    [302, 'POST', 'GET', false],
    [302, 'DELETE', 'DELETE', true],
    [303, 'GET', 'GET', true],
    [303, 'HEAD', 'HEAD', true],
    [303, 'POST', 'GET', false],
    [303, 'PUT', 'GET', false],
    [307, 'POST', 'POST', true],
    [308, 'PUT', 'PUT', true],
  ])('after %i to %s sends %s, with the body: %s', (status, method, next, hasBody) => {
    const result = nextHop(hop(method), status, '/next');
    expect([result.method, result.body !== undefined, result.headers.has('content-type')]).toEqual([
      next,
      hasBody,
      hasBody,
    ]);
    expect(result.headers.get('authorization')).toBe('Bearer canary');
  });

  test.each([
    ['/x', 'https://api.example.com/x'],
    ['x', 'https://api.example.com/a/x'],
    ['?y', 'https://api.example.com/a/b?y'],
    ['https://api.example.com:443/z', 'https://api.example.com/z'],
    ['//other.example.net/z', 'https://other.example.net/z'],
  ])('reads Location %s relative to the URL before', (location, url) => {
    expect(nextHop(hop('GET'), 302, location).url.href).toBe(url);
  });

  test.each([
    'https://api.example.com:8443/',
    'https://example.com/',
    'https://api.example.com.evil.test/',
    '//evil.test',
  ])('sends no header to %s that could carry a credential', (location) => {
    expect([...nextHop(hop('PUT'), 307, location).headers.keys()]).toEqual(['content-type', 'accept']);
  });

  test('does not leave https', () => {
    expect(() => nextHop(hop('GET'), 302, 'http://api.example.com/')).toThrow(/from https to http/);
    expect(nextHop(hop('GET', 'http://api.example.com/'), 302, 'https://api.example.com/').url.protocol).toBe(
      'https:',
    );
  });

  test('refuses a Location that is no URL', () => {
    expect(() => nextHop(hop('GET'), 302, 'http://[')).toThrow(
      expect.objectContaining({ code: 'redirect_denied' }),
    );
  });
});

test.each([
  [301, '/', true],
  [302, '/', true],
  [303, '/', true],
  [307, '/', true],
  [308, '/', true],
  [302, undefined, false],
  [200, '/', false],
  [201, '/', false],
  [300, '/', false],
  [304, '/', false],
  [305, '/', false],
])('isRedirect %i with Location %s: %s', (status, location, expected) => {
  expect(isRedirect(status, location)).toBe(expected);
});
