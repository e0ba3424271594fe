import { access } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plantCanaries, type Canaries } from './canaries.ts';

let canaries: Canaries;
beforeAll(async () => {
  canaries = await plantCanaries([]);
});
afterAll(() => canaries.remove());

describe('a canary', () => {
  const forms: readonly (readonly [string, (text: string) => string])[] = [
    ['as it is', (text) => text],
    ['in base64', (text) => Buffer.from(`a${text}b`).toString('base64')],
    ['in base64 after two bytes', (text) => Buffer.from(`ab${text}`).toString('base64')],
    ['in base64url', (text) => Buffer.from(`abc${text}de`).toString('base64url')],
    ['in hex', (text) => Buffer.from(text).toString('hex')],
    ['URL-encoded', (text) => `x=${encodeURIComponent(text)}`],
    ['in JSON', (text) => JSON.stringify({ text })],
  ];
  it.each(forms)('is found %s', (_, spell) => {
    for (const text of [
      canaries.token,
      canaries.databasePassword,
      canaries.jwtSecret,
      canaries.foreignSecret,
    ]) {
      expect(canaries.find(`before ${spell(text)} after`)).not.toEqual([]);
    }
  });

  it('is found as the bytes of the encryption key, too', () => {
    const key = Buffer.from(canaries.encryptionKey, 'hex');
    expect(canaries.find(key.toString('base64'))).not.toEqual([]);
    expect(canaries.find(key.toString('hex'))).not.toEqual([]);
  });

  it('is found nowhere else', () => {
    expect(canaries.find('canary+token/0123456789abcdef=')).toEqual([]);
  });

  it('is in files', async () => {
    expect(canaries.files.length).toBeGreaterThanOrEqual(2);
    for (const file of canaries.files) await access(file);
  });
});
