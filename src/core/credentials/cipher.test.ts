import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../errors/app-error.ts';
import { createCipher, parseEncryptionKey, parseEncryptionKeys } from './cipher.ts';

const key = Buffer.alloc(32, 1);
const otherKey = Buffer.alloc(32, 2);
const context = { tenantId: 't1', name: 'crm', field: 'data' };

describe('createCipher', () => {
  const cipher = createCipher({ current: key });

  test('opens what it sealed, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        const plaintext = Buffer.from(bytes);
        expect(cipher.open(cipher.seal(plaintext, context), context)).toEqual(plaintext);
      }),
    );
    expect(cipher.open(cipher.seal('pässword', context), context).toString()).toBe('pässword');
  });

  test('shows nothing of the plaintext and seals the same text differently each time', () => {
    const [first, second] = [cipher.seal('canary-secret', context), cipher.seal('canary-secret', context)];
    expect(first.sealed.includes('canary')).toBe(false);
    expect(first.sealed.equals(second.sealed)).toBe(false);
    expect(first.sealed).toHaveLength(1 + 12 + 16 + 'canary-secret'.length);
  });

  test('refuses one flipped bit anywhere', () => {
    const { keyId, sealed } = cipher.seal('canary-secret', context);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = Buffer.from(sealed);
      altered[bit >> 3] = altered[bit >> 3]! ^ (1 << (bit & 7)); // bit is inside the buffer
      expect(() => cipher.open({ keyId, sealed: altered }, context), String(bit)).toThrow(AppError);
    }
  });

  test('refuses a cut value and a shortened tag', () => {
    const { keyId, sealed } = cipher.seal('canary-secret', context);
    for (let length = 0; length < sealed.length; length++) {
      expect(() => cipher.open({ keyId, sealed: sealed.subarray(0, length) }, context)).toThrow(AppError);
    }
  });

  test.each([
    { ...context, tenantId: 't2' },
    { ...context, name: 'crm2' },
    { ...context, field: 'other' },
    { tenantId: 't', name: '1crm', field: 'data' },
    { tenantId: 't1","crm', name: 'data', field: '' },
  ])('refuses the context %j', (other) => {
    const sealed = cipher.seal('canary-secret', context);
    expect(() => cipher.open(sealed, other)).toThrow(
      expect.objectContaining({ code: 'credential_unreadable' }),
    );
  });

  test('opens what another of its keys sealed, and seals with the current one', () => {
    const old = createCipher({ current: otherKey }).seal('v', context);
    expect(() => cipher.open(old, context)).toThrow(AppError);
    const rotating = createCipher({ current: key, others: [otherKey] });
    expect(rotating.open(old, context).toString()).toBe('v');
    expect(rotating.seal('v', context).keyId).toBe(rotating.currentKeyId);
    expect(rotating.currentKeyId).not.toBe(old.keyId);
    expect([...rotating.keyIds].toSorted()).toEqual([rotating.currentKeyId, old.keyId].toSorted());
  });

  test('names keys by a hash that is stable and not part of the key', () => {
    expect(createCipher({ current: key }).currentKeyId).toBe(cipher.currentKeyId);
    expect(cipher.currentKeyId).toMatch(/^[0-9a-f]{16}$/);
    expect(key.toString('hex')).not.toContain(cipher.currentKeyId);
  });

  test('refuses a key of another length', () => {
    expect(() => createCipher({ current: Buffer.alloc(16) })).toThrow(/32 bytes, this one 16/);
  });
});

describe('parseEncryptionKey', () => {
  test('reads hex, base64 and base64url, padded or not', () => {
    for (let i = 0; i < 50; i++) {
      const bytes = randomBytes(32);
      const spellings = [
        bytes.toString('hex'),
        bytes.toString('hex').toUpperCase(),
        bytes.toString('base64'),
      ];
      spellings.push(
        bytes.toString('base64').slice(0, -1),
        bytes.toString('base64url'),
        `${bytes.toString('base64url')}=`,
      );
      for (const text of spellings) expect(parseEncryptionKey(text), text).toEqual(bytes);
    }
  });

  test.each([
    '',
    'x'.repeat(32),
    'changeme',
    'ab'.repeat(31),
    'ab'.repeat(33),
    `${'ab'.repeat(31)}zz`,
    `${'ab'.repeat(32)}\n`,
    randomBytes(31).toString('base64'),
    randomBytes(33).toString('base64'),
    `${Buffer.alloc(32, 0xff).toString('base64')}=`,
    `!${Buffer.alloc(32, 5).toString('base64url')}`,
    // 43 digits whose last one has bits beyond the 32 bytes
    `${'A'.repeat(42)}B`,
    `${Buffer.alloc(32, 0xfb).toString('base64').slice(0, 20)}-${'A'.repeat(22)}`,
  ])('refuses %j and names the command that makes a key', (text) => {
    expect(() => parseEncryptionKey(text)).toThrow(/openssl rand -hex 32/);
    if (text.length > 8) expect(() => parseEncryptionKey(text)).not.toThrow(text);
  });

  test('says that 32 plain characters are no key', () => {
    expect(() => parseEncryptionKey('0123456789abcdef0123456789abcdef')).toThrow(/not 32 plain characters/);
  });
});

describe('parseEncryptionKeys', () => {
  const [a, b] = [randomBytes(32), randomBytes(32)];

  test('reads one key, or several of which the first is the current one', () => {
    expect(parseEncryptionKeys(a.toString('hex'))).toEqual({ current: a, others: [] });
    expect(parseEncryptionKeys(`${a.toString('hex')},${b.toString('base64')}`)).toEqual({
      current: a,
      others: [b],
    });
    expect(parseEncryptionKeys(`${b.toString('base64url')}, ${a.toString('hex')}`).current).toEqual(b);
  });

  test.each([
    ['', /openssl rand/],
    [`${a.toString('hex')},`, /^key 2 of 2: .*openssl rand/],
    [`changeme,${a.toString('hex')}`, /^key 1 of 2: .*openssl rand/],
    [`${a.toString('hex')},${a.toString('base64')}`, /different keys/],
    [Array(5).fill(a.toString('hex')).join(','), /at most 4 keys/],
  ])('refuses %j', (text, message) => {
    expect(() => parseEncryptionKeys(text)).toThrow(message);
    expect(() => parseEncryptionKeys(text)).not.toThrow(a.toString('hex'));
  });
});
