import { keyFromHeader } from './dedupe.ts';
import type { Verifier } from './types.ts';

/** No check; a sender that gives an `Idempotency-Key` gets deduplication all the same. */
export const verifyNothing: Verifier = ({ rawHeaders }) => ({
  ok: true,
  dedupeKey: keyFromHeader(rawHeaders, 'idempotency-key'),
});
