import { keyFromHeader, usableKey } from './dedupe.ts';
import { decodeBase64, decodeBase64Key } from './encoding.ts';
import { readHeader, requireHeader } from './headers.ts';
import { DIGEST_BYTES, ed25519Key, hmacKey, type VerifyKey } from './keys.ts';
import { MAX_LIST_ENTRIES, type Scheme } from './scheme.ts';
import { MAX_TOLERANCE_S } from './schemas.ts';
import { timestampProblem } from './timestamp.ts';
import { refused, type SecretValue } from './types.ts';

const ED25519_KEY_BYTES = 32;
const ED25519_SIGNATURE_BYTES = 64;
const ENTRY = /^(v[0-9]+[a-z]?),([^\s,]+)$/;

/**
 * Standard Webhooks: `id.timestamp.body`, HMAC-SHA256 (`v1`) or ed25519 (`v1a`), in base64. Svix sends the same
 * under `svix-*`; where both are there, `webhook-*` counts. The signed id is the dedupe key.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export const standardWebhooks: Scheme = {
  read: ({ rawHeaders, body, nowMs }) => {
    const family = familyOf(rawHeaders);
    const id = requireHeader(rawHeaders, `${family}-id`);
    if (!id.ok) return id;
    const timestamp = requireHeader(rawHeaders, `${family}-timestamp`);
    if (!timestamp.ok) return timestamp;
    const list = requireHeader(rawHeaders, `${family}-signature`);
    if (!list.ok) return list;
    // A full stop in the id would let one signature fit two ways of cutting the text (the specification says so).
    if (usableKey(id.value) === undefined || id.value.includes('.')) {
      return refused(`${family}-id is not 1 to 255 printable characters without a full stop`);
    }
    const problem = timestampProblem(timestamp.value, nowMs, MAX_TOLERANCE_S);
    if (problem !== undefined) return refused(problem);
    const entries = list.value.split(' ', MAX_LIST_ENTRIES + 1);
    if (entries.length > MAX_LIST_ENTRIES)
      return refused(`${family}-signature has over ${MAX_LIST_ENTRIES} entries`);
    const macs: Buffer[] = [];
    const signatures: Buffer[] = [];
    for (const entry of entries) {
      const [, version, text] = ENTRY.exec(entry) ?? [];
      if (version === undefined || text === undefined)
        return refused(`${family}-signature is not a list of v1,…`);
      const mac = version === 'v1' ? decodeBase64(text, DIGEST_BYTES.sha256) : undefined;
      if (mac !== undefined) macs.push(mac);
      const signature = version === 'v1a' ? decodeBase64(text, ED25519_SIGNATURE_BYTES) : undefined;
      if (signature !== undefined) signatures.push(signature);
    }
    if (macs.length + signatures.length === 0)
      return refused(`${family}-signature has no well-formed v1 or v1a`);
    return { ok: true, signed: [`${id.value}.${timestamp.value}.`, body], macs, signatures };
  },
  accept: ({ rawHeaders }) => ({
    ok: true,
    dedupeKey: keyFromHeader(rawHeaders, `${familyOf(rawHeaders)}-id`),
  }),
};

function familyOf(rawHeaders: readonly string[]): 'webhook' | 'svix' {
  const hasOnlySvix =
    readHeader(rawHeaders, 'webhook-signature').count === 0 &&
    readHeader(rawHeaders, 'svix-signature').count > 0;
  return hasOnlySvix ? 'svix' : 'webhook';
}

/** The key a secret stands for, or what is wrong with it (never the secret itself). */
export function standardWebhooksKey(secret: SecretValue): VerifyKey | { readonly problem: string } {
  const { value, notAfterMs } = secret;
  if (value.startsWith('whsk_')) {
    return {
      problem: 'it is a private signing key (`whsk_`); give the `whpk_` public key that belongs to it',
    };
  }
  if (value.startsWith('whpk_')) {
    const key = decodeBase64Key(value.slice('whpk_'.length));
    if (key?.length !== ED25519_KEY_BYTES) {
      return { problem: 'what follows `whpk_` is not base64 of a 32-byte ed25519 public key' };
    }
    return ed25519Key(key, notAfterMs);
  }
  const key = decodeBase64Key(value.startsWith('whsec_') ? value.slice('whsec_'.length) : value);
  if (key === undefined) {
    return { problem: 'it is not base64 after `whsec_`; copy the signing secret whole from the provider' };
  }
  return hmacKey('sha256', key, notAfterMs);
}
