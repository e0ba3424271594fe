import { createHmac, createPrivateKey, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../errors/app-error.ts';
import { verifySchema, type VerifyConfig } from './schemas.ts';
import type { SecretValue, VerifyResult } from './types.ts';
import { createVerifier } from './verify.ts';

const TS = 1_614_265_330;
const GITHUB_SECRET = "It's a Secret to Everybody";
const GITHUB_MAC = '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
const B2 = '{"test": 2432232314}';
const URL_ = 'https://hooks.example.com/hooks/abc';

type Headers = Readonly<Record<string, string>> | readonly string[];

interface Signed {
  readonly config: VerifyConfig;
  readonly secret: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signatureHeader: string;
  readonly body: Buffer;
}

function rawOf(headers: Headers): readonly string[] {
  return Array.isArray(headers) ? (headers as readonly string[]) : Object.entries(headers).flat();
}

function check(
  signed: Pick<Signed, 'config'> & { secrets: readonly SecretValue[] },
  headers: Headers,
  body: Buffer | string,
  nowMs = TS * 1000,
): VerifyResult {
  const request = { method: 'POST', url: URL_, rawHeaders: rawOf(headers), body: Buffer.from(body), nowMs };
  return createVerifier(signed.config, signed.secrets)(request);
}

const verifySigned = (
  signed: Signed,
  headers: Headers = signed.headers,
  body: Buffer = signed.body,
  nowMs?: number,
) => check({ config: signed.config, secrets: [{ value: signed.secret }] }, headers, body, nowMs);

const hex = (secret: string | Buffer, ...parts: (string | Buffer)[]): string => {
  const hmac = createHmac('sha256', secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest('hex');
};

const SW_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const swMac = (id: string, ts: string, body: Buffer, secret = SW_SECRET): string =>
  createHmac('sha256', Buffer.from(secret.slice(6), 'base64'))
    .update(`${id}.${ts}.`)
    .update(body)
    .digest('base64');

// RFC 8032, section 7.1, test 1
const ED_SEED = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
const ED_PUBLIC = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
const edKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), ED_SEED]),
  format: 'der',
  type: 'pkcs8',
});

/** A rightly signed request of each scheme. */
const SIGNERS: Readonly<Record<string, (body: Buffer, ts?: string) => Signed>> = {
  github: (body) => ({
    config: { scheme: 'github', credential: 'hook' },
    secret: 'gh-secret',
    headers: {
      'X-Hub-Signature-256': `sha256=${hex('gh-secret', body)}`,
      'X-GitHub-Delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
    },
    signatureHeader: 'X-Hub-Signature-256',
    body,
  }),
  stripe: (body, ts = String(TS)) => ({
    config: { scheme: 'stripe', credential: 'hook' },
    secret: 'whsec_test_secret',
    headers: { 'Stripe-Signature': `t=${ts},v1=${hex('whsec_test_secret', `${ts}.`, body)}` },
    signatureHeader: 'Stripe-Signature',
    body,
  }),
  slack: (body, ts = String(TS)) => ({
    config: { scheme: 'slack', credential: 'hook' },
    secret: 'slack-secret',
    headers: {
      'X-Slack-Request-Timestamp': ts,
      'X-Slack-Signature': `v0=${hex('slack-secret', `v0:${ts}:`, body)}`,
    },
    signatureHeader: 'X-Slack-Signature',
    body,
  }),
  'standard-webhooks': (body, ts = String(TS)) => ({
    config: { scheme: 'standard-webhooks', credential: 'hook' },
    secret: SW_SECRET,
    headers: {
      'webhook-id': 'msg_1',
      'webhook-timestamp': ts,
      'webhook-signature': `v1,${swMac('msg_1', ts, body)}`,
    },
    signatureHeader: 'webhook-signature',
    body,
  }),
  'standard-webhooks ed25519': (body, ts = String(TS)) => ({
    config: { scheme: 'standard-webhooks', credential: 'hook' },
    secret: `whpk_${ED_PUBLIC.toString('base64')}`,
    headers: {
      'svix-id': 'msg_1',
      'svix-timestamp': ts,
      'svix-signature': `v1a,${sign(null, Buffer.concat([Buffer.from(`msg_1.${ts}.`), body]), edKey).toString('base64')}`,
    },
    signatureHeader: 'svix-signature',
    body,
  }),
  hmac: (body, ts = String(TS)) => ({
    config: verifySchema.parse({
      scheme: 'hmac',
      credential: 'hook',
      header: 'X-Acme-Signature',
      algorithm: 'sha512',
      template: '{timestamp}:{id}:{body}',
      encoding: 'base64',
      prefix: 'v2 ',
      timestampHeader: 'X-Acme-Time',
      idHeader: 'X-Acme-Id',
    }),
    secret: 'k3y-of-acme',
    headers: {
      'X-Acme-Time': ts,
      'X-Acme-Id': 'd-7',
      'X-Acme-Signature': `v2 ${createHmac('sha512', 'k3y-of-acme').update(`${ts}:d-7:`).update(body).digest('base64')}`,
    },
    signatureHeader: 'X-Acme-Signature',
    body,
  }),
};
const SCHEMES = Object.keys(SIGNERS);
const TIMED = SCHEMES.filter((name) => name !== 'github');
const signer = (name: string) => SIGNERS[name]!; // names come from the table

const withSignature = (signed: Signed, value: string): Headers => ({
  ...signed.headers,
  [signed.signatureHeader]: value,
});
const signatureOf = (signed: Signed): string => signed.headers[signed.signatureHeader]!; // every signer sets it

describe('published vectors (W01)', () => {
  test('github', () => {
    const headers = {
      'X-Hub-Signature-256': `sha256=${GITHUB_MAC}`,
      'X-GitHub-Delivery': 'd1',
    };
    const secrets = [{ value: GITHUB_SECRET }];
    const result = check(
      { config: { scheme: 'github', credential: 'g' }, secrets },
      headers,
      'Hello, World!',
    );
    expect(result).toEqual({ ok: true, dedupeKey: 'd1' });
  });

  test.each(['webhook', 'svix'])('standard-webhooks v1 under %s-*', (family) => {
    const headers = {
      [`${family}-id`]: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      [`${family}-timestamp`]: String(TS),
      [`${family}-signature`]: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    };
    const config = { scheme: 'standard-webhooks', credential: 's' } as const;
    expect(check({ config, secrets: [{ value: SW_SECRET }] }, headers, B2)).toEqual({
      ok: true,
      dedupeKey: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    });
  });

  test('stripe', () => {
    const headers = {
      'Stripe-Signature': 't=1614265330,v1=3c5817089d739023dd6190f70a3757e04f7a2fd8b5dab12c2e000f51970dccff',
    };
    const signed = {
      config: { scheme: 'stripe', credential: 's' },
      secrets: [{ value: 'whsec_test_secret' }],
    } as const;
    expect(check(signed, headers, '{"id":"evt_test_webhook","object":"event"}')).toEqual({
      ok: true,
      dedupeKey: 'evt_test_webhook',
    });
  });

  test('slack, a slash command form', () => {
    const headers = {
      'X-Slack-Request-Timestamp': '1531420618',
      'X-Slack-Signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
    };
    const body =
      'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V' +
      '&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=' +
      '&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN' +
      '&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
    const secrets = [{ value: '8f742231b10e8888abcd99yyyzzz85a5' }];
    const config = { scheme: 'slack', credential: 's' } as const;
    expect(check({ config, secrets }, headers, body, 1_531_420_618_000)).toEqual({
      ok: true,
      dedupeKey: undefined,
    });
  });

  test.each([
    ['hex', GITHUB_SECRET, GITHUB_MAC, 'Hello, World!'],
    ['base64', 'hush', 'GSMkouYq910XCW7wBeiXYHW1KhmYc/L3xj5h5r26zw4=', B2],
  ])('hmac in %s, as GitHub and Shopify sign', (encoding, value, signature, body) => {
    const config = verifySchema.parse({
      scheme: 'hmac',
      credential: 'h',
      header: 'X-Sig',
      encoding,
    });
    expect(check({ config, secrets: [{ value }] }, { 'x-sig': signature }, body).ok).toBe(true);
    expect(check({ config, secrets: [{ value: `${value} ` }] }, { 'x-sig': signature }, body).ok).toBe(false);
  });
});

describe.each(SCHEMES)('%s', (name) => {
  const signed = signer(name)(Buffer.from(B2));

  test('accepts what is rightly signed', () => {
    expect(verifySigned(signed).ok).toBe(true);
  });

  test('refuses one flipped bit anywhere in body or signature (W02)', () => {
    const flip = (bytes: Buffer, bit: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy[bit >> 3] = copy[bit >> 3]! ^ (1 << (bit & 7)); // bit is inside the buffer
      return copy;
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.boolean(), (bytes, random, isBody) => {
        const request = signer(name)(Buffer.from(bytes));
        expect(verifySigned(request).ok).toBe(true);
        if (isBody && bytes.length > 0) {
          const body = flip(request.body, random % (bytes.length * 8));
          expect(verifySigned(request, request.headers, body).ok).toBe(false);
        } else {
          const signature = Buffer.from(signatureOf(request), 'latin1');
          const flipped = flip(signature, random % (signature.length * 8)).toString('latin1');
          expect(verifySigned(request, withSignature(request, flipped)).ok).toBe(false);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('refuses every single flipped bit of one signature (W02)', () => {
    const signature = signatureOf(signed);
    for (let at = 0; at < signature.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const code = String.fromCharCode(signature.charCodeAt(at) ^ (1 << bit));
        const flipped = signature.slice(0, at) + code + signature.slice(at + 1);
        expect(verifySigned(signed, withSignature(signed, flipped)).ok, flipped).toBe(false);
      }
    }
  });

  test('refuses a missing, empty, bare, cut or lengthened signature (W03, W13)', () => {
    const value = signatureOf(signed);
    const { [signed.signatureHeader]: _, ...rest } = signed.headers;
    expect(verifySigned(signed, rest).ok).toBe(false);
    const prefix = value.slice(0, Math.max(value.lastIndexOf('=', value.length - 3), value.indexOf(',')) + 1);
    const bad = [
      '',
      ' ',
      prefix,
      value.slice(0, -1),
      value.slice(0, -2),
      `${value}0`,
      `${value}00`,
      `${value}==`,
    ];
    for (const wrong of [
      ...bad,
      `${value} `,
      ` ${value}`,
      `${value},`,
      `${value} junk`,
      `${value},junk`,
      `x${value}`,
    ]) {
      expect(verifySigned(signed, withSignature(signed, wrong)).ok, JSON.stringify(wrong)).toBe(false);
    }
  });

  test('refuses digits that a lenient decoder would skip (W04)', () => {
    const value = signatureOf(signed);
    const withInside = (text: string): string => value.slice(0, -6) + text + value.slice(-6);
    for (const junk of ['zz', '\n', ' ', '-', '_', '*', 'é']) {
      expect(verifySigned(signed, withSignature(signed, withInside(junk))).ok, junk).toBe(false);
      const replaced = value.slice(0, -6) + junk + value.slice(-6 + junk.length);
      expect(verifySigned(signed, withSignature(signed, replaced)).ok, junk).toBe(false);
    }
  });

  test('refuses a repeated signature header, in any case, even when both are right (W05)', () => {
    const repeated = [...rawOf(signed.headers), signed.signatureHeader.toUpperCase(), signatureOf(signed)];
    expect(verifySigned(signed, repeated)).toEqual({
      ok: false,
      reason: `more than one ${signed.signatureHeader.toLowerCase()} header`,
    });
  });

  test('checks bytes, not text (W09)', () => {
    const bodies = ['a\r\nb\r\n', '\ufeff{}', '1.0', '{"a":1,"a":2}', '', ' {} ', '\u0000'].map((s) =>
      Buffer.from(s),
    );
    for (const body of [...bodies, Buffer.from([0xff, 0xfe, 0xc3, 0x28]), Buffer.alloc(1_048_576, 0x61)]) {
      expect(verifySigned(signer(name)(body)).ok).toBe(true);
    }
    const invalid = Buffer.from([0x22, 0xff, 0x22]);
    const replaced = Buffer.from(invalid.toString('utf8'));
    expect(verifySigned(signer(name)(invalid), undefined, replaced).ok).toBe(false);
  });

  test('accepts old and new secret until notAfter, and not a moment later (W10)', () => {
    const nowMs = TS * 1000;
    const other = name.endsWith('ed25519')
      ? `whpk_${Buffer.alloc(32, 7).toString('base64')}`
      : `whsec_${'A'.repeat(32)}`;
    const rotated = (notAfterMs: number): VerifyResult =>
      check(
        { config: signed.config, secrets: [{ value: other }, { value: signed.secret, notAfterMs }] },
        signed.headers,
        B2,
      );
    expect(rotated(nowMs + 1).ok).toBe(true);
    expect(rotated(nowMs).ok).toBe(true);
    expect(rotated(nowMs - 1)).toEqual({ ok: false, reason: 'the signature does not match' });
    const expired = [{ value: signed.secret, notAfterMs: nowMs - 1 }];
    expect(check({ config: signed.config, secrets: expired }, signed.headers, B2)).toEqual({
      ok: false,
      reason: 'every secret of the credential is past its notAfter',
    });
  });

  test('cannot be made without a secret (W12)', () => {
    expect(() => createVerifier(signed.config, [])).toThrow(AppError);
    expect(() => createVerifier(signed.config, [{ value: '' }])).toThrow(/holds no secret/);
  });

  test('gives reasons that hold neither the secret nor what was sent nor what was expected', () => {
    for (const value of [signatureOf(signed).replaceAll(/[0-9]/g, '7'), 'canary-in-header']) {
      const result = verifySigned(signed, withSignature(signed, value));
      if (result.ok) throw new Error('accepted');
      expect(result.reason).not.toMatch(/canary|[0-9a-f]{32}/);
      expect(result.reason).not.toContain(signed.secret);
    }
  });
});

describe.each(TIMED)('the timestamp of %s (W07)', (name) => {
  const at = (offsetS: number): VerifyResult => {
    const signed = signer(name)(Buffer.from(B2));
    return verifySigned(signed, signed.headers, signed.body, (TS + offsetS) * 1000);
  };

  test('may be up to 300 s off, either way', () => {
    for (const offset of [-300, -299, 0, 299, 300]) expect(at(offset).ok, String(offset)).toBe(true);
    for (const offset of [-301, 301, 3600, -3600]) expect(at(offset).ok, String(offset)).toBe(false);
  });

  test('is ten digits and nothing else, even when signed', () => {
    for (const ts of [
      '1614265330abc',
      '1e9',
      '-1',
      '1614265330000',
      '+1614265330',
      '1614265330.0',
      '0x60379132',
      '',
    ]) {
      expect(verifySigned(signer(name)(Buffer.from(B2), ts)).ok, ts).toBe(false);
    }
  });
});

describe('signature lists (W06)', () => {
  const body = Buffer.from(B2);
  const right = `v1=${hex('whsec_test_secret', `${TS}.`, body)}`;
  const stripe = signer('stripe')(body);
  const standard = signer('standard-webhooks')(body);
  const wrongMac = Buffer.alloc(32).toString('base64');

  test('accept when one of up to 20 entries is right', () => {
    const wrong = Array.from({ length: 18 }, () => `v1=${'0'.repeat(64)}`);
    const list = [`t=${TS}`, ...wrong, right];
    expect(verifySigned(stripe, withSignature(stripe, list.join(','))).ok).toBe(true);
    const swList = [...Array.from({ length: 19 }, () => `v1,${wrongMac}`), signatureOf(standard)];
    expect(verifySigned(standard, withSignature(standard, swList.join(' '))).ok).toBe(true);
    expect(verifySigned(standard, withSignature(standard, `v2,abc ${signatureOf(standard)}`)).ok).toBe(true);
  });

  test('are refused with more than 20 entries', () => {
    const wrong = Array.from({ length: 19 }, () => `v1=${'0'.repeat(64)}`);
    expect(verifySigned(stripe, withSignature(stripe, [`t=${TS}`, ...wrong, right].join(','))).ok).toBe(
      false,
    );
    const swList = [signatureOf(standard), ...Array.from({ length: 20 }, () => `v1,${wrongMac}`)];
    expect(verifySigned(standard, withSignature(standard, swList.join(' '))).ok).toBe(false);
  });

  test('of Stripe ignore every scheme but v1, and take one t only', () => {
    const v0 = right.replace('v1=', 'v0=');
    expect(verifySigned(stripe, withSignature(stripe, `t=${TS},${v0}`)).ok).toBe(false);
    expect(verifySigned(stripe, withSignature(stripe, `t=${TS},v0=junk,${right}`)).ok).toBe(true);
    expect(verifySigned(stripe, withSignature(stripe, `t=${TS},t=${TS},${right}`)).ok).toBe(false);
    expect(verifySigned(stripe, withSignature(stripe, right)).ok).toBe(false);
  });

  test('do not let an ed25519 signature pass as an HMAC or the other way round', () => {
    const ed = signer('standard-webhooks ed25519')(body);
    expect(verifySigned(ed, withSignature(ed, signatureOf(ed).replace('v1a,', 'v1,'))).ok).toBe(false);
    expect(
      verifySigned(standard, withSignature(standard, signatureOf(standard).replace('v1,', 'v1a,'))).ok,
    ).toBe(false);
  });
});

describe('standard-webhooks', () => {
  test('refuses an id with a full stop, which would make the signed text ambiguous', () => {
    const body = Buffer.from(B2);
    const headers = {
      'webhook-id': 'msg.1',
      'webhook-timestamp': String(TS),
      'webhook-signature': `v1,${swMac('msg.1', String(TS), body)}`,
    };
    expect(verifySigned(signer('standard-webhooks')(body), headers).ok).toBe(false);
  });

  test.each([
    ['whsk_AAAA', /private signing key/],
    ['whpk_AAAA', /32-byte/],
    ['whsec_not base64!', /not base64/],
  ])('refuses %s as a secret, saying why but not what', (value, message) => {
    const make = () => createVerifier({ scheme: 'standard-webhooks', credential: 'hook' }, [{ value }]);
    expect(make).toThrow(message);
    expect(make).not.toThrow(value);
  });
});

describe('hmac', () => {
  test('refuses bytes moved from the body into a signed id', () => {
    const signed = signer('hmac')(Buffer.from('x:{"a":1}'));
    const shifted = { ...signed.headers, 'X-Acme-Id': 'd-7:x' };
    expect(verifySigned(signed, shifted, Buffer.from('{"a":1}')).ok).toBe(false);
  });

  test('takes hex in either case, but not mixed', () => {
    const config = verifySchema.parse({ scheme: 'hmac', credential: 'h', header: 'X-Sig' });
    const mac = hex('k', B2);
    const verify = (value: string) => check({ config, secrets: [{ value: 'k' }] }, { 'X-Sig': value }, B2).ok;
    expect([verify(mac), verify(mac.toUpperCase())]).toEqual([true, true]);
    expect(verify(mac.replace(/[a-f]/, (c) => c.toUpperCase()))).toBe(false);
  });

  test('holds a narrower tolerance', () => {
    const config = { ...signer('hmac')(Buffer.from(B2)).config, toleranceS: 10 } as VerifyConfig;
    const signed = { ...signer('hmac')(Buffer.from(B2)), config };
    expect(verifySigned(signed, undefined, undefined, (TS + 10) * 1000).ok).toBe(true);
    expect(verifySigned(signed, undefined, undefined, (TS + 11) * 1000).ok).toBe(false);
  });
});

describe('dedupe keys', () => {
  const keyOf = (name: string, body: string, extra: Headers = {}): string | undefined => {
    const signed = signer(name)(Buffer.from(body));
    const result = verifySigned(signed, [...rawOf(signed.headers), ...rawOf(extra)]);
    if (!result.ok) throw new Error(result.reason);
    return result.dedupeKey;
  };

  test.each([
    ['github', B2, '72d3162e-cc78-11e3-81ab-4c9367dc0958'],
    ['standard-webhooks', B2, 'msg_1'],
    ['standard-webhooks ed25519', B2, 'msg_1'],
    ['hmac', B2, 'd-7'],
    ['stripe', '{"id":"evt_1"}', 'evt_1'],
    ['stripe', ' \r\n{"id":"evt_1"}', 'evt_1'],
    ['stripe', '{"id":"evt_1","data":{"id":"ch_2"}}', 'evt_1'],
    ['stripe', '{"data":{"id":"ch_2"}}', undefined],
    ['stripe', '{"id":7}', undefined],
    ['stripe', '{"id":""}', undefined],
    ['stripe', `{"id":"${'x'.repeat(256)}"}`, undefined],
    ['stripe', '{"id":"a\\nb"}', undefined],
    ['stripe', '["id"]', undefined],
    ['stripe', '"id"', undefined],
    ['stripe', '{"id":"evt_1"', undefined],
    ['stripe', '', undefined],
    ['slack', '{"type":"event_callback","event_id":"Ev08"}', 'Ev08'],
    ['slack', 'payload=%7B%22event_id%22%3A%22Ev08%22%7D', undefined],
  ])('of %s for %s', (name, body, key) => {
    expect(keyOf(name, body)).toBe(key);
  });

  test('survive a body nested 500,000 deep', () => {
    expect(keyOf('stripe', `{"id":"evt_1","x":${'['.repeat(500_000)}${']'.repeat(500_000)}}`)).toBeTypeOf(
      'string',
    );
  });

  test('of an unsigned id header are left out when it is repeated', () => {
    expect(keyOf('github', B2, { 'x-github-delivery': 'other' })).toBeUndefined();
  });

  test('come from Idempotency-Key where the scheme has no id of its own', () => {
    const none = { config: { scheme: 'none' } as const, secrets: [] };
    const key = (value: string) => check(none, { 'Idempotency-Key': value }, '');
    expect(key('abc def')).toEqual({ ok: true, dedupeKey: 'abc def' });
    expect(key('x'.repeat(255))).toEqual({ ok: true, dedupeKey: 'x'.repeat(255) });
    for (const bad of ['', 'x'.repeat(256), 'café', 'a\tb', ' a']) {
      expect(key(bad), bad).toEqual({ ok: true, dedupeKey: undefined });
    }
    expect(check(none, {}, '')).toEqual({ ok: true, dedupeKey: undefined });
    const config = verifySchema.parse({ scheme: 'hmac', credential: 'h', header: 'X-Sig' });
    const headers = { 'X-Sig': hex('k', B2), 'idempotency-key': 'i1' };
    expect(check({ config, secrets: [{ value: 'k' }] }, headers, B2)).toEqual({ ok: true, dedupeKey: 'i1' });
  });
});

describe('Slack’s url_verification (W14)', () => {
  const challenge = '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P';
  const body = Buffer.from(JSON.stringify({ token: 't', challenge, type: 'url_verification' }));

  test('is answered with the challenge as plain text', () => {
    expect(verifySigned(signer('slack')(body))).toEqual({
      ok: true,
      handshake: { status: 200, contentType: 'text/plain; charset=utf-8', body: challenge },
    });
  });

  test('is refused unsigned', () => {
    const signed = signer('slack')(body);
    expect(verifySigned(signed, {}).ok).toBe(false);
    expect(verifySigned(signed, withSignature(signed, `v0=${'0'.repeat(64)}`)).ok).toBe(false);
  });

  test.each(['<script>alert(1)</script>', 'a\r\nb', '', 'x'.repeat(257), 7, null])(
    'does not echo the challenge %j',
    (odd) => {
      const request = Buffer.from(JSON.stringify({ type: 'url_verification', challenge: odd }));
      expect(verifySigned(signer('slack')(request))).toEqual({ ok: true, dedupeKey: undefined });
    },
  );
});
