/**
 * Strict decoders: `Buffer.from(text, 'hex')` stops silently at the first wrong digit and base64 decoding skips
 * what it does not know (SECURITY W04), so both would turn junk into a shorter signature.
 */
const LOWER_HEX = /^[0-9a-f]*$/;
const UPPER_HEX = /^[0-9A-F]*$/;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Exactly `length` bytes in lower-case hex. */
export function decodeHex(text: string, length: number): Buffer | undefined {
  if (text.length !== length * 2 || !LOWER_HEX.test(text)) return undefined;
  return Buffer.from(text, 'hex');
}

/** Exactly `length` bytes in hex of one case throughout. */
export function decodeHexOfEitherCase(text: string, length: number): Buffer | undefined {
  if (text.length !== length * 2) return undefined;
  return LOWER_HEX.test(text) || UPPER_HEX.test(text) ? Buffer.from(text, 'hex') : undefined;
}

/** Exactly `length` bytes in padded base64, in its one canonical spelling (unused bits are zero). */
export function decodeBase64(text: string, length: number): Buffer | undefined {
  if (text.length !== Math.ceil(length / 3) * 4 || !BASE64.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === length && bytes.toString('base64') === text ? bytes : undefined;
}

/** A key in base64, padded or not; undefined when it is anything else or empty. */
export function decodeBase64Key(text: string): Buffer | undefined {
  if (!BASE64.test(text)) return undefined;
  const digits = text.replace(/=+$/, '');
  const isPaddingRight = digits.length === text.length || text.length % 4 === 0;
  return digits.length % 4 === 1 || !isPaddingRight ? undefined : Buffer.from(digits, 'base64');
}
