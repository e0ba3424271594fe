// Values of the label `reason`, here because core makes the metrics and the worker counts. Each set is closed, so that each
// series starts at 0 and the first event is an increase.

/** Why a sandbox ended without being asked to: `sandbox_losses_total`. */
export const SANDBOX_LOSS_REASONS = [
  'exited',
  'killed',
  'out_of_memory',
  'process_limit',
  /** It said what the protocol does not allow. */
  'breach',
  'unresponsive',
] as const;
export type SandboxLossReason = (typeof SANDBOX_LOSS_REASONS)[number];

/** Why the pool ends a sandbox: `sandbox_recycled_total`. */
export const SANDBOX_RECYCLE_REASONS = [
  'idle',
  'executions',
  'slot_lost',
  'memory_pressure',
  'evicted',
  'single_use',
  'surplus',
  'limits',
] as const;
export type SandboxRecycleReason = (typeof SANDBOX_RECYCLE_REASONS)[number];

/** Why the broker refuses a request: `broker_refusals_total`. */
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
