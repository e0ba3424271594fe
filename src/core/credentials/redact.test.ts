import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRedactor, REDACTED } from './redact.ts';

const CANARY = 'c@nary/sècret+"1"\\\n%';

describe('text', () => {
  const { text } = createRedactor([CANARY]);

  test.each([
    ['as it is', CANARY],
    ['JSON-escaped', JSON.stringify(CANARY).slice(1, -1)],
    ['JSON in JSON', JSON.stringify(JSON.stringify(CANARY)).slice(3, -3)],
    ['JSON with escaped slashes', JSON.stringify(CANARY).slice(1, -1).replaceAll('/', '\\/')],
    ['JSON in ASCII', JSON.stringify(CANARY).slice(1, -1).replaceAll('è', '\\u00e8')],
    ['JSON in ASCII, upper case', JSON.stringify(CANARY).slice(1, -1).replaceAll('è', '\\u00E8')],
    ['encodeURIComponent', encodeURIComponent(CANARY)],
    [
      'URL-encoded in lower case',
      encodeURIComponent(CANARY).replaceAll(/%../g, (code) => code.toLowerCase()),
    ],
    ['form-encoded', new URLSearchParams({ s: CANARY }).toString().slice(2)],
    ['base64', Buffer.from(CANARY).toString('base64')],
    ['base64url', Buffer.from(CANARY).toString('base64url')],
    ['base64 in a URL', encodeURIComponent(Buffer.from(CANARY).toString('base64'))],
  ])('masks the secret %s', (_, spelling) => {
    expect(text(`before ${spelling} after ${spelling}`)).toMatch(
      /^before \[redacted\]=*(%3D)* after \[redacted\]=*(%3D)*$/,
    );
  });

  test.each(['', 'u', 'us', 'usr', 'user'])(
    'masks the secret inside base64 of a longer text after %j',
    (before) => {
      for (const after of ['', '!', '!!', '!!!']) {
        const encoded = Buffer.from(`${before}${CANARY}${after}`).toString('base64');
        const masked = text(encoded);
        expect(masked).toContain(REDACTED);
        // What is left are the neighbours' characters, and at most one shared with the secret at each end.
        expect(masked.replace(REDACTED, '').length).toBeLessThanOrEqual(
          encoded.length - 4 * Math.floor((CANARY.length - 2) / 3),
        );
      }
    },
  );

  test('masks the beginning of a long secret that was cut off', () => {
    const long = randomBytes(300).toString('hex');
    expect(createRedactor([long]).text(`failed: ${long.slice(0, 200)}…`)).toBe(`failed: ${REDACTED}…`);
    expect(createRedactor([long]).text(long)).toBe(REDACTED);
  });

  test('masks the longest secret, and secrets that overlap as one', () => {
    const both = createRedactor(['token', 'token-long', 'long-tail']);
    expect(both.text('a token, a token-long and token-long-tail')).toBe(
      `a ${REDACTED}, a ${REDACTED} and ${REDACTED}`,
    );
  });

  test('leaves text without a secret as it is', () => {
    const innocent = 'connect ECONNREFUSED 127.0.0.1:80 [redacted] $& \\1';
    expect(text(innocent)).toBe(innocent);
    expect(createRedactor([]).text(innocent)).toBe(innocent);
    expect(createRedactor(['']).text(innocent)).toBe(innocent);
  });

  test('masks a secret of up to three characters only as a word of its own', () => {
    const short = createRedactor(['abc', '42', '$']);
    expect(short.text('pin=abc "42" abcd 142 4.2')).toBe(`pin=${REDACTED} "${REDACTED}" abcd 142 4.2`);
  });

  test('takes secrets literally that look like a pattern', () => {
    expect(createRedactor(['.*.*', '(a+)+$']).text('x .*.* (a+)+$ abcd')).toBe(
      `x ${REDACTED} ${REDACTED} abcd`,
    );
  });

  test('leaves no spelling of any secret in any text', () => {
    const secrets = fc.array(fc.string({ unit: 'binary', minLength: 4, maxLength: 60 }), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(
        secrets,
        fc.string({ unit: 'binary' }),
        fc.string({ unit: 'binary' }),
        (list, before, after) => {
          fc.pre(list.every((secret) => !REDACTED.includes(secret)));
          const redactor = createRedactor(list);
          for (const secret of list) {
            for (const spelling of [
              secret,
              JSON.stringify(secret).slice(1, -1),
              encodeURIComponent(secret),
              Buffer.from(secret).toString('base64').replace(/=+$/, ''),
              Buffer.from(secret).toString('base64url'),
            ]) {
              const masked = redactor.text(before + spelling + after);
              expect(masked).toContain(REDACTED);
              expect(masked.split(REDACTED).join('\u0000')).not.toContain(spelling);
            }
          }
        },
      ),
    );
  });

  // Comparing the whole secret at each position would be 10¹¹ steps: minutes, where this takes well under a second.
  test('takes linear time for a text that nearly matches everywhere', { timeout: 20_000 }, () => {
    const redactor = createRedactor([`${'a'.repeat(64_000)}b`]);
    expect(redactor.text('a'.repeat(2_000_000))).toBe(REDACTED);
  });
});

describe('json', () => {
  const { json } = createRedactor(['canary-secret', '123456']);

  test('masks strings and keys at any depth and keeps everything else', () => {
    const value = { a: ['x canary-secret', 1, null, true, { 'canary-secret': 'y' }], b: {}, c: [] };
    expect(json(value)).toEqual({ a: [`x ${REDACTED}`, 1, null, true, { [REDACTED]: 'y' }], b: {}, c: [] });
    expect(value.a[0]).toBe('x canary-secret');
  });

  test('masks a number that is a secret', () => {
    expect(json({ pin: 123456, other: 1234567 })).toEqual({ pin: REDACTED, other: 1234567 });
  });

  test('keeps order and `__proto__` as an ordinary key', () => {
    const masked = json(JSON.parse('{"b":1,"__proto__":{"polluted":"canary-secret"},"a":2}'));
    expect(JSON.stringify(masked)).toBe(`{"b":1,"__proto__":{"polluted":"${REDACTED}"},"a":2}`);
    expect(Object.getPrototypeOf(masked)).toBe(Object.prototype);
    expect('polluted' in {}).toBe(false);
  });

  test('survives a value nested 100,000 deep', () => {
    const deep = JSON.parse(`${'['.repeat(100_000)}"canary-secret"${']'.repeat(100_000)}`);
    let inner = json(deep);
    while (Array.isArray(inner)) inner = inner[0];
    expect(inner).toBe(REDACTED);
  });

  test.each([
    ['canary-secret', REDACTED],
    ['x', 'x'],
    [7, 7],
    [null, null],
    [true, true],
  ])('of %j is %j', (value, masked) => {
    expect(json(value)).toBe(masked);
  });
});

describe('bytes', () => {
  const SECRET = 'canary-secrèt-0123456789';
  const { bytes } = createRedactor([SECRET, 'canary-other']);
  const passed = (pieces: readonly Buffer[], mask = bytes()): string =>
    Buffer.concat([...pieces.map((piece) => mask.push(piece)), mask.end()]).toString();
  const cutAt = (whole: Buffer, cuts: readonly number[]): readonly Buffer[] =>
    [0, ...cuts.toSorted((a, b) => a - b)].map((from, index, all) => whole.subarray(from, all[index + 1]));

  test('masks a secret wherever the pieces are cut', () => {
    const whole = Buffer.from(
      `önce ${SECRET}, ${Buffer.from(SECRET).toString('base64')} canary-sec canary-other`,
    );
    const expected = createRedactor([SECRET, 'canary-other']).text(whole.toString());
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 8 }), (cuts) => {
        expect(passed(cutAt(whole, cuts))).toBe(expected);
      }),
    );
    expect(passed(cutAt(whole, Array.from(whole.keys())))).toBe(expected);
  });

  test('changes no byte of what holds no secret, whatever the charset', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (pieces) => {
        const mask = bytes();
        const out = [...pieces.map((piece) => mask.push(Buffer.from(piece))), mask.end()];
        expect(Buffer.concat(out)).toEqual(Buffer.concat(pieces));
      }),
    );
  });

  test('holds back only what could be the beginning of a secret', () => {
    const mask = bytes();
    expect(mask.push(Buffer.from('data: 1\n\n')).toString()).toBe('data: 1\n\n');
    expect(mask.push(Buffer.from('data: cana')).toString()).toBe('data: ');
    expect(mask.push(Buffer.from('ry-2')).toString()).toBe('canary-2');
    expect(mask.push(Buffer.from('canary')).toString()).toBe('');
    expect(mask.end().toString()).toBe('canary');
  });

  test('masks what was cut off in the middle of a long secret', () => {
    const long = randomBytes(300).toString('hex');
    const mask = createRedactor([long]).bytes();
    expect(passed([Buffer.from(`x${long.slice(0, 50)}`), Buffer.from(`${long.slice(50, 100)}!`)], mask)).toBe(
      `x${REDACTED}!`,
    );
  });

  test('does not hold back more and more of a text that overlaps itself', () => {
    const mask = createRedactor(['aaaaaaaa']).bytes();
    let out = 0;
    for (let i = 0; i < 1000; i++) out += mask.push(Buffer.from('aaaaaaaa')).length;
    expect(out).toBeGreaterThan(0);
    expect(mask.end().length).toBeLessThan(100);
  });
});

// Generous for a busy machine; alone it is 2 ms for text, and 30 ms where everything is a secret.
test.each([
  ['random text', () => randomBytes(524_288).toString('hex')],
  ['nothing but secrets', (secret: string) => `${secret} `.repeat(1_048_576 / (secret.length + 1))],
  [
    'what nearly is a secret',
    (secret: string) => `${secret.slice(0, -1)}!`.repeat(1_048_576 / secret.length),
  ],
])('masks 1 MiB of %s in a moment', (_, textOf) => {
  const secrets = Array.from(
    { length: 10 },
    (__, index) => `sk_live_${index}_${randomBytes(12).toString('hex')}`,
  );
  const text = textOf(secrets[0]!); // ten of them
  const redactor = createRedactor(secrets);
  redactor.text(text);
  const startedAt = performance.now();
  const masked = redactor.text(text);
  expect(performance.now() - startedAt).toBeLessThan(200);
  for (const secret of secrets) expect(masked).not.toContain(secret);
});
