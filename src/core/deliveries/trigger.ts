import type { JsonObject, JsonValue } from '../json.ts';
import { parseBody, parseForm } from './body.ts';

/** `trigger` as expressions and steps see it. */
export interface TriggerValue {
  readonly type: string;
  readonly name: string;
  readonly method: string | null;
  readonly headers: JsonObject;
  readonly query: JsonObject;
  readonly body: JsonValue;
  readonly deliveryId: string | null;
  readonly receivedAt: string;
}

/** What `trigger` of a webhook is made from; all of it is stored with the delivery. */
export interface TriggerRequest {
  readonly method: string;
  /** The raw query string. */
  readonly query: string;
  readonly headers: JsonObject;
  /** Parsed by `parseBody`. */
  readonly body: JsonValue;
}

/** The body of a stored request, as it was parsed when it came. */
export function storedBody(headers: JsonObject, bytes: Buffer): JsonValue {
  const contentType = headers['content-type'];
  const parsed = parseBody(typeof contentType === 'string' ? contentType : undefined, bytes);
  // What does not parse was refused at the door; a replay with another body is checked likewise.
  return parsed.ok ? parsed.body : null;
}

/** `trigger` of a webhook; the same for a live delivery and for a replay. */
export function webhookTrigger(
  name: string,
  deliveryId: string,
  receivedAtMs: number,
  request: TriggerRequest,
): TriggerValue {
  return {
    type: 'webhook',
    name,
    method: request.method,
    headers: request.headers,
    query: parseForm(request.query),
    body: request.body,
    deliveryId,
    receivedAt: new Date(receivedAtMs).toISOString(),
  };
}

/** Builds `trigger` of a manual start, whose input is the body. */
export function manualTrigger(name: string, input: JsonValue, createdAtMs: number): TriggerValue {
  return {
    type: 'manual',
    name,
    method: null,
    headers: {},
    query: {},
    body: input,
    deliveryId: null,
    receivedAt: new Date(createdAtMs).toISOString(),
  };
}

/** Headers that authenticate the sender; they are needed once, to verify, and never stored. */
const SECRET_HEADERS = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'x-api-key',
  'x-auth-token',
  'x-gitlab-token',
  'x-hub-signature',
  'x-hub-signature-256',
  'stripe-signature',
  'x-slack-signature',
  'webhook-signature',
  'svix-signature',
]);

/**
 * The headers of a request as an object with lower-case names, repeated ones joined by `, ` (RFC 9110, section 5.3),
 * without those that are secret.
 *
 * @param extraSecret further names, lower case: where the endpoint's scheme looks for its secret or signature
 */
export function storedHeaders(rawHeaders: readonly string[], extraSecret?: string): JsonObject {
  const headers: Record<string, string> = {};
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase(); // within bounds
    if (SECRET_HEADERS.has(name) || name === extraSecret || name === '__proto__') continue;
    const value = rawHeaders[i + 1]!; // pairs
    headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value;
  }
  return headers;
}
