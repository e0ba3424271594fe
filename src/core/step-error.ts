/** The error codes a step can end with (DESIGN section 5); API, never renamed. */
export const STEP_ERROR_CODES = [
  'http_status',
  'connect_failed',
  'dns_failed',
  'response_too_large',
  'redirect_denied',
  'timeout',
  'output_too_large',
  'invalid_input',
  'invalid_output',
  'egress_denied',
  'credential_missing',
  'expression_error',
  'cancelled',
  'worker_lost',
  'execution_timeout',
  'internal_error',
  'no_sandbox',
  'sandbox_lost',
  'code_error',
  'syntax_error',
  'missing_export',
  'unresolved_import',
  'out_of_memory',
  'resource_limit',
  'egress_limit',
  'image_not_found',
  'invalid_image',
] as const;
export type StepErrorCode = (typeof STEP_ERROR_CODES)[number];

/** Those of them that are the platform's fault, and no author's or service's. */
export const PLATFORM_FAULTS = [
  'worker_lost',
  'sandbox_lost',
  'no_sandbox',
  'internal_error',
] as const satisfies readonly StepErrorCode[];
export type PlatformFault = (typeof PLATFORM_FAULTS)[number];

export const isPlatformFault = (code: string): code is PlatformFault =>
  (PLATFORM_FAULTS as readonly string[]).includes(code);

export interface StepErrorOptions {
  /** Whether another attempt could end otherwise. */
  readonly retryable: boolean;
  /** Least delay before the next attempt, from `Retry-After`. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** How a step fails; the engine journals `code` and `message` and asks `retryable`. */
export class StepError extends Error {
  override readonly name = 'StepError';
  readonly code: StepErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: StepErrorCode, message: string, options: StepErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A failure that no repetition can mend. */
export const terminalError = (code: StepErrorCode, message: string, cause?: unknown): StepError =>
  new StepError(code, message, { retryable: false, cause });

/** A failure that may pass; `retryAfterMs` is a lower bound for the delay. */
export const retryableError = (
  code: StepErrorCode,
  message: string,
  options: { retryAfterMs?: number; cause?: unknown } = {},
): StepError => new StepError(code, message, { retryable: true, ...options });
