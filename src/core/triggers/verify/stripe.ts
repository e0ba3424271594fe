import { jsonObjectOf, keyFromJson } from './dedupe.ts';
import { decodeHex } from './encoding.ts';
import { requireHeader } from './headers.ts';
import { DIGEST_BYTES } from './keys.ts';
import { MAX_LIST_ENTRIES, type Scheme } from './scheme.ts';
import { MAX_TOLERANCE_S } from './schemas.ts';
import { timestampProblem } from './timestamp.ts';
import { refused } from './types.ts';

const ENTRY = /^([A-Za-z0-9_]+)=([^\s=]*)$/;

/**
 * Stripe: `t=…,v1=…` with HMAC-SHA256 of `t.body` in hex; several v1 while a secret is rolled. Other schemes
 * (v0) are ignored, which is what keeps a downgrade from working.
 * https://docs.stripe.com/webhooks#verify-manually
 */
export const stripe: Scheme = {
  read: ({ rawHeaders, body, nowMs }) => {
    const header = requireHeader(rawHeaders, 'stripe-signature');
    if (!header.ok) return header;
    const entries = header.value.split(',', MAX_LIST_ENTRIES + 1);
    if (entries.length > MAX_LIST_ENTRIES)
      return refused(`stripe-signature has over ${MAX_LIST_ENTRIES} entries`);
    const macs: Buffer[] = [];
    let timestamp: string | undefined;
    for (const entry of entries) {
      const [, name, value] = ENTRY.exec(entry) ?? [];
      if (name === undefined || value === undefined)
        return refused('stripe-signature is not a list of name=value');
      if (name === 't') {
        if (timestamp !== undefined) return refused('stripe-signature has more than one t');
        timestamp = value;
      }
      const mac = name === 'v1' ? decodeHex(value, DIGEST_BYTES.sha256) : undefined;
      if (mac !== undefined) macs.push(mac);
    }
    if (timestamp === undefined) return refused('stripe-signature has no t');
    const problem = timestampProblem(timestamp, nowMs, MAX_TOLERANCE_S);
    if (problem !== undefined) return refused(problem);
    if (macs.length === 0) return refused('stripe-signature has no v1 of 64 lower-case hex digits');
    return { ok: true, signed: [`${timestamp}.`, body], macs };
  },
  accept: ({ body }) => ({ ok: true, dedupeKey: keyFromJson(jsonObjectOf(body), 'id') }),
};
