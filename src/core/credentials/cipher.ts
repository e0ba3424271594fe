import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { appError, coerceError } from '../errors/app-error.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const IV_BYTES = 12;
/** Node accepts tags of 4 bytes unless told otherwise, which an attacker can guess. */
const TAG_BYTES = 16;
/** First byte of what is sealed, so that the layout can change while old rows stay readable. */
const LAYOUT = 1;
const HEADER_BYTES = 1 + IV_BYTES + TAG_BYTES;

/** Where a sealed value belongs; moved anywhere else, it does not open. */
export interface CipherContext {
  readonly tenantId: string;
  /** The credential's name. */
  readonly name: string;
  readonly field: string;
}

export interface Sealed {
  /** Which key sealed it: a hash, safe to store and to log. */
  readonly keyId: string;
  /** Layout byte, IV, tag, ciphertext. */
  readonly sealed: Buffer;
}

export interface CredentialCipher {
  /** The key that `seal` uses. A row with another id is due for re-sealing after a rotation. */
  readonly currentKeyId: string;
  /** Of every key that `open` knows, `currentKeyId` among them. */
  readonly keyIds: ReadonlySet<string>;
  seal(plaintext: Buffer | string, context: CipherContext): Sealed;
  /**
   * @throws AppError `credential_unreadable` when no configured key is the one it was sealed with, or it was
   *   altered, cut, or sealed for another tenant, credential or field.
   */
  open(value: Sealed, context: CipherContext): Buffer;
}

export interface EncryptionKeys {
  /** Seals, and opens. */
  readonly current: Buffer;
  /** Only open: the key before this one or the next one, while keys are rotated. */
  readonly others?: readonly Buffer[];
}

/** AES-256-GCM with a random IV. */
export function createCipher(keys: EncryptionKeys): CredentialCipher {
  const currentKeyId = keyIdOf(keys.current);
  const current = keyObject(keys.current);
  const byId = new Map((keys.others ?? []).map((key) => [keyIdOf(key), keyObject(key)]));
  byId.set(currentKeyId, current);

  return {
    currentKeyId,
    keyIds: new Set(byId.keys()),
    seal: (plaintext, context) => {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv(ALGORITHM, current, iv, { authTagLength: TAG_BYTES });
      cipher.setAAD(additionalData(context));
      const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return {
        keyId: currentKeyId,
        sealed: Buffer.concat([Buffer.of(LAYOUT), iv, cipher.getAuthTag(), body]),
      };
    },
    open: ({ keyId, sealed }, context) => {
      const key = byId.get(keyId);
      if (key === undefined) {
        const cause = new Error(`sealed with key ${keyId}, configured are ${[...byId.keys()].join(', ')}`);
        throw appError('credential_unreadable', { args: [context.name], cause });
      }
      try {
        return decrypt(key, sealed, context);
      } catch (cause) {
        throw appError('credential_unreadable', { args: [context.name], cause });
      }
    },
  };
}

function decrypt(key: KeyObject, sealed: Buffer, context: CipherContext): Buffer {
  if (sealed.length < HEADER_BYTES || sealed[0] !== LAYOUT)
    throw new Error('unknown layout of the sealed value');
  const iv = sealed.subarray(1, 1 + IV_BYTES);
  const decipher = createDecipheriv(ALGORITHM, key, iv, { authTagLength: TAG_BYTES });
  decipher.setAAD(additionalData(context));
  decipher.setAuthTag(sealed.subarray(1 + IV_BYTES, HEADER_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(HEADER_BYTES)), decipher.final()]);
}

/** JSON keeps the parts apart: no choice of names makes two contexts look the same. */
const additionalData = ({ tenantId, name, field }: CipherContext): Buffer =>
  Buffer.from(JSON.stringify(['millrace/credential', tenantId, name, field]));

function keyObject(key: Buffer): KeyObject {
  if (key.length !== KEY_BYTES)
    throw new Error(`An encryption key has ${KEY_BYTES} bytes, this one ${key.length}`);
  return createSecretKey(key);
}

const keyIdOf = (key: Buffer): string =>
  createHash('sha256').update('millrace/key-id').update(key).digest('hex').slice(0, 16);

const REMEDY = 'make one with `openssl rand -hex 32`';

/** So many belong to no rotation, but to a mistake. */
const MAX_KEYS = 4;

/**
 * Reads ENCRYPTION_KEY: one key, or several with commas between them, of which the first seals.
 *
 * @throws Error that says what is wrong, without repeating the text.
 */
export function parseEncryptionKeys(text: string): Required<EncryptionKeys> {
  const texts = text.split(',').map((part) => part.trim());
  if (texts.length > MAX_KEYS)
    throw new Error(`must be at most ${MAX_KEYS} keys with commas between them, got ${texts.length}`);
  const [current, ...others] = texts.map((part, index) => {
    try {
      return parseEncryptionKey(part);
    } catch (raw) {
      if (texts.length === 1) throw raw;
      throw new Error(`key ${index + 1} of ${texts.length}: ${coerceError(raw).message}`, { cause: raw });
    }
  }) as [Buffer, ...Buffer[]]; // a split text has one part or more
  if (new Set([current, ...others].map(keyIdOf)).size < texts.length)
    throw new Error('must be different keys, one of them is there twice');
  return { current, others };
}

/**
 * Reads one key: 64 hex digits, or base64 or base64url of 32 bytes.
 *
 * @throws Error that says what is wrong and how to make a key, without repeating the text.
 */
export function parseEncryptionKey(text: string): Buffer {
  if (/^[0-9A-Fa-f]{64}$/.test(text)) return Buffer.from(text, 'hex');
  const digits = text.replace(/=$/, '');
  for (const encoding of ['base64', 'base64url'] as const) {
    const key = Buffer.from(digits, encoding);
    // Decoding skips what it does not know; only the text that the bytes spell again was really meant.
    if (key.length === KEY_BYTES && key.toString(encoding).replace(/=+$/, '') === digits) return key;
  }
  const isPlain = Buffer.byteLength(text) === KEY_BYTES;
  throw new Error(
    isPlain
      ? `must be 32 random bytes written as 64 hex digits or base64, not 32 plain characters; ${REMEDY}`
      : `must be 64 hex digits, or base64 or base64url of 32 bytes, got ${text.length} characters that are neither; ${REMEDY}`,
  );
}
