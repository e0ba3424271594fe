import type { ClosedLoopResult } from '../load/shapes.ts';
import type { Services } from '../platform/services.ts';

/** What one system did in one run. */
export interface Measured {
  readonly acceptsPerSecond: number;
  readonly acceptP50Ms: number;
  readonly acceptP99Ms: number;
  /** From the first end of an execution to the last. */
  readonly executionsPerSecond: number;
}

/** A system that takes webhooks and runs three steps for each, with a worker running. */
export interface System {
  readonly name: string;
  /** On empty databases; everything it started has ended when it resolves. */
  measure(services: Services, webhooks: number): Promise<Measured>;
}

export const CONNECTIONS = 50;
/** Requests before the measured ones, so that both sides have compiled their code. */
export const WARM_UP = 200;

/** Executions of the measured requests, and how long it was from the first end to the last. */
export interface Ended {
  readonly count: number;
  readonly seconds: number;
}

export const toMeasured = (load: ClosedLoopResult, ended: Ended): Measured => ({
  acceptsPerSecond: (load.accepted / (load.endedAtMs - load.startedAtMs)) * 1000,
  acceptP50Ms: load.p50Ms,
  acceptP99Ms: load.p99Ms,
  executionsPerSecond: ended.count / ended.seconds,
});
