import { describe, expect, test } from 'vitest';
import { valueCompiler } from '../values.ts';
import { http, isOkStatus } from './http.ts';

const compile = (
  body: Parameters<typeof http.compile>[0]['http'],
  keys: Omit<Parameters<typeof http.compile>[0], 'http'> = {},
) => http.compile({ ...keys, http: body }, valueCompiler(['trigger']));
const scope = { trigger: { path: 'x:/y' } };

describe('a compiled http step', () => {
  test('has its defaults', () => {
    expect(compile({ url: 'https://example.com/' })).toMatchObject({
      method: 'GET',
      relativeToCredential: false,
      credential: undefined,
      headers: undefined,
      query: undefined,
      body: undefined,
      okStatus: [],
      followRedirects: true,
      maxResponseBytes: undefined,
      egress: undefined,
    });
  });

  test('may call every host, unless it says which', () => {
    const { egress } = compile(
      { url: 'https://example.com/' },
      { egress: ['example.com', '*.example.org:8443'] },
    );
    expect(egress).toEqual([
      { host: 'example.com', port: undefined, isSuffix: false },
      { host: 'example.org', port: '8443', isSuffix: true },
    ]);
    expect(compile({ url: 'https://example.com/' }, { egress: [] }).egress).toEqual([]);
  });

  test('takes the credential from before the path', () => {
    const step = compile({ url: 'crm:/customers/${{ trigger.path }}' });
    expect(step).toMatchObject({ relativeToCredential: true, credential: 'crm' });
    expect(step.url.evaluate(scope)).toBe('/customers/x:/y');
  });

  test('never takes a credential from data', () => {
    const step = compile({ url: '${{ trigger.path }}' });
    expect(step).toMatchObject({ relativeToCredential: false, credential: undefined });
    expect(step.url.evaluate(scope)).toBe('x:/y');
  });

  test('keeps a body of null apart from none', () => {
    expect(
      compile({ method: 'POST', url: 'https://example.com/', body: null }).body?.evaluate(scope),
    ).toBeNull();
  });
});

test('isOkStatus takes what is below 400 and what is listed', () => {
  const step = compile({ url: 'https://example.com/', okStatus: [404, '410-412', '5xx', '429'] });
  const ok = [200, 204, 301, 399, 404, 410, 411, 412, 429, 500, 503, 599];
  const failed = [400, 403, 405, 409, 413, 428, 430, 499];
  expect(ok.filter((status) => !isOkStatus(step, status))).toEqual([]);
  expect(failed.filter((status) => isOkStatus(step, status))).toEqual([]);
});
