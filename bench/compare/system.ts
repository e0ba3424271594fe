import { setTimeout as delay } from 'node:timers/promises';
import { runClosedLoop } from '../load/run-load.ts';
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

const CONNECTIONS = 50;
/** Requests before the measured ones, so that both sides have compiled their code. */
export const WARM_UP = 200;
const DRAINED_WITHIN_MS = 300_000;

/** Executions of the measured requests, and how long it was from the first end to the last. */
export interface Ended {
  readonly count: number;
  readonly seconds: number;
}

/**
 * Warms a system up, sends it the measured requests, and waits until all of them have ended.
 *
 * @param untilEnded waits until so many executions have ended since the beginning
 */
export async function measureLoad(
  services: Services,
  target: { readonly url: string; readonly secret?: string; readonly expectedStatus?: number },
  webhooks: number,
  untilEnded: (count: number) => Promise<unknown>,
): Promise<ClosedLoopResult> {
  const send = (amount: number): Promise<ClosedLoopResult> =>
    runClosedLoop(services.processes, {
      secret: 'unused',
      ...target,
      connections: CONNECTIONS,
      load: { amount },
    });
  await send(WARM_UP);
  await untilEnded(WARM_UP);
  const load = await send(webhooks);
  await untilEnded(WARM_UP + load.accepted);
  return load;
}

/** Asks until so many executions have ended. @throws Error when one failed, or it takes longer than it may */
export async function untilEndedBy(
  name: string,
  count: number,
  look: () => Promise<{ readonly ended: number; readonly failed: number }>,
): Promise<void> {
  const deadline = Date.now() + DRAINED_WITHIN_MS;
  for (;;) {
    const { ended, failed } = await look();
    if (failed > 0) throw new Error(`${failed} executions of ${name} failed`);
    if (ended >= count) return;
    if (Date.now() > deadline) throw new Error(`${name} has ended ${ended} of ${count} executions`);
    await delay(200);
  }
}

export const toMeasured = (load: ClosedLoopResult, ended: Ended): Measured => ({
  acceptsPerSecond: (load.accepted / (load.endedAtMs - load.startedAtMs)) * 1000,
  acceptP50Ms: load.p50Ms,
  acceptP99Ms: load.p99Ms,
  executionsPerSecond: ended.count / ended.seconds,
});
