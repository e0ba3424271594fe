import { MAX_LOST_LEASES, type ExecutionState } from './status.ts';

/** What an execution is, as far as its life cycle goes. Times are milliseconds by the database's clock. */
export interface ExecutionLife {
  readonly state: ExecutionState;
  readonly leaseId: string | null;
  readonly claimedAtMs: number | null;
  readonly nextDispatchAtMs: number | null;
  readonly dispatchNumber: number;
  readonly lostLeases: number;
  readonly activeMs: number;
  readonly cancelRequested: boolean;
}

export type ExecutionEvent =
  /** A worker asks for the right to act until `now + leaseMs`. */
  | { readonly type: 'claim'; readonly leaseId: string; readonly leaseMs: number }
  /** The holder asks for more time. */
  | { readonly type: 'heartbeat'; readonly leaseId: string; readonly leaseMs: number }
  /** The holder stops for a reason of its own; another may go on at once. */
  | { readonly type: 'release'; readonly leaseId: string }
  /** Nothing to do until `dueAtMs`. */
  | { readonly type: 'suspend'; readonly leaseId: string; readonly dueAtMs: number }
  | { readonly type: 'succeed'; readonly leaseId: string }
  | { readonly type: 'fail'; readonly leaseId: string }
  /** The holder has stopped what ran, after a cancellation was asked for. */
  | { readonly type: 'stop'; readonly leaseId: string }
  /** A user asks for a cancellation. */
  | { readonly type: 'cancel' };

export type ExecutionEventType = ExecutionEvent['type'];

/**
 * Which states an event is accepted in. The store's statements guard their updates with this very table, so that code
 * and SQL cannot disagree. An event in any other state changes nothing.
 */
export const ACCEPTED_IN = {
  claim: ['queued', 'waiting', 'running'],
  heartbeat: ['running'],
  release: ['running'],
  suspend: ['running'],
  succeed: ['running'],
  fail: ['running'],
  stop: ['running'],
  cancel: ['queued', 'waiting', 'running'],
} as const satisfies Record<ExecutionEventType, readonly ExecutionState[]>;

/** The outcome of a transition: `changed: false` is what a compare-and-set that hits no row says. */
export interface Transition {
  readonly life: ExecutionLife;
  readonly changed: boolean;
}

/**
 * The life cycle of an execution as a total function: every event in every state has an answer. See SPEC.md.
 *
 * @param nowMs by the database's clock
 */
export function transition(life: ExecutionLife, event: ExecutionEvent, nowMs: number): Transition {
  const refused: Transition = { life, changed: false };
  if (!(ACCEPTED_IN[event.type] as readonly ExecutionState[]).includes(life.state)) return refused;
  if (event.type === 'claim') return claim(life, event, nowMs);
  if (event.type === 'cancel') return { life: cancel(life), changed: true };
  if (event.leaseId !== life.leaseId) return refused; // fenced
  switch (event.type) {
    case 'heartbeat':
      return { life: { ...life, nextDispatchAtMs: nowMs + event.leaseMs }, changed: true };
    case 'release':
      return { life: { ...leave(life, 'queued', nowMs), nextDispatchAtMs: nowMs }, changed: true };
    case 'suspend':
      return { life: { ...leave(life, 'waiting', nowMs), nextDispatchAtMs: event.dueAtMs }, changed: true };
    case 'succeed':
      return { life: leave(life, 'succeeded', nowMs), changed: true };
    case 'fail':
      return { life: leave(life, 'failed', nowMs), changed: true };
    case 'stop':
      return { life: leave(life, 'cancelled', nowMs), changed: true };
    default:
      return event satisfies never;
  }
}

function claim(
  life: ExecutionLife,
  event: Extract<ExecutionEvent, { type: 'claim' }>,
  nowMs: number,
): Transition {
  if (life.nextDispatchAtMs === null || life.nextDispatchAtMs > nowMs) return { life, changed: false };
  const lostLeases = life.lostLeases + (life.state === 'running' ? 1 : 0);
  const activeMs = activeTime(life, nowMs);
  if (lostLeases >= MAX_LOST_LEASES) {
    return { life: { ...leave(life, 'failed', nowMs), lostLeases }, changed: true };
  }
  return {
    life: {
      ...life,
      state: 'running',
      leaseId: event.leaseId,
      claimedAtMs: nowMs,
      nextDispatchAtMs: nowMs + event.leaseMs,
      dispatchNumber: life.dispatchNumber + 1,
      lostLeases,
      activeMs,
    },
    changed: true,
  };
}

function cancel(life: ExecutionLife): ExecutionLife {
  if (life.state === 'running') return { ...life, cancelRequested: true };
  return { ...life, state: 'cancelled', cancelRequested: true, nextDispatchAtMs: null };
}

/** Gives up the lease: to a terminal state, or to one whose `nextDispatchAtMs` the caller sets. */
function leave(life: ExecutionLife, state: ExecutionState, nowMs: number): ExecutionLife {
  return {
    ...life,
    state,
    leaseId: null,
    claimedAtMs: null,
    nextDispatchAtMs: null,
    activeMs: activeTime(life, nowMs),
  };
}

function activeTime(life: ExecutionLife, nowMs: number): number {
  return life.activeMs + (life.claimedAtMs === null ? 0 : Math.max(0, nowMs - life.claimedAtMs));
}
