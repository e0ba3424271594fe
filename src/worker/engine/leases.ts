import { coerceError } from '../../core/errors/app-error.ts';
import { checkLeases, heartbeat, type HeldLease, type LeaseCheck } from '../../core/executions/claims.ts';
import type { Queryable } from '../../core/db/database.ts';

/** Who wants to know what becomes of a lease. */
export interface LeaseHolder extends HeldLease {
  /** The right to act is gone, or may be: stop at once and write nothing. */
  readonly onLost: () => void;
  /** A user asked for the execution to end. */
  readonly onCancelRequested: () => void;
}

export interface LeaseKeeperOptions {
  /** On a connection of its own, so that a busy pool does not cost leases. */
  readonly db: Queryable;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly cancelCheckMs?: number;
  /** Monotonic milliseconds. */
  readonly monotonicMs?: () => number;
  readonly onError: (error: Error) => void;
  readonly onLost: () => void;
}

export interface LeaseKeeper {
  /** Watches a lease that was claimed at `claimedAtMs` by this process's monotonic clock. */
  hold(holder: LeaseHolder, claimedAtMs: number): void;
  letGo(executionId: string): void;
  /** For how many milliseconds the oldest lease has been held; 0 without any. */
  oldestAgeMs(): number;
  monotonicMs(): number;
  start(): void;
  stop(): void;
}

const DEFAULT_CANCEL_CHECK_MS = 1000;
/** Of the time left for stopping when a lease is given up, the part that may pass unnoticed. */
const UNNOTICED = 0.1;

/**
 * Extends the leases of all running executions in one statement, notices lost ones and asked-for cancellations.
 *
 * A lease that could not be extended in time is given up before it ends in the database: the time counts from before
 * the last successful heartbeat was sent, by the monotonic clock, so that neither a slow answer nor a wrong wall clock
 * can make two workers believe in the same lease.
 */
export function createLeaseKeeper(options: LeaseKeeperOptions): LeaseKeeper {
  const { db, leaseMs, heartbeatMs, monotonicMs = () => performance.now() } = options;
  const holders = new Map<string, LeaseHolder & { readonly claimedAtMs: number; sureUntilMs: number }>();
  const timers: NodeJS.Timeout[] = [];
  // Enough to stop what runs before another worker may begin.
  const marginMs = Math.min(5000, leaseMs / 4);

  const lose = (holder: LeaseHolder): void => {
    if (holders.get(holder.executionId)?.leaseId !== holder.leaseId) return;
    holders.delete(holder.executionId);
    options.onLost();
    holder.onLost();
  };

  const apply = (asked: readonly LeaseHolder[], check: LeaseCheck, sureUntilMs: number | undefined): void => {
    for (const holder of asked) {
      const current = holders.get(holder.executionId);
      if (current?.leaseId !== holder.leaseId) continue; // ended meanwhile
      if (!check.held.has(holder.executionId)) lose(holder);
      else {
        if (sureUntilMs !== undefined) current.sureUntilMs = sureUntilMs;
        if (check.cancelled.has(holder.executionId)) holder.onCancelRequested();
      }
    }
  };

  const loseOverdue = (): void => {
    const now = monotonicMs();
    for (const holder of holders.values()) if (now >= holder.sureUntilMs) lose(holder);
  };

  // One question at a time on the one connection; a slow answer must not pile up further ones.
  const exclusive = (ask: () => Promise<void>): (() => void) => {
    let asking = false;
    return () => {
      loseOverdue(); // a process that was stopped asks nothing before it knows
      if (asking || holders.size === 0) return;
      asking = true;
      ask()
        .catch((raw: unknown) => options.onError(coerceError(raw)))
        .finally(() => (asking = false));
    };
  };

  const beat = exclusive(async () => {
    const asked = [...holders.values()];
    const sentAtMs = monotonicMs();
    apply(asked, await heartbeat(db, asked, leaseMs), sentAtMs + leaseMs - marginMs);
  });
  const look = exclusive(async () => {
    const asked = [...holders.values()];
    apply(asked, await checkLeases(db, asked), undefined);
  });

  return {
    hold(holder, claimedAtMs) {
      const sureUntilMs = claimedAtMs + leaseMs - marginMs;
      holders.set(holder.executionId, { ...holder, claimedAtMs, sureUntilMs });
    },
    letGo: (executionId) => void holders.delete(executionId),
    oldestAgeMs() {
      const nowMs = monotonicMs();
      let oldestMs = nowMs;
      for (const { claimedAtMs } of holders.values()) oldestMs = Math.min(oldestMs, claimedAtMs);
      return nowMs - oldestMs;
    },
    monotonicMs,
    start() {
      if (timers.length > 0) return;
      timers.push(
        setInterval(beat, heartbeatMs),
        setInterval(look, options.cancelCheckMs ?? DEFAULT_CANCEL_CHECK_MS),
        setInterval(loseOverdue, marginMs * UNNOTICED),
      );
      for (const timer of timers) timer.unref();
    },
    stop() {
      for (const timer of timers.splice(0)) clearInterval(timer);
    },
  };
}
