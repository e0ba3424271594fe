/** What the load generators are told, as JSON in their first argument. */
export interface ClosedLoopOrder {
  readonly url: string;
  readonly secret: string;
  readonly connections: number;
  /**
   * How much is sent: a number, or for about how long after a warm-up. It is a number in the end either way, so that
   * every request is answered and can be counted.
   */
  readonly load: { readonly amount: number } | { readonly seconds: number };
  /** Default 202. */
  readonly expectedStatus?: number;
}

/** Each connection sends its next request when the last one is answered. */
export interface ClosedLoopResult {
  /** Answers as expected in the measured phase, and in all phases together. */
  readonly accepted: number;
  readonly acceptedInAll: number;
  /** Everything else that happened, in all phases; empty when all is well. */
  readonly failures: Readonly<Record<string, number>>;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly clientCpuMs: number;
}

export interface OpenLoopOrder {
  readonly url: string;
  readonly secret: string;
  readonly connections: number;
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** `poisson`: as independent senders come; `even`: one after the other. */
  readonly arrivals: 'poisson' | 'even';
  readonly expectedStatus: number;
  /** What a refusal looks like where refusals are wanted; without it each is a failure. */
  readonly refusalStatus?: number;
}

/** Requests are sent when they are due, whatever became of those before; latency counts from when they were due. */
export interface OpenLoopResult {
  readonly sent: number;
  readonly sentInAll: number;
  /** Of all that were sent. */
  readonly refused: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly clientCpuMs: number;
}
