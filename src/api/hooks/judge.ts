import { createHash } from 'node:crypto';
import { parseBody } from '../../core/deliveries/body.ts';
import type { LiveEndpoint } from '../../core/deliveries/endpoints.ts';
import { filterReason, webhookScope } from '../../core/deliveries/filter.ts';
import { storedHeaders, webhookTrigger, type TriggerValue } from '../../core/deliveries/trigger.ts';
import { appError, AppError } from '../../core/errors/app-error.ts';
import { ExpressionError, type Scope } from '../../core/expressions/types.ts';
import type { JsonObject, JsonValue } from '../../core/json.ts';
import { readHeader } from '../../core/triggers/verify/headers.ts';
import type { Handshake, WebhookRequest } from '../../core/triggers/verify/types.ts';

/** What an endpoint says of a request. */
export type Judgement =
  | { readonly verdict: 'accepted'; readonly headers: JsonObject; readonly dedupeKey: string | undefined }
  | { readonly verdict: 'filtered'; readonly headers: JsonObject; readonly reason: string }
  | {
      readonly verdict: 'rejected';
      readonly headers: JsonObject;
      readonly reason: string;
      readonly error: AppError;
    }
  | { readonly verdict: 'handshake'; readonly handshake: Handshake };

const MAX_KEY_LENGTH = 255;

/**
 * Judges a request: signature over the raw bytes first, then content type and form, then the filter. Pure but for the
 * time limit of expressions.
 *
 * @param deliveryId the id the delivery will have, as `trigger.deliveryId`
 */
export function judge(endpoint: LiveEndpoint, request: WebhookRequest, deliveryId: string): Judgement {
  const { trigger } = endpoint;
  const verified = endpoint.verify(request);
  const headers = storedHeaders(
    request.rawHeaders,
    trigger.verify.scheme === 'hmac' ? trigger.verify.header.toLowerCase() : undefined,
  );
  if (!verified.ok) {
    return { verdict: 'rejected', headers, reason: verified.reason, error: appError('signature_invalid') };
  }
  if (verified.handshake !== undefined) return { verdict: 'handshake', handshake: verified.handshake };
  const parsed = readTriggerBody(headers, request.body);
  if (parsed instanceof AppError) {
    return { verdict: 'rejected', headers, reason: parsed.message, error: parsed };
  }
  if (trigger.filter === undefined && trigger.dedupe.type !== 'key') {
    return {
      verdict: 'accepted',
      headers,
      dedupeKey: plainDedupeKey(trigger.dedupe, request, verified.dedupeKey),
    };
  }
  const value = webhookTrigger(trigger.name, deliveryId, request.nowMs, {
    method: request.method,
    query: queryOf(request.url),
    headers,
    body: parsed.body,
  });
  return judgeByExpressions(endpoint, request, value, verified.dedupeKey);
}

/** The body as `trigger.body`, or why it is refused. */
function readTriggerBody(headers: JsonObject, bytes: Buffer): { readonly body: JsonValue } | AppError {
  const contentType = typeof headers['content-type'] === 'string' ? headers['content-type'] : undefined;
  const parsed = parseBody(contentType, bytes);
  if (parsed.ok) return parsed;
  switch (parsed.code) {
    case 'unsupported_content_type':
      return appError('unsupported_content_type', {
        args: [contentType ?? '', 'JSON, a form, text or other single-part content'],
      });
    case 'malformed_json':
      return appError('malformed_json', { args: [parsed.message] });
    case 'json_too_deep':
      return appError('json_too_deep', { args: [parsed.limit] });
    default:
      return parsed satisfies never;
  }
}

function plainDedupeKey(
  dedupe: LiveEndpoint['trigger']['dedupe'],
  request: WebhookRequest,
  providerKey: string | undefined,
): string | undefined {
  if (dedupe.type === 'provider') return providerKey;
  if (dedupe.type !== 'header') return undefined;
  const read = readHeader(request.rawHeaders, dedupe.header);
  return read.count === 1 ? fittingKey(read.value) : undefined;
}

function judgeByExpressions(
  endpoint: LiveEndpoint,
  request: WebhookRequest,
  value: TriggerValue,
  providerKey: string | undefined,
): Judgement {
  const { trigger } = endpoint;
  const { headers } = value;
  const scope = webhookScope(endpoint.workflow, endpoint.version, value);
  try {
    const reason = trigger.filter && filterReason(trigger.filter, scope);
    if (reason !== undefined) return { verdict: 'filtered', headers, reason };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { verdict: 'rejected', headers, reason: error.message, error };
  }
  const dedupeKey =
    trigger.dedupe.type === 'key'
      ? evaluatedKey(trigger.dedupe.key, scope)
      : plainDedupeKey(trigger.dedupe, request, providerKey);
  return { verdict: 'accepted', headers, dedupeKey };
}

function evaluatedKey(key: { evaluate(scope: Scope): unknown }, scope: Scope): string | undefined {
  try {
    const value = key.evaluate(scope);
    if (typeof value === 'number') return String(value);
    return typeof value === 'string' ? fittingKey(value) : undefined;
  } catch (error) {
    if (error instanceof ExpressionError) return undefined;
    throw error;
  }
}

/** A key as it is stored. A long one, or one PostgreSQL's text cannot hold, is hashed, never cut: a false match would lose a delivery. */
function fittingKey(key: string): string | undefined {
  if (key === '') return undefined;
  if (key.length <= MAX_KEY_LENGTH && !key.includes('\0')) return key;
  return `sha256:${createHash('sha256').update(key).digest('hex')}`;
}

/** The raw query string of a URL, without the question mark. */
export function queryOf(url: string): string {
  const mark = url.indexOf('?');
  return mark === -1 ? '' : url.slice(mark + 1);
}
