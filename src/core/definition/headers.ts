import { FRAMING_HEADERS, HEADER_NAME } from '../http-headers.ts';
import { isRecord } from '../json.ts';
import { z } from '../zod.ts';
import { templateField } from './fields.ts';
import { preview, type Finding, type Path } from './findings.ts';
import { says } from './zod-findings.ts';

/** Header maps of `http` and `respond`. */

/** RFC 9110, section 5.5, without obs-text: no line can be smuggled in. */
const FIELD_VALUE = /^[\t\x20-\x7e]*$/;

/** Every request of a step carries an `Idempotency-Key` of its own. */
export const RESERVED_IN_REQUESTS: ReadonlySet<string> = new Set([...FRAMING_HEADERS, 'idempotency-key']);
/** What an answer under the platform's own host name must not change: cookies and the browser's rules for that host. */
export const RESERVED_IN_RESPONSES: ReadonlySet<string> = new Set([
  ...FRAMING_HEADERS,
  'clear-site-data',
  'content-security-policy',
  'service-worker-allowed',
  'set-cookie',
  'strict-transport-security',
  'x-content-type-options',
]);

export const headersField = z.record(z.string(), templateField, {
  error: says(
    'must be an object of header names and values',
    'write `headers: { accept: application/json }`',
  ),
});

export const isSendableHeader = (name: string, value: string, reserved: ReadonlySet<string>): boolean =>
  HEADER_NAME.test(name) && !reserved.has(name.toLowerCase()) && FIELD_VALUE.test(value);

/** What is known of a header map before its templates are rendered. */
export function checkHeaders(
  headers: unknown,
  path: Path,
  reserved: ReadonlySet<string>,
): readonly Finding[] {
  if (!isRecord(headers)) return [];
  return Object.entries(headers).flatMap(([name, value]) =>
    checkHeader(name, value, { path: [...path, name], reserved }),
  );
}

interface HeaderPlace {
  readonly path: Path;
  readonly reserved: ReadonlySet<string>;
}

function checkHeader(name: string, value: unknown, { path, reserved }: HeaderPlace): readonly Finding[] {
  if (!HEADER_NAME.test(name)) {
    const message = `${preview(name)} is not a header name`;
    return [
      {
        path,
        at: 'key',
        code: 'invalid_value',
        message,
        fix: 'use letters, digits and dashes, without a colon',
      },
    ];
  }
  if (reserved.has(name.toLowerCase())) {
    const message = `the header \`${name}\` is for Millrace alone to set`;
    return [{ path, at: 'key', code: 'invalid_value', message, fix: 'remove it' }];
  }
  if (typeof value === 'object' && value !== null) {
    const message = `the header \`${name}\` must be text, a number or true or false, got ${preview(value)}`;
    return [
      { path, code: 'invalid_value', message, fix: 'write one text; separate several values by commas' },
    ];
  }
  // What stands inside `${{ }}` is checked when it is rendered.
  if (typeof value === 'string' && !value.includes('${{') && !FIELD_VALUE.test(value)) {
    const message = `the header \`${name}\` has characters that no header can carry: ${preview(value)}`;
    return [
      { path, code: 'invalid_value', message, fix: 'use printable ASCII on one line; encode the rest' },
    ];
  }
  return [];
}
