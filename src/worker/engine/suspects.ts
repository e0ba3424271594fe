import type { Claim } from '../../core/executions/claims.ts';

/**
 * An execution that lost this many workers may be what ended them, or was only beside it. From then on it meets no other
 * of its kind in a worker, so that the one that ends workers is soon alone with the blame.
 */
const SUSPECT_AFTER_LOSSES = 2;

/** What is to become of claims that were made together. */
export interface Sorted {
  readonly clear: readonly Claim[];
  /** Runs alone among its kind, once `sentBack` are released: they must not be lost with it. */
  readonly suspect: Claim | undefined;
  readonly sentBack: readonly Claim[];
}

/** @param mayTakeSuspect false while this worker runs one */
export function sortSuspects(claims: readonly Claim[], mayTakeSuspect: boolean): Sorted {
  const suspects = claims.filter(({ lostLeases }) => lostLeases >= SUSPECT_AFTER_LOSSES);
  const clear = claims.filter(({ lostLeases }) => lostLeases < SUSPECT_AFTER_LOSSES);
  const [suspect, ...others] = suspects;
  return mayTakeSuspect
    ? { clear, suspect, sentBack: others }
    : { clear, suspect: undefined, sentBack: suspects };
}
