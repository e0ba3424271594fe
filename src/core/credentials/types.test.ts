import { describe, expect, test } from 'vitest';
import {
  CREDENTIAL_TYPES,
  credentialNameSchema,
  credentialSchema,
  parseHostPattern,
  secretValuesOf,
  sensitiveValuesOf,
} from './types.ts';

const baseUrl = 'https://api.example.com/v1';

const issuesOf = (payload: unknown): string =>
  (credentialSchema.safeParse(payload).error?.issues ?? [])
    .map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    .join('\n');

describe('credentialSchema', () => {
  test.each([
    { type: 'secret', data: { value: ' kept as it is\n' } },
    { type: 'secret', data: { value: 'a', previous: { value: 'b', notAfter: '2026-01-31T00:00:00+01:00' } } },
    { type: 'bearer', data: { token: 't0k.en', baseUrl } },
    {
      type: 'bearer',
      data: { token: 't', baseUrl: 'http://127.0.0.1:9000', allowedHosts: ['*.example.com', 'a:8443'] },
    },
    { type: 'basic', data: { username: '', password: '', baseUrl } },
    { type: 'basic', data: { username: 'jörg', password: 'pässword: ', baseUrl } },
    { type: 'api-key', data: { in: 'header', name: 'X-Api-Key', value: 'v', baseUrl } },
    { type: 'api-key', data: { in: 'query', name: 'api key', value: 'v', baseUrl } },
  ])('takes %j', (payload) => {
    expect(credentialSchema.parse(payload)).toEqual(payload);
  });

  test.each([
    [{ type: 'oauth2', data: {} }, /^type/],
    [{ type: 'secret', data: { value: '' } }, /data\.value: must not be empty/],
    [{ type: 'secret', data: { value: 'a', extra: 1 } }, /extra/],
    [
      { type: 'secret', data: { value: 'a', previous: { value: 'b', notAfter: 'soon' } } },
      /notAfter: .*RFC 3339/,
    ],
    [{ type: 'secret', data: { value: 'a', previous: { value: 'b', notAfter: '2026-01-31' } } }, /RFC 3339/],
    [{ type: 'bearer', data: { token: 't\n', baseUrl } }, /data\.token: .*line break/],
    [{ type: 'bearer', data: { token: 'a\r\nHost: x', baseUrl } }, /data\.token/],
    [{ type: 'bearer', data: { token: 'clé', baseUrl } }, /data\.token/],
    [{ type: 'bearer', data: { token: 't' } }, /data\.baseUrl/],
    [
      { type: 'bearer', data: { token: 't', baseUrl: 'ftp://x' } },
      /data\.baseUrl: must be an http or https URL/,
    ],
    [{ type: 'bearer', data: { token: 't', baseUrl: 'https://u:p@x' } }, /data\.baseUrl/],
    [{ type: 'bearer', data: { token: 't', baseUrl: 'https://x/?a' } }, /data\.baseUrl/],
    [{ type: 'bearer', data: { token: 't', baseUrl: 'https://x/#a' } }, /data\.baseUrl/],
    [{ type: 'bearer', data: { token: 't', baseUrl: 'https:\\\\x' } }, /data\.baseUrl/],
    [{ type: 'bearer', data: { token: 't', baseUrl, allowedHosts: ['*'] } }, /allowedHosts\.0/],
    [{ type: 'bearer', data: { token: 't', baseUrl, allowedHosts: ['*.com'] } }, /two labels/],
    [
      { type: 'basic', data: { username: 'a:b', password: 'p', baseUrl } },
      /data\.username: must hold no colon/,
    ],
    [{ type: 'basic', data: { username: 'a', password: 'p\n', baseUrl } }, /data\.password/],
    [{ type: 'api-key', data: { in: 'cookie', name: 'a', value: 'v', baseUrl } }, /data\.in/],
    [
      { type: 'api-key', data: { in: 'header', name: 'a b', value: 'v', baseUrl } },
      /data\.name: must be a header/,
    ],
    [{ type: 'api-key', data: { in: 'header', name: 'Host', value: 'v', baseUrl } }, /data\.name: .*frame/],
  ])('refuses %j', (payload, message) => {
    expect(issuesOf(payload)).toMatch(message);
  });

  test('never repeats a value in an issue', () => {
    expect(issuesOf({ type: 'bearer', data: { token: 'canary\n', baseUrl: 'canary' } })).not.toContain(
      'canary',
    );
    expect(issuesOf({ type: 'secret', data: { value: 7, valeu: 'canary' } })).not.toContain('canary');
  });

  test('covers each listed type', () => {
    expect(credentialSchema.options.map((option) => option.shape.type.value)).toEqual(CREDENTIAL_TYPES);
  });
});

describe('credential names', () => {
  test.each(['crm', 'stripe-webhook', 'a1-2', 'x'.repeat(63)])('takes %s', (name) => {
    expect(credentialNameSchema.safeParse(name).success).toBe(true);
  });

  test.each([
    '',
    'A',
    '1a',
    '-a',
    'a-',
    'a--b',
    'a_b',
    'a.b',
    'é',
    'x'.repeat(64),
    'http',
    'https',
    'file',
    'a\n',
  ])('refuses %j', (name) => {
    expect(credentialNameSchema.safeParse(name).success).toBe(false);
  });
});

describe('parseHostPattern', () => {
  test.each([
    ['api.example.com', { host: 'api.example.com', port: undefined, isSuffix: false }],
    ['API.Example.com:8443', { host: 'api.example.com', port: '8443', isSuffix: false }],
    ['api.example.com:443', { host: 'api.example.com', port: '443', isSuffix: false }],
    ['*.example.com', { host: 'example.com', port: undefined, isSuffix: true }],
    ['*.example.com:8080', { host: 'example.com', port: '8080', isSuffix: true }],
    ['bücher.example', { host: 'xn--bcher-kva.example', port: undefined, isSuffix: false }],
    ['127.0.0.1:9000', { host: '127.0.0.1', port: '9000', isSuffix: false }],
    ['[::1]:9000', { host: '[::1]', port: '9000', isSuffix: false }],
    ['[::1]', { host: '[::1]', port: undefined, isSuffix: false }],
  ])('reads %s', (entry, pattern) => {
    expect(parseHostPattern(entry)).toEqual(pattern);
  });

  test.each([
    '',
    '*',
    '*.',
    '*.com',
    'a.*.com',
    'https://x',
    'x/y',
    'u@x',
    'x:',
    'x:99999',
    'x y',
    'x?y',
    '*.0.0.1',
    '*.[::1]',
    'x\\y',
  ])('refuses %j', (entry) => {
    expect(parseHostPattern(entry)).toBeUndefined();
  });
});

test('secretValuesOf gives the current value and, while it lasts, the previous one', () => {
  expect(secretValuesOf({ type: 'secret', data: { value: 'new' } })).toEqual([{ value: 'new' }]);
  const previous = { value: 'old', notAfter: '1970-01-01T00:00:01Z' };
  expect(secretValuesOf({ type: 'secret', data: { value: 'new', previous } })).toEqual([
    { value: 'new' },
    { value: 'old', notAfterMs: 1000 },
  ]);
});

test('sensitiveValuesOf names what has to be redacted, the Basic header value too', () => {
  expect(sensitiveValuesOf({ type: 'bearer', data: { token: 't', baseUrl } })).toEqual(['t']);
  expect(sensitiveValuesOf({ type: 'basic', data: { username: 'u', password: 'p', baseUrl } })).toEqual([
    'p',
    'dTpw',
  ]);
  expect(
    sensitiveValuesOf({
      type: 'secret',
      data: { value: 'n', previous: { value: 'o', notAfter: '2026-01-01T00:00:00Z' } },
    }),
  ).toEqual(['n', 'o']);
});
