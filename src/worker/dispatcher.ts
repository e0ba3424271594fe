import type { Queryable } from '../core/db/database.ts';
import { coerceError } from '../core/errors/app-error.ts';
import { tenantsWithDueWork, type TenantQuota } from '../core/executions/claims.ts';
import type { Logger } from '../core/logger.ts';
import { detached, type Tracing } from '../core/telemetry/tracing.ts';
import type { Engine } from './engine/engine.ts';
import type { Slots } from './slots.ts';

export interface DispatcherDeps {
  readonly db: Queryable;
  readonly engine: () => Engine;
  readonly slots: Slots;
  /** The database's clock. */
  readonly now: () => number;
  readonly hintsHealthy: () => boolean;
  readonly pollMs: number;
  readonly pollWithoutHintsMs: number;
  readonly tracing: Tracing | undefined;
  readonly logger: Logger;
}

/** Finds ready executions in PostgreSQL: timers, retries, lost leases, and whatever no hint told of. */
export interface Dispatcher {
  start(): void;
  /** An execution is due at this time; looks then. */
  wakeAt(dueAtMs: number): void;
  /** Something due was left where it is: looks when a slot is free. */
  passedOver(): void;
  /** A slot became free: looks at once when more work was seen than could be taken. */
  slotFreed(): void;
  stop(): Promise<void>;
}

/** Due times of this worker's own waiting executions that share one look. */
const WAKE_GRAIN_MS = 5;
const MAX_WAKES = 10_000;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** How long a list of tenants with due work serves, while a backlog is worked off. */
const TENANTS_FRESH_MS = 250;

export function createDispatcher(deps: DispatcherDeps): Dispatcher {
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let stopped = true;
  /** More is due than could be taken, as far as the last look told. */
  let moreDue = false;
  let lookAgain = false;
  let tenants: readonly string[] = [];
  let tenantsReadAtMs = -Infinity;
  const wakes = new Map<number, NodeJS.Timeout>();

  const readTenants = async (): Promise<readonly string[]> => {
    if (!moreDue || performance.now() - tenantsReadAtMs > TENANTS_FRESH_MS) {
      tenants = await tenantsWithDueWork(deps.db);
      tenantsReadAtMs = performance.now();
      deps.slots.setWaitingTenants(tenants);
    }
    return tenants;
  };

  const look = async (): Promise<void> => {
    if (deps.engine().free() === 0) {
      moreDue = true;
      return;
    }
    const due = await readTenants();
    const quotas = shareOut(deps.engine().free(), due, deps.slots.room);
    if (quotas.length === 0) {
      moreDue = due.length > 0;
      return;
    }
    const wanted = quotas.reduce((sum, quota) => sum + quota.limit, 0);
    moreDue = (await deps.engine().claimDue(quotas)) >= wanted;
    if (!moreDue) tenantsReadAtMs = -Infinity;
  };

  const poll = (): void => {
    if (stopped) return;
    if (polling !== undefined) {
      lookAgain = true;
      return;
    }
    polling = detached(deps.tracing, look)
      .catch((raw: unknown) => {
        deps.logger.warn({ err: coerceError(raw) }, 'looking for due executions failed');
      })
      .finally(() => {
        polling = undefined;
        if (!lookAgain) return;
        lookAgain = false;
        poll();
      });
  };

  const schedule = (): void => {
    const pauseMs = deps.hintsHealthy() ? deps.pollMs : deps.pollWithoutHintsMs;
    // Checked often, so that the loss of hints shortens the pause at once.
    const startedAtMs = performance.now();
    timer = setInterval(
      () => {
        const wantedMs = deps.hintsHealthy() ? deps.pollMs : deps.pollWithoutHintsMs;
        if (performance.now() - startedAtMs < wantedMs) return;
        clearInterval(timer);
        poll();
        if (!stopped) schedule();
      },
      Math.min(pauseMs, deps.pollWithoutHintsMs),
    );
    timer.unref();
  };

  return {
    start() {
      if (!stopped) return;
      stopped = false;
      poll();
      schedule();
    },
    wakeAt(dueAtMs) {
      const grain = Math.ceil(dueAtMs / WAKE_GRAIN_MS) * WAKE_GRAIN_MS;
      const inMs = grain - deps.now();
      if (stopped || wakes.has(grain) || wakes.size >= MAX_WAKES || inMs > MAX_TIMER_MS) return;
      const wake = setTimeout(
        () => {
          wakes.delete(grain);
          poll();
        },
        Math.max(0, inMs) + 1,
      );
      wake.unref();
      wakes.set(grain, wake);
    },
    passedOver() {
      moreDue = true;
    },
    slotFreed() {
      if (moreDue) poll();
    },
    async stop() {
      stopped = true;
      clearInterval(timer);
      for (const wake of wakes.values()) clearTimeout(wake);
      wakes.clear();
      await polling;
    },
  };
}

/** Gives out `free` slots in turn, one to each tenant that has room, until none is left. */
export function shareOut(
  free: number,
  tenants: readonly string[],
  room: (tenantId: string) => number,
): readonly TenantQuota[] {
  const open = tenants.map((tenantId) => ({ tenantId, room: room(tenantId), limit: 0 }));
  for (let left = free, gave = true; left > 0 && gave;) {
    gave = false;
    for (const entry of open) {
      if (left === 0 || entry.limit >= entry.room) continue;
      entry.limit++;
      left--;
      gave = true;
    }
  }
  return open.filter(({ limit }) => limit > 0).map(({ tenantId, limit }) => ({ tenantId, limit }));
}
