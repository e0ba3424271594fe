import { keyFromHeader } from './dedupe.ts';
import { decodeHex } from './encoding.ts';
import { requireHeader } from './headers.ts';
import { DIGEST_BYTES } from './keys.ts';
import type { Scheme } from './scheme.ts';
import { refused } from './types.ts';

const PREFIX = 'sha256=';

/**
 * GitHub: HMAC-SHA256 of the body in hex. The older `X-Hub-Signature` (SHA-1) is not looked at.
 * The delivery id is not signed, but it is the same for a redelivery, which is what deduplication needs.
 * https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
 */
export const github: Scheme = {
  read: ({ rawHeaders, body }) => {
    const header = requireHeader(rawHeaders, 'x-hub-signature-256');
    if (!header.ok) return header;
    const hex = header.value.startsWith(PREFIX) ? header.value.slice(PREFIX.length) : '';
    const mac = decodeHex(hex, DIGEST_BYTES.sha256);
    if (mac === undefined)
      return refused('x-hub-signature-256 is not `sha256=` and 64 lower-case hex digits');
    return { ok: true, signed: [body], macs: [mac] };
  },
  accept: ({ rawHeaders }) => ({ ok: true, dedupeKey: keyFromHeader(rawHeaders, 'x-github-delivery') }),
};
