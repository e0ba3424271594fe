import type { StepError } from '../../core/step-error.ts';
import type { RefusalReason } from '../../core/telemetry/reasons.ts';

export type { RefusalReason };

/** What a failure means as a refusal; undefined for one that is none. */
export function refusalOf(error: StepError, denied: RefusalReason): RefusalReason | undefined {
  if (error.code === 'egress_denied') return denied;
  if (error.code === 'redirect_denied') return 'redirect_denied';
  return error.code === 'egress_limit' ? 'limit' : undefined;
}
