import type { StepError } from '../../core/step-error.ts';

/** Why the broker refuses a request: the label of `broker_refusals_total`. */
export const REFUSAL_REASONS = [
  /** No rule of the step has the host. */
  'host_not_allowed',
  /** A private or reserved address, or one of the platform's own. */
  'address_denied',
  /** Another scheme, or a password in the URL. */
  'url_denied',
  'credential_not_listed',
  /** A redirect led to something of the above, or too far. */
  'redirect_denied',
  'limit',
  'step_ended',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

/** What a failure means as a refusal; undefined for one that is none. */
export function refusalOf(error: StepError, denied: RefusalReason): RefusalReason | undefined {
  if (error.code === 'egress_denied') return denied;
  if (error.code === 'redirect_denied') return 'redirect_denied';
  return error.code === 'egress_limit' ? 'limit' : undefined;
}
