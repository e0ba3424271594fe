import { createHmac, createPublicKey, createSecretKey, timingSafeEqual, verify } from 'node:crypto';

export type HmacAlgorithm = 'sha256' | 'sha1' | 'sha512';

export const DIGEST_BYTES = { sha1: 20, sha256: 32, sha512: 64 } as const satisfies Record<
  HmacAlgorithm,
  number
>;

/** What a request says of itself, read before any key is used. */
export interface Claim {
  readonly ok: true;
  /** The bytes the sender signed, in order. */
  readonly signed: readonly (string | Buffer)[];
  /** Decoded HMACs, of the digest's length; any may match. */
  readonly macs: readonly Buffer[];
  /** Decoded ed25519 signatures; any may match. */
  readonly signatures?: readonly Buffer[];
}

/** A key made ready for the hot path. */
export interface VerifyKey {
  readonly notAfterMs: number | undefined;
  matches(claim: Claim): boolean;
}

/** A shared secret: the claim's MACs are compared in constant time. */
export function hmacKey(algorithm: HmacAlgorithm, secret: Buffer, notAfterMs?: number): VerifyKey {
  const key = createSecretKey(secret);
  return {
    notAfterMs,
    matches: ({ signed, macs }) => {
      const hmac = createHmac(algorithm, key);
      for (const part of signed) hmac.update(part);
      const expected = hmac.digest();
      let isMatch = false;
      // The length is public; timingSafeEqual throws on a difference (SECURITY W13). No early exit.
      for (const mac of macs) {
        if (mac.length === expected.length && timingSafeEqual(mac, expected)) isMatch = true;
      }
      return isMatch;
    },
  };
}

/** A raw ed25519 public key of 32 bytes. */
export function ed25519Key(publicKey: Buffer, notAfterMs?: number): VerifyKey {
  const key = createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') },
  });
  return {
    notAfterMs,
    matches: ({ signed, signatures = [] }) => {
      if (signatures.length === 0) return false;
      const content = Buffer.concat(
        signed.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)),
      );
      return signatures.some((signature) => verify(null, content, key, signature));
    },
  };
}
