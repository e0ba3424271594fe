import { readHeader } from './headers.ts';

const USABLE_KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/**
 * A dedupe key as it may be stored: 1 to 255 printable ASCII characters. Anything else counts as no key. It is
 * never cut or normalised to fit: two deliveries that only then look alike would become one, and the second be
 * lost, whereas without a key a repeat merely starts a second execution.
 */
export function usableKey(candidate: unknown): string | undefined {
  return typeof candidate === 'string' && USABLE_KEY.test(candidate) ? candidate : undefined;
}

/** The key a header carries; none when the header is absent or repeated (then it is not known which is meant). */
export function keyFromHeader(rawHeaders: readonly string[], name: string): string | undefined {
  const read = readHeader(rawHeaders, name);
  return read.count === 1 ? usableKey(read.value) : undefined;
}

/** The body as a JSON object; undefined for any other bytes. */
export function jsonObjectOf(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  const first = body.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d);
  if (first !== 0x7b /* { */) return undefined;
  try {
    // JSON text that begins with a brace parses to an object, or not at all.
    return JSON.parse(body.toString('utf8')) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}

/** An own, top-level string of a JSON body, if it makes a usable key. */
export function keyFromJson(
  object: Readonly<Record<string, unknown>> | undefined,
  field: string,
): string | undefined {
  return object !== undefined && Object.hasOwn(object, field) ? usableKey(object[field]) : undefined;
}
