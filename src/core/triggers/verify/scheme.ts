import type { Claim, VerifyKey } from './keys.ts';
import { refused, type Accepted, type Refused, type Verifier, type WebhookRequest } from './types.ts';

/** One provider's way of signing. Reading touches no key; `accept` runs only after a key has matched. */
export interface Scheme {
  readonly read: (request: WebhookRequest) => Claim | Refused;
  readonly accept: (request: WebhookRequest) => Accepted;
}

/** A comma- or space-separated signature header may hold this many entries (SECURITY W06). */
export const MAX_LIST_ENTRIES = 20;

/** Binds a scheme to its keys. */
export function bindScheme(scheme: Scheme, keys: readonly VerifyKey[]): Verifier {
  return (request) => {
    const claim = scheme.read(request);
    // A malformed signature costs the same MAC as a wrong one, so that the time of a refusal says nothing.
    const isMatch = matchesAny(
      keys,
      claim.ok ? claim : { ok: true, signed: [request.body], macs: [] },
      request.nowMs,
    );
    if (!claim.ok) return claim;
    if (isMatch) return scheme.accept(request);
    const isAnyValid = keys.some((key) => isValidAt(key, request.nowMs));
    return refused(
      isAnyValid ? 'the signature does not match' : 'every secret of the credential is past its notAfter',
    );
  };
}

const isValidAt = (key: VerifyKey, nowMs: number): boolean =>
  key.notAfterMs === undefined || nowMs <= key.notAfterMs;

/** Tries every valid key, even after a match: which of them it was is nobody's business. */
function matchesAny(keys: readonly VerifyKey[], claim: Claim, nowMs: number): boolean {
  let isMatch = false;
  for (const key of keys) {
    if (isValidAt(key, nowMs) && key.matches(claim)) isMatch = true;
  }
  return isMatch;
}
