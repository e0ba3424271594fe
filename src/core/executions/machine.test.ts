import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ACCEPTED_IN,
  transition,
  type ExecutionEvent,
  type ExecutionEventType,
  type ExecutionLife,
} from './machine.ts';
import { EXECUTION_STATES, MAX_LOST_LEASES, isTerminal, type ExecutionState } from './status.ts';

const NOW = 1_000_000;
const MINE = 'lease-mine';

const EVENTS: Record<ExecutionEventType, ExecutionEvent> = {
  claim: { type: 'claim', leaseId: 'lease-new', leaseMs: 45_000 },
  heartbeat: { type: 'heartbeat', leaseId: MINE, leaseMs: 45_000 },
  release: { type: 'release', leaseId: MINE },
  suspend: { type: 'suspend', leaseId: MINE, dueAtMs: NOW + 5000 },
  succeed: { type: 'succeed', leaseId: MINE },
  fail: { type: 'fail', leaseId: MINE },
  stop: { type: 'stop', leaseId: MINE },
  cancel: { type: 'cancel' },
};

/** An execution in the given state whose time has come. */
function inState(state: ExecutionState): ExecutionLife {
  const running = state === 'running';
  return {
    state,
    leaseId: running ? MINE : null,
    claimedAtMs: running ? NOW - 1000 : null,
    nextDispatchAtMs: isTerminal(state) ? null : NOW - 1,
    dispatchNumber: state === 'queued' ? 0 : 1,
    lostLeases: 0,
    activeMs: 0,
    cancelRequested: false,
  };
}

/** The whole table: what each event makes of each state; `-` changes nothing. */
const TABLE: Record<ExecutionState, Record<ExecutionEventType, ExecutionState | '-'>> = {
  queued: {
    claim: 'running',
    heartbeat: '-',
    release: '-',
    suspend: '-',
    succeed: '-',
    fail: '-',
    stop: '-',
    cancel: 'cancelled',
  },
  running: {
    claim: 'running',
    heartbeat: 'running',
    release: 'queued',
    suspend: 'waiting',
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'cancelled',
    cancel: 'running',
  },
  waiting: {
    claim: 'running',
    heartbeat: '-',
    release: '-',
    suspend: '-',
    succeed: '-',
    fail: '-',
    stop: '-',
    cancel: 'cancelled',
  },
  succeeded: {
    claim: '-',
    heartbeat: '-',
    release: '-',
    suspend: '-',
    succeed: '-',
    fail: '-',
    stop: '-',
    cancel: '-',
  },
  failed: {
    claim: '-',
    heartbeat: '-',
    release: '-',
    suspend: '-',
    succeed: '-',
    fail: '-',
    stop: '-',
    cancel: '-',
  },
  cancelled: {
    claim: '-',
    heartbeat: '-',
    release: '-',
    suspend: '-',
    succeed: '-',
    fail: '-',
    stop: '-',
    cancel: '-',
  },
};

describe('the table of transitions', () => {
  const rows = EXECUTION_STATES.flatMap((state) =>
    (Object.keys(EVENTS) as ExecutionEventType[]).map(
      (event) => [state, event, TABLE[state][event]] as const,
    ),
  );
  test.each(rows)('%s on %s becomes %s', (state, event, expected) => {
    const before = inState(state);
    const { life, changed } = transition(before, EVENTS[event], NOW);
    if (expected === '-') {
      expect(changed).toBe(false);
      expect(life).toBe(before);
    } else {
      expect(changed).toBe(true);
      expect(life.state).toBe(expected);
    }
    expect((ACCEPTED_IN[event] as readonly ExecutionState[]).includes(state)).toBe(expected !== '-');
  });
});

describe('claim', () => {
  test('is refused before the time has come', () => {
    expect(transition({ ...inState('waiting'), nextDispatchAtMs: NOW + 1 }, EVENTS.claim, NOW).changed).toBe(
      false,
    );
  });

  test('of a running execution whose lease ran out counts a lost lease and the time it ran', () => {
    const { life } = transition(inState('running'), EVENTS.claim, NOW);
    expect(life).toMatchObject({ state: 'running', leaseId: 'lease-new', lostLeases: 1, activeMs: 1000 });
  });

  test('gives the execution up at the fifth lost lease', () => {
    const before = { ...inState('running'), lostLeases: MAX_LOST_LEASES - 1 };
    const { life } = transition(before, EVENTS.claim, NOW);
    expect(life).toMatchObject({
      state: 'failed',
      leaseId: null,
      nextDispatchAtMs: null,
      lostLeases: MAX_LOST_LEASES,
    });
  });
});

test('a holder whose lease is another’s changes nothing', () => {
  const before = { ...inState('running'), leaseId: 'lease-of-another' };
  for (const type of ['heartbeat', 'release', 'suspend', 'succeed', 'fail', 'stop'] as const) {
    expect(transition(before, EVENTS[type], NOW)).toEqual({ life: before, changed: false });
  }
});

test('a cancellation of a running execution is left to its worker', () => {
  expect(transition(inState('running'), EVENTS.cancel, NOW).life).toMatchObject({
    state: 'running',
    leaseId: MINE,
    cancelRequested: true,
  });
});

test('the invariants hold after any sequence of events', () => {
  const lease = fc.constantFrom('a', 'b', 'c');
  const event: fc.Arbitrary<ExecutionEvent> = fc.oneof(
    fc.record({ type: fc.constant('claim' as const), leaseId: lease, leaseMs: fc.constant(10) }),
    fc.record({ type: fc.constant('heartbeat' as const), leaseId: lease, leaseMs: fc.constant(10) }),
    fc.record({
      type: fc.constantFrom('release' as const, 'succeed' as const, 'fail' as const, 'stop' as const),
      leaseId: lease,
    }),
    fc.record({
      type: fc.constant('suspend' as const),
      leaseId: lease,
      dueAtMs: fc.integer({ min: 0, max: 500 }),
    }),
    fc.constant({ type: 'cancel' as const }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.integer({ min: 0, max: 20 })), { maxLength: 60 }), (events) => {
      let life: ExecutionLife = { ...inState('queued'), nextDispatchAtMs: 0 };
      let now = 0;
      for (const [next, pauseMs] of events) {
        now += pauseMs;
        const before = life;
        const result = transition(life, next, now);
        life = result.life;
        expect(isTerminal(life.state)).toBe(life.nextDispatchAtMs === null);
        expect(life.state === 'running').toBe(life.leaseId !== null);
        expect(life.lostLeases).toBeLessThanOrEqual(MAX_LOST_LEASES);
        expect(life.activeMs).toBeGreaterThanOrEqual(before.activeMs);
        if (isTerminal(before.state)) expect(life).toBe(before);
        if (!result.changed) expect(life).toBe(before);
      }
    }),
  );
});
