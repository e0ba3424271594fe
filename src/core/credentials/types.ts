import { FRAMING_HEADERS, HEADER_NAME } from '../http-headers.ts';
import { z } from '../zod.ts';

/** Letters, digits and single hyphens, beginning with a letter. */
export const CREDENTIAL_NAME_PATTERN = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;

/**
 * URL schemes that no credential may be named after: `credential-name:/path` is a target of a request, and
 * `https:/path` must never mean a credential.
 */
export const RESERVED_CREDENTIAL_NAMES: ReadonlySet<string> = new Set([
  'blob',
  'data',
  'file',
  'ftp',
  'http',
  'https',
  'javascript',
  'ws',
  'wss',
]);

export const credentialNameSchema = z
  .string()
  .max(63, 'must be at most 63 characters')
  .regex(
    CREDENTIAL_NAME_PATTERN,
    'must be lower-case letters, digits and single hyphens, beginning with a letter, e.g. `stripe-webhook`',
  )
  .refine((name) => !RESERVED_CREDENTIAL_NAMES.has(name), {
    error: 'must not be a URL scheme, since `name:/path` addresses a credential’s server; add a word to it',
  })
  .describe('Name of a credential of this tenant');

const NOT_AFTER_EXAMPLE = '2026-01-31T00:00:00Z';
/** What a header value may carry: visible ASCII with inner spaces. Nothing that ends a line. */
const HEADER_VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

const headerValue = z
  .string()
  .min(1, 'must not be empty')
  .max(8192, 'must be at most 8192 characters')
  .regex(
    HEADER_VALUE,
    'must be printable ASCII without a space or line break at either end; was a trailing line break copied along?',
  );

function isBaseUrl(text: string): boolean {
  const url = URL.parse(text);
  return (
    url !== null &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    url.username === '' &&
    url.password === '' &&
    !/[?#\\\s]/.test(text)
  );
}

const baseUrlSchema = z
  .string()
  .max(2048, 'must be at most 2048 characters')
  .refine(isBaseUrl, {
    error: 'must be an http or https URL without user, query or fragment, e.g. `https://api.example.com/v1`',
  })
  .describe('The only origin this credential is sent to; `credential-name:/path` is this URL plus the path');

/** `host`, `host:port`, `*.suffix` or `*.suffix:port`, as written in `allowedHosts`. */
export interface HostPattern {
  /** As WHATWG URL spells it: lower case, punycode, IPv6 in brackets; without `*.`. */
  readonly host: string;
  /** Without one, the default port of the request's scheme is meant. */
  readonly port: string | undefined;
  readonly isSuffix: boolean;
}

/** Reads one entry of `allowedHosts`; undefined when it is malformed or wider than one domain. */
export function parseHostPattern(entry: string): HostPattern | undefined {
  const isSuffix = entry.startsWith('*.');
  const rest = isSuffix ? entry.slice(2) : entry;
  if (rest === '' || /[/?#@\\\s*%]|:$/.test(rest)) return undefined;
  const explicitPort = /:(\d{1,5})$/.exec(rest)?.[1];
  // A port that is the scheme's default vanishes from `url.port`, hence the explicit one.
  const url = URL.parse(`https://${rest}/`);
  if (url === null || url.hostname === '' || (url.port !== '' && explicitPort === undefined))
    return undefined;
  if (isSuffix && (!url.hostname.includes('.') || /[[\]]|\.\d+$/.test(url.hostname))) return undefined;
  return {
    host: url.hostname,
    port: explicitPort === undefined ? undefined : String(Number(explicitPort)),
    isSuffix,
  };
}

const allowedHostsSchema = z
  .array(
    z
      .string()
      .max(260, 'must be at most 260 characters')
      .refine((entry) => parseHostPattern(entry) !== undefined, {
        error:
          'must be `host`, `host:port` or `*.domain.example` (at least two labels after `*.`), without scheme or path',
      }),
  )
  .max(50, 'must have at most 50 entries')
  .optional()
  .describe('Further hosts it may be sent to; without a port the default port of the scheme is meant');

const secretText = z
  .string()
  .min(1, 'must not be empty')
  .max(65_536, 'must be at most 65536 characters')
  .describe('Used exactly as given, spaces and line breaks included');

export const secretDataSchema = z
  .strictObject({
    value: secretText,
    previous: z
      .strictObject({
        value: secretText,
        notAfter: z.iso
          .datetime({ offset: true, error: `must be an RFC 3339 time, e.g. \`${NOT_AFTER_EXAMPLE}\`` })
          .describe('Until when the previous value is still accepted'),
      })
      .optional()
      .describe('The value before a rotation, accepted beside the new one until `notAfter`'),
  })
  .describe('A secret used by name, e.g. to verify webhooks; never sent by an http step');

export const bearerDataSchema = z
  .strictObject({
    token: headerValue.describe('Sent as `Authorization: Bearer <token>`'),
    baseUrl: baseUrlSchema,
    allowedHosts: allowedHostsSchema,
  })
  .describe('A bearer token');

export const basicDataSchema = z
  .strictObject({
    username: z
      .string()
      .max(1024, 'must be at most 1024 characters')
      // RFC 7617, section 2: a colon ends the user-id; neither part holds control characters.
      .regex(/^[^:\p{Cc}]*$/u, 'must hold no colon, line break or other control character'),
    password: z
      .string()
      .max(4096, 'must be at most 4096 characters')
      .regex(
        /^\P{Cc}*$/u,
        'must hold no line break or other control character; was a trailing one copied along?',
      ),
    baseUrl: baseUrlSchema,
    allowedHosts: allowedHostsSchema,
  })
  .describe('User name and password, sent as HTTP Basic (RFC 7617)');

export const apiKeyDataSchema = z
  .strictObject({
    in: z.enum(['header', 'query']).describe('Where the key goes'),
    name: z
      .string()
      .min(1, 'must not be empty')
      .max(128, 'must be at most 128 characters')
      .describe('Name of the header or query parameter'),
    value: headerValue.describe('The key'),
    baseUrl: baseUrlSchema,
    allowedHosts: allowedHostsSchema,
  })
  .superRefine((data, context) => {
    if (data.in === 'header' && !HEADER_NAME.test(data.name)) {
      context.addIssue({
        code: 'custom',
        path: ['name'],
        message: 'must be a header name, e.g. `X-Api-Key`',
      });
    }
    if (data.in === 'header' && FRAMING_HEADERS.has(data.name.toLowerCase())) {
      context.addIssue({
        code: 'custom',
        path: ['name'],
        message: `must not be one of the headers that frame a request: ${[...FRAMING_HEADERS].join(', ')}`,
      });
    }
    if (data.in === 'query' && /\p{Cc}/u.test(data.name)) {
      context.addIssue({ code: 'custom', path: ['name'], message: 'must hold no control character' });
    }
  })
  .describe('An API key in a header or a query parameter');

/** A credential's payload as `PUT /api/v1/credentials/{name}` takes it and as it is sealed at rest. */
export const credentialSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('secret'), data: secretDataSchema }),
  z.strictObject({ type: z.literal('bearer'), data: bearerDataSchema }),
  z.strictObject({ type: z.literal('basic'), data: basicDataSchema }),
  z.strictObject({ type: z.literal('api-key'), data: apiKeyDataSchema }),
]);
export type Credential = z.infer<typeof credentialSchema>;
export type CredentialType = Credential['type'];
export const CREDENTIAL_TYPES = ['secret', 'bearer', 'basic', 'api-key'] as const satisfies CredentialType[];

/** A secret value with the end of its validity, as webhook verification takes them. */
export interface ValidSecret {
  readonly value: string;
  readonly notAfterMs?: number;
}

/** The values of a `secret` credential, the current one first. */
export function secretValuesOf(credential: Extract<Credential, { type: 'secret' }>): readonly ValidSecret[] {
  const { value, previous } = credential.data;
  if (previous === undefined) return [{ value }];
  return [{ value }, { value: previous.value, notAfterMs: Date.parse(previous.notAfter) }];
}

/** Every string of a credential that must never be shown: what a redactor is made from. */
export function sensitiveValuesOf(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'secret':
      return secretValuesOf(credential).map((secret) => secret.value);
    case 'bearer':
      return [credential.data.token];
    case 'basic': {
      const { username, password } = credential.data;
      return [password, Buffer.from(`${username}:${password}`).toString('base64')];
    }
    case 'api-key':
      return [credential.data.value];
    default:
      throw new Error(`No sensitive values known of ${String(credential satisfies never)}`);
  }
}
