import { jsonObjectOf, keyFromJson } from './dedupe.ts';
import { decodeHex } from './encoding.ts';
import { requireHeader } from './headers.ts';
import { DIGEST_BYTES } from './keys.ts';
import type { Scheme } from './scheme.ts';
import { MAX_TOLERANCE_S } from './schemas.ts';
import { timestampProblem } from './timestamp.ts';
import { refused, type Handshake } from './types.ts';

const PREFIX = 'v0=';
/** Echoed as plain text, so nothing that could be markup or a second header. */
const CHALLENGE = /^[A-Za-z0-9._~+/=-]{1,256}$/;

/**
 * Slack: HMAC-SHA256 of `v0:timestamp:body` in hex. Events carry `event_id`, the same on each of Slack's
 * retries; slash commands and interactions are forms without one. `url_verification` is answered only here,
 * after the check, because Slack signs it too (SECURITY W14).
 * https://docs.slack.dev/authentication/verifying-requests-from-slack
 */
export const slack: Scheme = {
  read: ({ rawHeaders, body, nowMs }) => {
    const signature = requireHeader(rawHeaders, 'x-slack-signature');
    if (!signature.ok) return signature;
    const timestamp = requireHeader(rawHeaders, 'x-slack-request-timestamp');
    if (!timestamp.ok) return timestamp;
    const hex = signature.value.startsWith(PREFIX) ? signature.value.slice(PREFIX.length) : '';
    const mac = decodeHex(hex, DIGEST_BYTES.sha256);
    if (mac === undefined) return refused('x-slack-signature is not `v0=` and 64 lower-case hex digits');
    const problem = timestampProblem(timestamp.value, nowMs, MAX_TOLERANCE_S);
    if (problem !== undefined) return refused(problem);
    return { ok: true, signed: [`v0:${timestamp.value}:`, body], macs: [mac] };
  },
  accept: ({ body }) => {
    const event = jsonObjectOf(body);
    const handshake = event === undefined ? undefined : urlVerification(event);
    return handshake === undefined
      ? { ok: true, dedupeKey: keyFromJson(event, 'event_id') }
      : { ok: true, handshake };
  },
};

/** https://docs.slack.dev/reference/events/url_verification */
function urlVerification(event: Readonly<Record<string, unknown>>): Handshake | undefined {
  const { type, challenge } = event;
  if (type !== 'url_verification' || typeof challenge !== 'string' || !CHALLENGE.test(challenge))
    return undefined;
  return { status: 200, contentType: 'text/plain; charset=utf-8', body: challenge };
}
