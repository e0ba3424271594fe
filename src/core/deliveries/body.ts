import type { JsonValue } from '../json.ts';

/** How deep JSON may be nested (SECURITY section 5). */
export const MAX_JSON_DEPTH = 100;

export type ParsedBody =
  | { readonly ok: true; readonly body: JsonValue }
  | { readonly ok: false; readonly code: 'unsupported_content_type' }
  | { readonly ok: false; readonly code: 'malformed_json'; readonly message: string }
  | { readonly ok: false; readonly code: 'json_too_deep'; readonly limit: number };

const BOM = '\ufeff';

/**
 * A webhook's body as `trigger.body`, by its content type (DESIGN section 7): JSON and `+json`; forms as an object
 * whose repeated names are lists; `text/*` as a string; without a type JSON if it parses, else text; multipart is
 * refused; anything else as base64.
 */
export function parseBody(contentType: string | undefined, bytes: Buffer): ParsedBody {
  const type = (contentType ?? '').split(';', 1)[0]!.trim().toLowerCase(); // split gives at least one part
  if (type === 'application/json' || type.endsWith('+json')) return parseJson(bytes);
  if (type === '') {
    const parsed = parseJson(bytes);
    return parsed.ok || parsed.code === 'json_too_deep' ? parsed : { ok: true, body: bytes.toString('utf8') };
  }
  if (type === 'application/x-www-form-urlencoded') {
    return { ok: true, body: parseForm(bytes.toString('utf8')) };
  }
  if (type.startsWith('text/')) return { ok: true, body: bytes.toString('utf8') };
  if (type.startsWith('multipart/')) return { ok: false, code: 'unsupported_content_type' };
  return { ok: true, body: bytes.toString('base64') };
}

function parseJson(bytes: Buffer): ParsedBody {
  if (bytes.length === 0) return { ok: true, body: null };
  if (isDeeperThan(bytes, MAX_JSON_DEPTH)) return { ok: false, code: 'json_too_deep', limit: MAX_JSON_DEPTH };
  let text = bytes.toString('utf8');
  // RFC 8259, section 8.1: a parser may ignore a byte order mark.
  if (text.startsWith(BOM)) text = text.slice(1);
  try {
    return { ok: true, body: JSON.parse(text) as JsonValue };
  } catch (error) {
    return { ok: false, code: 'malformed_json', message: error instanceof Error ? error.message : '' };
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Whether JSON text nests brackets deeper than `limit`, in one pass over the bytes. Text that is no JSON gives some
 * answer; the parser refuses it afterwards.
 */
export function isDeeperThan(bytes: Buffer, limit: number): boolean {
  if (bytes.length <= limit) return false; // each level takes at least its opening bracket
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) {
      i++;
      while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > limit) return true;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return false;
}

/** A form or query string as an object; a name that is repeated gives a list. */
export function parseForm(text: string): { readonly [name: string]: string | readonly string[] } {
  const result: Record<string, string | string[]> = Object.create(null) as Record<string, never>;
  for (const [name, value] of new URLSearchParams(text)) {
    const present = result[name];
    if (present === undefined) result[name] = value;
    else if (Array.isArray(present)) present.push(value);
    else result[name] = [present, value];
  }
  // A plain prototype again, for expressions; own properties only, whatever the names are.
  return Object.fromEntries(Object.entries(result));
}
