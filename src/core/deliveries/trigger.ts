import type { JsonObject, JsonValue } from '../json.ts';
import { parseBody, parseForm } from './body.ts';

/** `trigger` as expressions and steps see it; the same for a live delivery and for a replay. */
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

export interface StoredRequest {
  readonly method: string;
  readonly query: string;
  readonly headers: JsonObject;
  readonly body: Buffer;
}

/** Builds `trigger` of a webhook from what is stored of the delivery. */
export function webhookTrigger(
  name: string,
  deliveryId: string,
  receivedAtMs: number,
  request: StoredRequest,
): TriggerValue {
  const contentType = request.headers['content-type'];
  const parsed = parseBody(typeof contentType === 'string' ? contentType : undefined, request.body);
  return {
    type: 'webhook',
    name,
    method: request.method,
    headers: request.headers,
    query: parseForm(request.query),
    // What does not parse was refused at the door; a replay with another body is checked likewise.
    body: parsed.ok ? parsed.body : null,
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
