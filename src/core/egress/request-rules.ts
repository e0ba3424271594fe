import { FRAMING_HEADERS, HEADER_NAME } from '../http-headers.ts';
import { terminalError, type StepError } from '../step-error.ts';

/** Header names in lower case with their values. */
export type Headers = ReadonlyMap<string, string>;

/** RFC 9110, section 5.5: visible characters, space, tab and bytes above ASCII; nothing that could end the line. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const MAX_HEADERS_BYTES = 65_536;

/** The client alone sets what frames the message, names the connection or is for proxies. */
const REFUSED_HEADERS: ReadonlySet<string> = new Set([
  ...FRAMING_HEADERS,
  'http2-settings',
  'proxy-authenticate',
]);

/**
 * What a redirect to another origin may carry on. It is a list of what is known to be harmless, because a
 * credential can be in a header of any name.
 */
const CROSS_ORIGIN_HEADERS: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'content-encoding',
  'content-language',
  'content-type',
  'idempotency-key',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'pragma',
  'prefer',
  'range',
  'traceparent',
  'tracestate',
  'user-agent',
]);

const invalid = (message: string): StepError => terminalError('invalid_input', message);

/** CONNECT would make a tunnel; TRACE echoes credentials (fetch forbids both). */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK']);

/** The method in upper case. @throws StepError `invalid_input` */
export function checkMethod(method: string): string {
  const upper = method.toUpperCase();
  if (!HEADER_NAME.test(method) || FORBIDDEN_METHODS.has(upper)) {
    throw invalid(
      `\`${method.slice(0, 40)}\` cannot be used as a method; use GET, POST, PUT, PATCH, DELETE, HEAD …`,
    );
  }
  return upper;
}

/**
 * Headers as they may be sent, by lower-case name. Values are never repeated in an error.
 *
 * @throws StepError `invalid_input` for a header that is malformed, given twice, or not the caller's to set
 */
export function checkHeaders(headers: Readonly<Record<string, string>>): Map<string, string> {
  const checked = new Map<string, string>();
  let size = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) {
      throw invalid(`\`${name.slice(0, 60)}\` is not a header name: letters, digits and hyphens only`);
    }
    const lower = name.toLowerCase();
    if (REFUSED_HEADERS.has(lower)) {
      throw invalid(
        `Header \`${name}\` cannot be set: it belongs to the connection and is set by the client`,
      );
    }
    if (checked.has(lower)) throw invalid(`Header \`${name}\` is given twice, in different spellings`);
    if (!HEADER_VALUE.test(value)) {
      throw invalid(
        `The value of header \`${name}\` has a character that headers cannot carry (a line break, a control ` +
          'character, or one beyond Latin-1); remove or encode it',
      );
    }
    size += lower.length + value.length;
    checked.set(lower, value);
  }
  if (size > MAX_HEADERS_BYTES)
    throw invalid(`The headers are larger than ${MAX_HEADERS_BYTES} bytes together`);
  return checked;
}

/** The headers that go along to another origin. */
export const crossOriginHeaders = (headers: Headers): Map<string, string> =>
  new Map([...headers].filter(([name]) => CROSS_ORIGIN_HEADERS.has(name)));
