import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseHostPattern, type HostPattern } from '../credentials/types.ts';
import { isAllowed, ruleFor } from './allow-list.ts';

const rules = (...entries: readonly string[]): readonly HostPattern[] =>
  entries.map((entry) => parseHostPattern(entry)!); // each of these can be read
const allows = (entry: string, url: string): boolean => isAllowed(rules(entry), new URL(url));

describe('an exact host', () => {
  test.each([
    ['https://api.example.com/v1?x=1#y', true],
    ['http://api.example.com/', true],
    ['https://API.Example.com:443/', true],
    ['https://api.example.com./', true],
    ['https://api.example.com:8443/', false],
    ['http://api.example.com:443/', false],
    ['https://example.com/', false],
    ['https://x.api.example.com/', false],
    ['https://api.example.com.evil.example/', false],
    ['https://evil.example/api.example.com', false],
    ['https://api.example.com@evil.example/', false],
    ['https://evil.example\\@api.example.com/', false],
    ['https://apixexample.com/', false],
    ['ftp://api.example.com/', false],
    ['wss://api.example.com/', false],
  ])('`api.example.com` and %s: %s', (url, expected) => {
    expect(allows('api.example.com', url)).toBe(expected);
  });
});

describe('a port', () => {
  test.each([
    ['api.example.com:8443', 'https://api.example.com:8443/', true],
    ['api.example.com:8443', 'http://api.example.com:8443/', true],
    ['api.example.com:8443', 'https://api.example.com/', false],
    ['api.example.com:443', 'https://api.example.com/', true],
    ['api.example.com:443', 'http://api.example.com/', false],
    ['api.example.com:80', 'http://api.example.com/', true],
    ['*.example.com:8443', 'https://a.example.com:8443/', true],
    ['*.example.com:8443', 'https://a.example.com/', false],
  ])('%s and %s: %s', (entry, url, expected) => {
    expect(allows(entry, url)).toBe(expected);
  });
});

describe('a suffix', () => {
  test.each([
    ['https://a.example.com/', true],
    ['https://a.b.example.com/', true],
    ['https://a.example.com./', true],
    ['https://example.com/', false],
    ['https://notexample.com/', false],
    ['https://a.example.com.evil.example/', false],
    ['https://127.0.0.1/', false],
  ])('`*.example.com` and %s: %s', (url, expected) => {
    expect(allows('*.example.com', url)).toBe(expected);
  });
});

describe('an address', () => {
  test.each([
    ['127.0.0.1:8080', 'http://127.0.0.1:8080/', true],
    ['127.0.0.1:8080', 'http://2130706433:8080/', true], // the same address, spelled otherwise
    ['127.0.0.1:8080', 'http://127.0.0.2:8080/', false],
    ['127.0.0.1:8080', 'http://[::ffff:127.0.0.1]:8080/', false],
    ['[2606:4700::1]', 'https://[2606:4700:0:0::1]/', true],
  ])('%s and %s: %s', (entry, url, expected) => {
    expect(allows(entry, url)).toBe(expected);
  });
});

test('no rule allows anything', () => {
  expect(isAllowed([], new URL('https://example.com/'))).toBe(false);
});

test('a host in an internationalised spelling is the same as its punycode', () => {
  expect(allows('bücher.example', 'https://xn--bcher-kva.example/')).toBe(true);
  expect(allows('xn--bcher-kva.example', 'https://BÜCHER.example/')).toBe(true);
});

test('the rule for a URL allows it, and no other host or port', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
  const urls = fc
    .tuple(fc.constantFrom('http', 'https'), label, label, fc.option(fc.integer({ min: 1, max: 65_535 })))
    .map(
      ([scheme, a, b, port]) => new URL(`${scheme}://${a}.${b}.example${port === null ? '' : `:${port}`}/`),
    );
  fc.assert(
    fc.property(urls, urls, (url, other) => {
      const rule = rules(ruleFor(url));
      expect(isAllowed(rule, url)).toBe(true);
      if (other.hostname !== url.hostname) expect(isAllowed(rule, other)).toBe(false);
    }),
  );
});
