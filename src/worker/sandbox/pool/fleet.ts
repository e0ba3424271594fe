import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import type { SandboxLossReason, SandboxRecycleReason } from '../../../core/telemetry/reasons.ts';
import type { Runtime, SandboxDriver, SandboxLimits } from '../driver.ts';
import { openSession, type Session, type SessionOptions } from '../session.ts';
import type { PoolMetrics } from './metrics.ts';
import { createMember, type Member } from './member.ts';
import { createStartBackoff, type StartBackoff } from './start-backoff.ts';
import { costOf, limitsKey, type PoolBounds, type Wish } from './state.ts';
import { warmUp } from './warm-up.ts';

const DEFAULT_MAX_EXECUTIONS = 5000;
const SET_LIMITS_TIMEOUT_MS = 5000;

/** What is held back after a failure: starts and new limits that fail for one reason need not fail for others. */
export const spareKind = (runtime: Runtime): string => `spare ${runtime}`;
export const startKind = ({ runtime, limits }: Pick<Wish, 'runtime' | 'limits'>): string =>
  `${runtime} ${limitsKey(limits)}`;
export const limitsKind = (limits: SandboxLimits): string => `limits ${limitsKey(limits)}`;

/** The sandboxes of the pool: starting, ending and counting them. What to do is decided elsewhere. */
export interface Fleet {
  readonly members: readonly Member[];
  readonly backoff: StartBackoff;
  open(driver: SandboxDriver): void;
  /** Starts one for a wish. */
  start(wish: Wish): void;
  /** Starts a spare and warms it, after everything else that wants the processors, as nobody waits for it. */
  startSpare(runtime: Runtime): void;
  /** Somebody has to wait for a spare: those that start in the background do so no longer. */
  hurry(runtime: Runtime): void;
  /** Makes it the wish's owner's, if it is not already, and counts a run in it. */
  occupy(member: Member, wish: Wish): void;
  /** @throws when they cannot be set; it is ended then */
  setLimits(member: Member, limits: SandboxLimits): Promise<void>;
  runEnded(member: Member): void;
  vacate(member: Member): void;
  /** Ends it as soon as nothing runs in it; it takes nothing more. */
  condemn(member: Member, reason: SandboxRecycleReason): void;
  /** Ends it at once. */
  end(member: Member, reason: SandboxRecycleReason): void;
  closeAll(): void;
}

export function createFleet(deps: {
  readonly metrics: PoolMetrics;
  readonly logger: Logger;
  readonly defaultLimits: SandboxLimits;
  readonly maxExecutions?: number;
  readonly session?: SessionOptions;
  readonly now: () => number;
  readonly bounds: PoolBounds;
  /** Whether somebody waits for a sandbox of this owner. */
  readonly isWanted: (ownerKey: string) => boolean;
  readonly onClaimed?: (runtime: Runtime) => void;
  /** Something became ready, or its room is free. */
  readonly onChange: () => void;
}): Fleet {
  const { metrics, logger, defaultLimits, now, bounds, maxExecutions = DEFAULT_MAX_EXECUTIONS } = deps;
  const members: Member[] = [];
  const backoff = createStartBackoff(logger, now);
  let driver: SandboxDriver | undefined;
  let isClosed = false;

  const remove = (member: Member): void => {
    const at = members.indexOf(member);
    if (at >= 0) members.splice(at, 1);
    deps.onChange();
  };
  const watch = (member: Member, session: Session): void => {
    void session.lost.then(({ cause, exit }) => {
      if (cause !== 'closed') {
        const reason: SandboxLossReason = cause === 'exit' ? exit.reason : cause;
        metrics.sandboxLosses.inc({ reason });
        logger.info({ sandbox: session.sandbox.id, reason, detail: exit.detail }, 'a sandbox was lost');
      }
      remove(member);
    });
  };
  const launch = async (member: Member): Promise<void> => {
    const { runtime, limits } = member;
    const kind = member.owner === undefined ? spareKind(runtime) : startKind(member);
    try {
      if (driver === undefined) throw new Error('there is no driver');
      const { isBackground } = member;
      const sandbox = await driver.start({ runtime, limits, ...(isBackground ? { isBackground } : {}) });
      member.sandbox = sandbox;
      if (isBackground && !member.isBackground) sandbox.hurry?.();
      const session = await openSession(sandbox, {
        ...deps.session,
        onEnding: () => (member.phase = 'ending'),
      });
      member.session = session;
      member.slots = session.slots;
      if (session.sandbox.isWarm) member.isFresh = false;
      watch(member, session);
    } catch (raw) {
      member.phase = 'ending';
      if (!isClosed) backoff.failed(kind, coerceError(raw));
      remove(member);
      return;
    }
    if (member.owner !== undefined) backoff.succeeded(kind);
    await settle(member, member.session);
  };
  /** Decides what a sandbox that has become ready is for. */
  const settle = async (member: Member, session: Session): Promise<void> => {
    if (isClosed) {
      session.close();
      return;
    }
    if (member.owner !== undefined && deps.isWanted(member.owner.key)) {
      becomeReady(member, 'kept');
      return;
    }
    if (member.owner !== undefined) {
      // Whoever it was started for has another place, or is gone; nothing has run in it.
      const spares = members.filter(({ phase, runtime }) => phase === 'spare' && runtime === member.runtime);
      if (spares.length >= bounds.spares[member.runtime].max) {
        end(member, 'surplus');
        return;
      }
      member.owner = undefined;
      member.isSingle = false;
      member.isFresh = false;
    }
    try {
      await warmUp(session, member.runtime);
    } catch (raw) {
      if (isClosed) return;
      backoff.failed(spareKind(member.runtime), coerceError(raw));
      session.close();
      return;
    }
    backoff.succeeded(spareKind(member.runtime));
    if (member.phase === 'starting') becomeReady(member, 'spare');
  };
  const hurry = (member: Member): void => {
    if (!member.isBackground) return;
    member.isBackground = false;
    member.sandbox?.hurry?.();
  };
  const becomeReady = (member: Member, phase: 'kept' | 'spare'): void => {
    hurry(member);
    member.phase = phase;
    member.idleSinceMs = now();
    deps.onChange();
  };
  const add = (member: Member): void => {
    members.push(member);
    void launch(member);
  };
  const end = (member: Member, reason: SandboxRecycleReason): void => {
    if (member.phase === 'ending') return;
    member.phase = 'ending';
    metrics.sandboxRecycled.inc({ reason });
    member.session?.close();
  };
  const condemn = (member: Member, reason: SandboxRecycleReason): void => {
    member.isCondemned = true;
    member.condemnedFor ??= reason;
    if (member.used === 0) end(member, reason);
  };

  return {
    members,
    backoff,
    open: (opened) => void (driver = opened),
    start({ runtime, limits, cost, owner, isSingle }) {
      deps.onClaimed?.(runtime);
      add(createMember({ runtime, limits, cost, owner, isSingle }));
    },
    startSpare: (runtime) =>
      add(
        createMember({
          runtime,
          limits: defaultLimits,
          cost: costOf(defaultLimits, defaultLimits),
          owner: undefined,
          isSingle: false,
        }),
      ),
    hurry(runtime) {
      for (const member of members) if (member.runtime === runtime) hurry(member);
    },
    occupy(member, wish) {
      if (member.phase === 'spare') {
        deps.onClaimed?.(member.runtime);
        member.phase = 'kept';
        member.owner = wish.owner;
        member.cost = wish.cost;
      }
      member.isFresh = false;
      member.used++;
      if (wish.isSingle) {
        member.isSingle = true;
        condemn(member, 'single_use');
      }
    },
    async setLimits(member, limits) {
      member.isCondemned = true; // nobody else's run goes into it meanwhile
      try {
        await within(SET_LIMITS_TIMEOUT_MS, member.session!.sandbox.setLimits(limits)); // it is ready
        member.limits = limits;
      } catch (raw) {
        backoff.failed(limitsKind(limits), coerceError(raw));
        end(member, 'limits');
        throw raw;
      }
      backoff.succeeded(limitsKind(limits));
      member.isCondemned = member.condemnedFor !== undefined;
      deps.onChange();
    },
    runEnded(member) {
      if (++member.executions >= maxExecutions) condemn(member, 'executions');
      if (member.session!.slotsLost() > 0) condemn(member, 'slot_lost'); // it has run something
    },
    vacate(member) {
      member.used--;
      member.usedBeforeMs = member.executions > 1 ? member.idleSinceMs : 0;
      member.idleSinceMs = now();
      if (member.condemnedFor !== undefined && member.used === 0) end(member, member.condemnedFor);
    },
    condemn,
    end,
    closeAll() {
      isClosed = true;
      for (const { session } of members) session?.close();
    },
  };
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms);
  try {
    await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
