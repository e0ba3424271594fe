import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  hostOf,
  isAllowedPrivate,
  isDeniedAddress,
  networkOf,
  normalizeAddress,
  parseAllowPrivate,
} from './addresses.ts';

describe('isDeniedAddress', () => {
  test.each([
    ['0.0.0.0', '0.0.0.0/8'],
    ['0.255.255.255', '0.0.0.0/8'],
    ['10.0.0.1', '10.0.0.0/8'],
    ['10.255.255.255', '10.0.0.0/8'],
    ['100.64.0.0', '100.64.0.0/10'],
    ['100.127.255.255', '100.64.0.0/10'],
    ['127.0.0.1', '127.0.0.0/8'],
    ['127.255.255.254', '127.0.0.0/8'],
    ['169.254.169.254', '169.254.0.0/16'],
    ['172.16.0.0', '172.16.0.0/12'],
    ['172.31.255.255', '172.16.0.0/12'],
    ['192.0.0.170', '192.0.0.0/24'],
    ['192.0.2.1', '192.0.2.0/24'],
    ['192.88.99.1', '192.88.99.0/24'],
    ['192.168.1.1', '192.168.0.0/16'],
    ['198.18.0.0', '198.18.0.0/15'],
    ['198.19.255.255', '198.18.0.0/15'],
    ['198.51.100.7', '198.51.100.0/24'],
    ['203.0.113.7', '203.0.113.0/24'],
    ['224.0.0.1', '224.0.0.0/4'],
    ['239.255.255.255', '224.0.0.0/4'],
    ['240.0.0.1', '240.0.0.0/4'],
    ['255.255.255.255', '240.0.0.0/4'],
    ['168.63.129.16', '168.63.129.16/32'],
    ['::', '::/128'],
    ['::1', '::1/128'],
    ['0:0:0:0:0:0:0:1', '::1/128'],
    ['::ffff:127.0.0.1', '127.0.0.0/8'],
    ['::ffff:7f00:1', '127.0.0.0/8'],
    ['::FFFF:169.254.169.254', '169.254.0.0/16'],
    ['::127.0.0.1', 'outside 2000::/3'],
    ['::8.8.8.8', 'outside 2000::/3'],
    ['64:ff9b::a00:1', '64:ff9b::/96 (NAT64 of 10.0.0.1)'],
    ['64:ff9b::8.8.8.8', '64:ff9b::/96'],
    ['64:ff9b:1::1', '64:ff9b:1::/48'],
    ['100::1', '100::/64'],
    ['2001::1', '2001::/32'],
    ['2001:0:4136:e378:8000:63bf:80ff:fffe', '2001::/32 (Teredo of 127.0.0.1)'],
    ['2001:db8::1', '2001:db8::/32'],
    ['2002:7f00:1::', '2002::/16 (6to4 of 127.0.0.1)'],
    ['3fff::1', '3fff::/20'],
    ['5f00::1', '5f00::/16'],
    ['fc00::1', 'fc00::/7'],
    ['fdff:ffff::1', 'fc00::/7'],
    ['fe80::1', 'fe80::/10'],
    ['fe80::1%eth0', 'fe80::/10'],
    ['febf::1', 'fe80::/10'],
    ['fec0::1', 'outside 2000::/3'],
    ['ff02::1', 'ff00::/8'],
    ['4000::1', 'outside 2000::/3'],
    ['', 'not an IP address'],
    ['example.com', 'not an IP address'],
    ['127.1', 'not an IP address'],
    ['0x7f.0.0.1', 'not an IP address'],
    ['2130706433', 'not an IP address'],
    ['010.0.0.1', 'not an IP address'],
    ['1.2.3.4.5', 'not an IP address'],
    ['1::2::3', 'not an IP address'],
  ])('denies %s by %s', (ip, rule) => {
    expect(isDeniedAddress(ip)).toContain(rule);
  });

  test.each([
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '169.253.255.255',
    '172.15.255.255',
    '172.32.0.0',
    '192.0.1.0',
    '192.167.255.255',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '168.63.129.15',
    '::ffff:8.8.8.8',
    '2606:4700:4700::1111',
    '2001:4860:4860::8888',
    '2001:1::1',
    '2003::1',
    '3ffe::1',
  ])('lets %s pass', (ip) => {
    expect(isDeniedAddress(ip)).toBeUndefined();
  });

  test('judges v4-mapped IPv6 as it judges the IPv4 address', () => {
    fc.assert(
      fc.property(fc.ipV4(), (ip) => {
        expect(isDeniedAddress(`::ffff:${ip}`)).toBe(isDeniedAddress(ip));
      }),
    );
  });

  test('denies the platform’s own addresses and networks', () => {
    const own = [networkOf('8.8.8.8'), networkOf('2606:4700::%eth0'), networkOf('9.9.0.0/16')];
    expect(isDeniedAddress('8.8.8.8', own)).toContain('platform’s own');
    expect(isDeniedAddress('::ffff:8.8.8.8', own)).toContain('platform’s own');
    expect(isDeniedAddress('2606:4700::', own)).toContain('platform’s own');
    expect(isDeniedAddress('9.9.9.9', own)).toContain('9.9.0.0/16');
    expect(isDeniedAddress('8.8.4.4', own)).toBeUndefined();
    expect(() => networkOf('eth0')).toThrow(/`eth0` is no network/);
  });
});

describe('parseAllowPrivate', () => {
  test('reads an empty text as nothing', () => {
    expect(parseAllowPrivate('')).toEqual([]);
    expect(parseAllowPrivate(' , ')).toEqual([]);
  });

  test.each([
    ['10.0.0.0/8', '10.9.9.9', '10.9.9.9', 443, true],
    ['10.0.0.0/8', 'db.example.com', '10.9.9.9', 443, true],
    ['10.0.0.0/8', 'x', '::ffff:10.9.9.9', 443, true],
    ['10.0.0.0/8', 'x', '11.0.0.1', 443, false],
    ['10.1.2.3/32', 'x', '10.1.2.4', 443, false],
    ['fd00::/8', 'x', 'fd12::1', 80, true],
    ['fd00::/8', 'x', '10.0.0.1', 80, false],
    ['0.0.0.0/0', 'x', '127.0.0.1', 80, true],
    ['127.0.0.1:9000', '127.0.0.1', '127.0.0.1', 9000, true],
    ['127.0.0.1:9000', '127.0.0.1', '127.0.0.1', 9001, false],
    ['127.0.0.1:9000', 'localhost', '127.0.0.1', 9000, true],
    ['127.0.0.1:9000', '127.0.0.2', '127.0.0.2', 9000, false],
    ['[::1]:9000', '::1', '::1', 9000, true],
    ['localhost:9000', 'localhost', '::1', 9000, true],
    ['LOCALHOST:9000', 'localhost', '127.0.0.1', 9000, true],
    ['localhost:9000', '127.0.0.1', '127.0.0.1', 9000, false],
    ['crm.internal:443', 'crm.internal', '10.1.1.1', 443, true],
    ['crm.internal:443', 'evil.crm.internal', '10.1.1.1', 443, false],
    [' 10.0.0.0/8 , crm.internal:443', 'crm.internal', '192.168.0.1', 443, true],
  ])('%s, for %s at %s port %i: %s', (text, host, ip, port, allowed) => {
    expect(isAllowedPrivate(parseAllowPrivate(text), host, ip, port)).toBe(allowed);
  });

  test.each([
    ['127.0.0.1', /`127\.0\.0\.1` has no port; write 127\.0\.0\.1:port, or 127\.0\.0\.1\/32/],
    ['::1', /`::1` has no port; write \[::1\]:port, or ::1\/128/],
    ['localhost', /`localhost` has no port; write host:port/],
    ['localhost:', /1 to 65535/],
    ['localhost:0', /1 to 65535/],
    ['localhost:65536', /1 to 65535/],
    ['localhost:http', /1 to 65535/],
    ['http://localhost:80', /is a URL/],
    ['10.0.0.0/33', /prefix length of 0 to 32/],
    ['fd00::/129', /prefix length of 0 to 128/],
    ['10.0.0.0/', /prefix length/],
    ['10.0.0/8', /is no network/],
    ['localhost/8', /is no network/],
    ['10.0.0.0/8/8', /is no network/],
    ['::ffff:10.0.0.0/104', /v4-mapped/],
    ['user@host:80', /host name/],
    ['*.internal:80', /host name/],
    ['10.0.0.0/33, ok:1, nope', /`10\.0\.0\.0\/33` .*; `nope` has no port/],
  ])('refuses %s', (text, message) => {
    expect(() => parseAllowPrivate(text)).toThrow(message);
  });
});

test('normalizeAddress gives each address one spelling', () => {
  expect(normalizeAddress('::ffff:127.0.0.1')).toBe('127.0.0.1');
  expect(normalizeAddress('0:0:0::1')).toBe('::1');
  expect(normalizeAddress('localhost')).toBeUndefined();
});

test.each([
  ['http://Example.COM./', 'example.com'],
  ['http://[::FFFF:7f00:1]/', '127.0.0.1'],
  ['http://0x7f.1/', '127.0.0.1'],
])('hostOf %s is %s', (url, host) => {
  expect(hostOf(new URL(url))).toBe(host);
});
