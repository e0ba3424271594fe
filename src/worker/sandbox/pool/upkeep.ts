import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import { RUNTIMES, type Runtime, type SandboxLimits } from '../driver.ts';
import { chooseDrained, chooseRefill, chooseReliever, expired } from './decide.ts';
import { spareKind, type Fleet } from './fleet.ts';
import { costOf, type PoolBounds } from './state.ts';
import type { Waiting } from './waiting.ts';

const TICK_MS = 1000;
const REFILL_EVERY_MS = 1000;
const DEFAULT_IDLE_MS = 300_000;
/** For how long a spare that was taken makes more of them wanted. */
const TAKEN_FOR_MS = 60_000;
/** How long a claim waits for a sandbox that is never idle to come free by itself. */
const DRAIN_AFTER_MS = 500;
/** A cgroup is looked at so often, one after the other. */
const MEMORY_CHECK_EVERY_MS = 10_000;
/** Of its limit: a sandbox that has so much charged is ended before it hurts a run. */
const NEAR_LIMIT = 0.9;
/** What the machine is to have left. */
const MIN_AVAILABLE_BYTES = 268_435_456;

/** What the pool does without being asked. */
export interface Upkeep {
  readonly warmed: Promise<void>;
  start(runtimes: ReadonlySet<Runtime>): void;
  stop(): void;
  spareTaken(runtime: Runtime): void;
  /** Starts a spare if one is missing and its time has come. */
  refill(): void;
}

export function createUpkeep(deps: {
  readonly logger: Logger;
  readonly defaultLimits: SandboxLimits;
  readonly idleMs?: number;
  readonly tickMs?: number;
  readonly refillEveryMs?: number;
  readonly availableMemory?: () => number;
  readonly now: () => number;
  readonly bounds: PoolBounds;
  readonly fleet: Fleet;
  readonly waiting: () => readonly Waiting[];
  /** Bytes of the budget that claims wait for. */
  readonly reserved: () => number;
  readonly onTick: () => void;
}): Upkeep {
  const { logger, defaultLimits, now, bounds, fleet } = deps;
  const { idleMs = DEFAULT_IDLE_MS, refillEveryMs = REFILL_EVERY_MS } = deps;
  const availableMemory = deps.availableMemory ?? (() => process.availableMemory());
  const warm = new Set<Runtime>();
  const warmed = Promise.withResolvers<void>();
  let runtimes: ReadonlySet<Runtime> = new Set();
  const taken: { readonly runtime: Runtime; readonly atMs: number }[] = [];
  let refilledAtMs = -Infinity;
  let checkedAtMs = -Infinity;
  let isChecking = false;
  let isMemoryLow = false;
  let timer: NodeJS.Timeout | undefined;

  const refill = (): void => {
    noteWarmth();
    const nowMs = now();
    if (timer === undefined || nowMs - refilledAtMs < refillEveryMs) return;
    const plan = chooseRefill(fleet.members, bounds, {
      nowMs,
      notBeforeMs: (runtime) => fleet.backoff.notBeforeMs(spareKind(runtime)),
      runtimes,
      taken: (runtime) =>
        taken.filter((one) => one.runtime === runtime && nowMs - one.atMs < TAKEN_FOR_MS).length,
      isMemoryLow,
      reserved: deps.reserved(),
      cost: costOf(defaultLimits, defaultLimits),
    });
    if (plan === undefined) return;
    for (const victim of plan.victims) fleet.end(victim, 'evicted');
    if (plan.victims.length > 0) return; // its room is free a little later
    refilledAtMs = nowMs;
    fleet.startSpare(plan.runtime);
  };
  const noteWarmth = (): void => {
    for (const { runtime, phase } of fleet.members) if (phase === 'spare') warm.add(runtime);
    const isAwaited = (runtime: Runtime): boolean =>
      runtimes.has(runtime) &&
      bounds.spares[runtime].min > 0 &&
      !warm.has(runtime) &&
      fleet.backoff.notBeforeMs(spareKind(runtime)) === 0;
    if (!RUNTIMES.some(isAwaited)) warmed.resolve();
  };
  const checkMemory = async (): Promise<void> => {
    isChecking = true;
    try {
      for (const member of fleet.members.slice()) {
        if (member.phase !== 'kept' || member.session === undefined) continue;
        const bytes = await member.session.sandbox.memoryBytes();
        if (bytes !== undefined && bytes >= member.limits.memoryBytes * NEAR_LIMIT) {
          fleet.condemn(member, 'memory_pressure');
        }
      }
    } catch (raw) {
      logger.debug({ err: coerceError(raw) }, 'the memory of a sandbox could not be read');
    } finally {
      isChecking = false;
    }
  };
  const relieve = (): void => {
    const wasLow = isMemoryLow;
    isMemoryLow = availableMemory() < MIN_AVAILABLE_BYTES;
    if (isMemoryLow && !wasLow) logger.warn('memory is low; sandboxes that are idle are ended');
    const reliever = isMemoryLow ? chooseReliever(fleet.members) : undefined;
    if (reliever !== undefined) fleet.end(reliever, 'memory_pressure');
  };
  const drain = (): void => {
    if (deps.reserved() === 0) return;
    const starved = deps.waiting().find(({ sinceMs }) => now() - sinceMs >= DRAIN_AFTER_MS);
    if (starved === undefined) return;
    const drained = chooseDrained(fleet.members, starved.wish, bounds);
    if (drained !== undefined) fleet.condemn(drained, 'evicted');
  };
  const tick = (): void => {
    for (const member of expired(fleet.members, now(), idleMs)) fleet.end(member, 'idle');
    while (taken[0] !== undefined && now() - taken[0].atMs >= TAKEN_FOR_MS) taken.shift();
    relieve();
    deps.onTick();
    drain();
    if (!isChecking && now() - checkedAtMs >= MEMORY_CHECK_EVERY_MS) {
      checkedAtMs = now();
      void checkMemory();
    }
  };

  return {
    warmed: warmed.promise,
    start(available) {
      runtimes = available;
      timer = setInterval(tick, deps.tickMs ?? TICK_MS).unref();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
      warmed.resolve();
    },
    spareTaken(runtime) {
      warm.add(runtime);
      taken.push({ runtime, atMs: now() });
    },
    refill,
  };
}
