import { availableParallelism } from 'node:os';
import { coerceError } from '../../core/errors/app-error.ts';
import type { Logger } from '../../core/logger.ts';
import type { NoDriver, Runtime, SandboxDriver, SandboxLimits } from './driver.ts';
import { chooseKept, chooseSpare, planStart } from './pool/decide.ts';
import { createFairQueue } from './pool/fair-queue.ts';
import { createFleet, limitsKind, startKind } from './pool/fleet.ts';
import { createSlot, type Member } from './pool/member.ts';
import { observePoolSize, type PoolMetrics } from './pool/metrics.ts';
import { closing, noDriver, noRuntime, notOpen, timedOut, tooLarge } from './pool/refusals.ts';
import { limitsKey, wishOf, type PoolBounds, type SpareBounds, type Wish } from './pool/state.ts';
import { createUpkeep } from './pool/upkeep.ts';
import { createWaiting, type Waiting } from './pool/waiting.ts';
import type { SessionOptions } from './session.ts';
import type { SandboxPool, SandboxRequest, SandboxSlot } from './types.ts';

export interface SandboxPoolOptions {
  /** May still be opening. */
  readonly driver: SandboxDriver | NoDriver | Promise<SandboxDriver | NoDriver>;
  readonly metrics: PoolMetrics;
  readonly logger: Logger;
  /** Of spares, and of steps that ask for nothing else. */
  readonly defaultLimits: SandboxLimits;
  /** None where idle sandboxes wait elsewhere for all workers (Kubernetes). */
  readonly spares?: Readonly<Record<Runtime, SpareBounds>>;
  readonly budgetBytes?: number;
  /** Sandboxes of one owner. */
  readonly maxPerOwner?: number;
  /** Sandboxes that start at the same time. */
  readonly maxStarting?: number;
  readonly claimTimeoutMs?: number;
  readonly idleMs?: number;
  readonly maxExecutions?: number;
  /** Told of each sandbox that becomes a workflow's. */
  readonly onClaimed?: (runtime: Runtime) => void;
  readonly session?: SessionOptions;
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
  readonly availableMemory?: () => number;
  readonly tickMs?: number;
  readonly refillEveryMs?: number;
}

const DEFAULT_SPARES = { javascript: { min: 2, max: 4 }, python: { min: 1, max: 1 } } as const;
const DEFAULT_BUDGET_BYTES = 2_147_483_648;
const DEFAULT_CLAIM_TIMEOUT_MS = 60_000;

/**
 * Sandboxes for the code steps of this worker: spares that are warm, and kept ones that belong to one version of one
 * tenant's workflow from their first execution until they end (DESIGN section 6).
 */
export function createSandboxPool(options: SandboxPoolOptions): SandboxPool {
  const { metrics, defaultLimits, claimTimeoutMs = DEFAULT_CLAIM_TIMEOUT_MS } = options;
  const now = options.now ?? (() => performance.now());
  const bounds: PoolBounds = {
    budgetBytes: options.budgetBytes ?? DEFAULT_BUDGET_BYTES,
    maxPerOwner: options.maxPerOwner ?? availableParallelism(),
    maxStarting: options.maxStarting ?? availableParallelism(),
    spares: options.spares ?? DEFAULT_SPARES,
  };
  const queue = createFairQueue<Waiting>();
  let driver: SandboxDriver | NoDriver | undefined;
  let isClosed = false;
  let isScheduled = false;

  const fleet = createFleet({
    ...options,
    now,
    bounds,
    isWanted: (key) => queue.inOrder().some(({ wish }) => wish.owner.key === key),
    onChange: () => schedulePump(),
  });
  const upkeep = createUpkeep({
    ...options,
    now,
    bounds,
    fleet,
    waiting: () => queue.inOrder(),
    reserved: () => reserved,
    onTick: () => pump(),
  });
  let reserved = 0;

  const maySetLimits =
    (wish: Wish) =>
    (spare: Member): boolean =>
      limitsKey(spare.limits) === limitsKey(wish.limits) ||
      fleet.backoff.notBeforeMs(limitsKind(wish.limits)) <= now();
  const grant = (wish: Wish, member: Member, sinceMs: number): SandboxSlot | Promise<SandboxSlot> => {
    const isHit = !member.isFresh;
    const needsLimits = member.phase === 'spare' && limitsKey(member.limits) !== limitsKey(wish.limits);
    if (member.phase === 'spare') {
      upkeep.spareTaken(member.runtime);
      schedulePump(); // another is wanted now
    }
    fleet.occupy(member, wish);
    const slot = createSlot(member.session!, isHit, {
      // it is ready
      onRunEnded: () => fleet.runEnded(member),
      onReleased() {
        fleet.vacate(member);
        if (queue.size > 0) pump();
      },
    });
    const granted = (): SandboxSlot => {
      const result = isHit ? 'hit' : 'miss';
      metrics.sandboxClaim.observe({ result }, (now() - sinceMs) / 1000, wish.traceId);
      return slot;
    };
    return needsLimits ? fleet.setLimits(member, wish.limits).then(granted) : granted();
  };
  const serve = (waiting: Waiting, member: Member): void => {
    queue.remove(waiting.wish.owner.tenantId, waiting, true);
    const slot = grant(waiting.wish, member, waiting.sinceMs);
    if (!(slot instanceof Promise)) {
      waiting.resolve(slot);
      return;
    }
    slot.then(
      (granted) => waiting.resolve(granted),
      () => {
        // The sandbox is gone; the claim goes on.
        if (waiting.isSettled()) return;
        queue.add(waiting.wish.owner.tenantId, waiting);
        pump();
      },
    );
  };

  const schedulePump = (): void => {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      pump();
    });
  };

  /** Gives out what is free and starts what is missing, in fair order. */
  const pump = (): void => {
    if (isClosed || driver?.description === undefined) return;
    // First what costs nothing, so that none is ended while somebody waits for it.
    const unserved = queue.inOrder().filter((waiting) => {
      const kept = chooseKept(fleet.members, waiting.wish);
      if (kept !== undefined) serve(waiting, kept);
      return kept === undefined;
    });
    reserved = 0;
    const unmet = new Map<string, number>();
    const planned = new Set<string>();
    for (const waiting of unserved) {
      const { wish } = waiting;
      const { key } = wish.owner;
      const others = unmet.get(key) ?? 0;
      const spare =
        others === 0 ? chooseSpare(fleet.members, wish, bounds, reserved, maySetLimits(wish)) : undefined;
      if (spare !== undefined) {
        serve(waiting, spare);
        continue;
      }
      unmet.set(key, others + 1);
      if (planned.has(key) || fleet.backoff.notBeforeMs(startKind(wish)) > now()) continue;
      if (startFor(wish, others + 1)) continue;
      fleet.hurry(wish.runtime);
      // Younger claims may not take the room that this one waits for.
      reserved += wish.cost;
      planned.add(key);
    }
    upkeep.refill();
    observePoolSize(metrics, fleet.members, driver.spares?.());
  };
  /** @returns whether one is starting for it now; false when it has to wait for room */
  const startFor = (wish: Wish, unmet: number): boolean => {
    const plan = planStart(fleet.members, wish, unmet, bounds, reserved);
    switch (plan.type) {
      case 'covered':
        return true;
      case 'start':
        for (const victim of plan.victims) fleet.end(victim, 'evicted');
        if (plan.victims.length > 0) return false;
        fleet.start(wish);
        return true;
      case 'soon':
      case 'full':
        return false;
      default:
        return plan satisfies never;
    }
  };

  const open = async (): Promise<void> => {
    try {
      driver = await options.driver;
    } catch (raw) {
      const reason = `its sandbox driver could not be opened: ${coerceError(raw).message}.`;
      driver = { description: undefined, reason, remedy: 'See the worker’s log.' };
      options.logger.error({ err: coerceError(raw) }, 'the sandbox driver could not be opened');
    }
    if (driver.description !== undefined && !isClosed) {
      fleet.open(driver);
      upkeep.start(driver.runtimes);
    } else {
      upkeep.stop();
    }
    for (const waiting of queue.inOrder()) {
      const refusal = refusalOf(waiting.wish);
      if (refusal !== undefined) waiting.reject(refusal);
    }
    pump();
  };
  const refusalOf = (wish: Wish): Error | undefined => {
    if (isClosed) return closing();
    if (driver === undefined) return undefined;
    if (driver.description === undefined) return noDriver(driver);
    if (!driver.runtimes.has(wish.runtime)) return noRuntime(wish.runtime, driver.description);
    return wish.cost > bounds.budgetBytes ? tooLarge(wish, bounds.budgetBytes) : undefined;
  };
  const opened = open();

  return {
    warmed: upkeep.warmed,
    async claim(request: SandboxRequest) {
      request.signal.throwIfAborted();
      const wish = wishOf(request, defaultLimits);
      const refusal = refusalOf(wish);
      if (refusal !== undefined) throw refusal;
      const sinceMs = now();
      if (queue.size === 0 && driver !== undefined) {
        const place =
          chooseKept(fleet.members, wish) ?? chooseSpare(fleet.members, wish, bounds, 0, maySetLimits(wish));
        // A spare whose limits have to be changed first may fail to; such a claim has to be able to go on.
        if (place !== undefined && limitsKey(place.limits) === limitsKey(wish.limits)) {
          return grant(wish, place, sinceMs);
        }
      }
      const { waiting, slot } = createWaiting(wish, {
        sinceMs,
        timeoutMs: claimTimeoutMs,
        signal: request.signal,
        timeoutError: () =>
          driver === undefined
            ? notOpen(claimTimeoutMs)
            : timedOut(
                wish,
                claimTimeoutMs,
                fleet.members,
                bounds,
                fleet.backoff.notBeforeMs(startKind(wish)) > 0,
              ),
        onDone: (settled, wasServed) => queue.remove(wish.owner.tenantId, settled, wasServed),
      });
      queue.add(wish.owner.tenantId, waiting);
      pump();
      return slot;
    },
    async close() {
      if (!isClosed) {
        isClosed = true;
        upkeep.stop();
        for (const waiting of queue.inOrder()) waiting.reject(closing());
        fleet.closeAll();
      }
      const closeDriver = async (): Promise<void> => {
        await opened;
        if (driver?.description !== undefined) await driver.close();
      };
      // Nobody who stops has to wait for a driver that is still opening.
      if (driver === undefined) void closeDriver();
      else await closeDriver();
    },
  };
}
