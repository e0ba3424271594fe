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
  measure(services: Services, seconds: number): Promise<Measured>;
}

const CONNECTIONS = 50;
/** Requests before the measured ones, so that both sides have compiled their code: more and more, until they take a while. */
const FIRST_WARM_UP = 200;
const WARM_UP_GROWTH = 5;
const WARM_UP_MS = 1000;
/** However slow a system is. */
export const MIN_WEBHOOKS = 1000;
const DRAINED_WITHIN_MS = 300_000;

/** Executions of the measured requests, and how long it was from the first end to the last. */
export interface Ended {
  readonly count: number;
  readonly seconds: number;
}

export interface Load extends ClosedLoopResult {
  /** Webhooks that were accepted before the measured ones. */
  readonly warmUp: number;
}

/**
 * Warms a system up, sends it webhooks for at least so many seconds at the rate it then has, and waits until all have ended.
 *
 * @param untilEnded waits until so many executions have ended since the beginning
 */
export async function measureLoad(
  services: Services,
  target: { readonly url: string; readonly secret?: string; readonly expectedStatus?: number },
  seconds: number,
  untilEnded: (count: number) => Promise<unknown>,
): Promise<Load> {
  let ended = 0;
  const send = async (amount: number): Promise<ClosedLoopResult> => {
    const load = await runClosedLoop(services.processes, {
      secret: 'unused',
      ...target,
      connections: CONNECTIONS,
      load: { amount },
    });
    await untilEnded((ended += load.accepted));
    return load;
  };
  let amount = FIRST_WARM_UP;
  let last = await send(amount);
  while (durationMs(last) < WARM_UP_MS) last = await send((amount *= WARM_UP_GROWTH));
  const warmUp = ended;
  const wanted = Math.ceil((last.accepted / durationMs(last)) * 1000 * seconds);
  return { ...(await send(Math.max(MIN_WEBHOOKS, wanted))), warmUp };
}

const durationMs = ({ startedAtMs, endedAtMs }: ClosedLoopResult): number => endedAtMs - startedAtMs;

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
  acceptsPerSecond: (load.accepted / durationMs(load)) * 1000,
  acceptP50Ms: load.p50Ms,
  acceptP99Ms: load.p99Ms,
  executionsPerSecond: ended.count / ended.seconds,
});
