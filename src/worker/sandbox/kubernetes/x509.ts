import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

/** PEM of a certificate, its key, and the only authority that vouches for it. */
export interface IssuedCertificate {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Clocks differ. */
const BACKDATED_MS = 3_600_000;

/**
 * A server certificate by an authority made for it alone, whose key is forgotten: nobody can ever sign another one.
 *
 * X.509 v3 (RFC 5280) with ECDSA on P-256, in DER by hand: Node reads certificates, but does not make them, and what is
 * needed of it are these two.
 */
export function issueCertificate(serverName: string, nowMs: number, validMs: number): IssuedCertificate {
  const validity = sequence(time(nowMs - BACKDATED_MS), time(nowMs + validMs));
  const authorityKeys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const keys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  // Its own name each time: two authorities of one name are hard to tell apart for whoever trusts both.
  const issuer = commonName(`millrace runner gateway ${randomBytes(4).toString('hex')}`);
  const authorityId = keyId(authorityKeys.publicKey);
  const signed = (subject: Buffer, publicKey: KeyObject, extensions: readonly Buffer[]): string =>
    toPem(signedBy(authorityKeys.privateKey, { issuer, subject, validity, publicKey, extensions }));
  return {
    authority: signed(issuer, authorityKeys.publicKey, [
      extension(OID.basicConstraints, sequence(TRUE, integer(Buffer.of(0))), true),
      extension(OID.keyUsage, bitString(Buffer.of(0x04), 2), true), // keyCertSign
      extension(OID.subjectKeyIdentifier, tlv(0x04, authorityId)),
    ]),
    certificate: signed(commonName(serverName), keys.publicKey, [
      extension(OID.keyUsage, bitString(Buffer.of(0x80), 7), true), // digitalSignature
      extension(OID.extendedKeyUsage, sequence(OID.serverAuth)),
      extension(OID.subjectAltName, sequence(tlv(0x82, Buffer.from(serverName, 'ascii')))),
      extension(OID.authorityKeyIdentifier, sequence(tlv(0x80, authorityId))),
    ]),
    key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

function signedBy(
  key: KeyObject,
  parts: {
    readonly issuer: Buffer;
    readonly subject: Buffer;
    readonly validity: Buffer;
    readonly publicKey: KeyObject;
    readonly extensions: readonly Buffer[];
  },
): Buffer {
  const algorithm = sequence(OID.ecdsaWithSha256);
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // positive, and of full length
  const body = sequence(
    tlv(0xa0, integer(Buffer.of(2))), // v3
    integer(serial),
    algorithm,
    parts.issuer,
    parts.validity,
    parts.subject,
    parts.publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...parts.extensions)),
  );
  return sequence(body, algorithm, bitString(sign('sha256', body, key), 0));
}

/** Of the whole SubjectPublicKeyInfo: RFC 5280 4.2.1.2 leaves the method open. */
const keyId = (key: KeyObject): Buffer =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20);

function tlv(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), content]);
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), content]); // far below 64 KiB
}
const sequence = (...contents: readonly Buffer[]): Buffer => tlv(0x30, ...contents);
const integer = (bytes: Buffer): Buffer => tlv(0x02, bytes);
const bitString = (bytes: Buffer, unused: number): Buffer => tlv(0x03, Buffer.of(unused), bytes);
const oid = (hex: string): Buffer => tlv(0x06, Buffer.from(hex, 'hex'));
const TRUE = tlv(0x01, Buffer.of(0xff));
const OID = {
  ecdsaWithSha256: oid('2a8648ce3d040302'),
  commonName: oid('550403'),
  subjectKeyIdentifier: oid('551d0e'),
  keyUsage: oid('551d0f'),
  subjectAltName: oid('551d11'),
  basicConstraints: oid('551d13'),
  authorityKeyIdentifier: oid('551d23'),
  extendedKeyUsage: oid('551d25'),
  serverAuth: oid('2b06010505070301'),
} as const;

const commonName = (name: string): Buffer =>
  sequence(tlv(0x31, sequence(OID.commonName, tlv(0x0c, Buffer.from(name, 'utf8')))));
const extension = (id: Buffer, value: Buffer, isCritical = false): Buffer =>
  sequence(id, ...(isCritical ? [TRUE] : []), tlv(0x04, value));

/** UTCTime until 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5). */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isShort = Number(digits.slice(0, 4)) < 2050;
  return tlv(isShort ? 0x17 : 0x18, Buffer.from(isShort ? digits.slice(2) : digits, 'ascii'));
}

const toPem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
