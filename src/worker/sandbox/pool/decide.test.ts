import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Runtime } from '../driver.ts';
import {
  chooseDrained,
  chooseKept,
  chooseRefill,
  chooseReliever,
  chooseSpare,
  expired,
  planStart,
} from './decide.ts';
import { createFairQueue } from './fair-queue.ts';
import { costOf, wishOf, type Entry, type PoolBounds, type Wish } from './state.ts';

const MIB = 1_048_576;
const LIMITS = { memoryBytes: 256 * MIB, cpus: 1, pids: 256 };
const BOUNDS: PoolBounds = {
  budgetBytes: 500 * MIB,
  maxPerOwner: 2,
  maxStarting: 2,
  spares: { javascript: { min: 2, max: 4 }, python: { min: 1, max: 1 } },
};
const wish = (
  tenantId: string,
  options: { memory?: number; single?: boolean; runtime?: Runtime } = {},
): Wish =>
  wishOf(
    {
      tenantId,
      workflowId: 'w',
      version: 1,
      runtime: options.runtime ?? 'javascript',
      limits: { ...LIMITS, memoryBytes: options.memory ?? LIMITS.memoryBytes },
      singleUse: options.single ?? false,
      alone: false,
      signal: new AbortController().signal,
    },
    LIMITS,
  );
const entry = (overrides: Partial<Entry>): Entry => ({
  phase: 'kept',
  runtime: 'javascript',
  cost: 100 * MIB,
  owner: wish('a').owner,
  isSingle: false,
  isCondemned: false,
  slots: 2,
  used: 0,
  idleSinceMs: 0,
  usedBeforeMs: 0,
  ...overrides,
});
const spare = (overrides: Partial<Entry> = {}): Entry =>
  entry({ phase: 'spare', owner: undefined, ...overrides });
const may = (): boolean => true;
const facts = (overrides: Partial<Parameters<typeof chooseRefill>[2]> = {}) => ({
  nowMs: 100_000,
  notBeforeMs: () => 0,
  runtimes: new Set<Runtime>(['javascript', 'python']),
  taken: () => 0,
  isMemoryLow: false,
  reserved: 0,
  cost: 100 * MIB,
  ...overrides,
});

test('costs 100 MiB, less when it may have less, more when it asked for more', () => {
  expect(
    [64, 128, 256, 257, 1024].map((mib) => costOf({ ...LIMITS, memoryBytes: mib * MIB }, LIMITS) / MIB),
  ).toEqual([64, 100, 100, 257, 1024]);
});

test('an owner’s least used sandbox is taken, of equal ones the last used', () => {
  const [busy, older, newer] = [entry({ used: 1 }), entry({ idleSinceMs: 1 }), entry({ idleSinceMs: 2 })];
  expect(chooseKept([busy, older, newer], wish('a'))).toBe(newer);
  expect(chooseKept([busy], wish('a'))).toBe(busy);
  expect(
    chooseKept([entry({ used: 2 }), entry({ isCondemned: true }), entry({ phase: 'ending' })], wish('a')),
  ).toBeUndefined();
  expect(chooseKept([newer], wish('b'))).toBeUndefined();
  expect(chooseKept([newer], wish('a', { single: true }))).toBeUndefined();
  expect(chooseKept([newer], wish('a', { memory: 512 * MIB }))).toBeUndefined();
});

test('a spare is taken by runtime, up to the owner’s number and within the budget', () => {
  expect(chooseSpare([spare()], wish('a'), BOUNDS, 0, may)).toBeDefined();
  expect(chooseSpare([spare()], wish('a', { runtime: 'python' }), BOUNDS, 0, may)).toBeUndefined();
  expect(chooseSpare([spare(), entry({}), entry({})], wish('a'), BOUNDS, 0, may)).toBeUndefined();
  expect(chooseSpare([spare()], wish('a', { memory: 500 * MIB }), BOUNDS, 0, may)).toBeDefined();
  expect(chooseSpare([spare()], wish('a', { memory: 500 * MIB }), BOUNDS, 1, may)).toBeUndefined();
  expect(chooseSpare([spare()], wish('a'), BOUNDS, 0, () => false)).toBeUndefined();
});

test('what is started ends the idle ones first, then spares, and never what is busy', () => {
  const old = entry({ owner: wish('b').owner, idleSinceMs: 1 });
  const recent = entry({ owner: wish('c').owner, idleSinceMs: 2 });
  const busy = entry({ owner: wish('d').owner, used: 1 });
  const other = spare({ runtime: 'python' });
  const plan = (entries: Entry[], one: Wish) => planStart(entries, one, 1, BOUNDS, 0);
  expect(plan([old], wish('a'))).toEqual({ type: 'start', victims: [] });
  expect(plan([recent, old, busy, busy, other], wish('a'))).toEqual({ type: 'start', victims: [old] });
  expect(plan([busy, busy, busy, busy, other], wish('a'))).toEqual({ type: 'start', victims: [other] });
  expect(plan([busy, busy, busy, busy, busy], wish('a'))).toEqual({ type: 'full' });
  expect(plan([busy, busy, busy, busy, entry({ phase: 'ending' })], wish('a'))).toEqual({ type: 'soon' });
});

test('what ran once goes before what ran again and again, however long that has been idle', () => {
  const regular = entry({ idleSinceMs: 10, usedBeforeMs: 5 });
  const frequent = entry({ idleSinceMs: 8, usedBeforeMs: 7 });
  const once = entry({ idleSinceMs: 90 });
  const earlier = entry({ idleSinceMs: 80 });
  const plan = planStart([regular, once, frequent, earlier, entry({ used: 1 })], wish('b'), 1, BOUNDS, 0);
  expect(plan).toEqual({ type: 'start', victims: [earlier] });
  expect(chooseReliever([regular, once, frequent])).toBe(once);
  expect(chooseReliever([regular, frequent])).toBe(regular);
});

test('one that starts covers as many wishes as it has slots', () => {
  const starting = entry({ phase: 'starting' });
  expect(planStart([starting], wish('a'), 2, BOUNDS, 0).type).toBe('covered');
  expect(planStart([starting], wish('a'), 3, BOUNDS, 0).type).toBe('start');
  expect(planStart([starting, starting], wish('b'), 1, BOUNDS, 0).type).toBe('soon');
});

test('the busy sandbox that has to go is the greediest tenant’s', () => {
  const bounds = { ...BOUNDS, budgetBytes: 300 * MIB };
  const greedy = [entry({ used: 2 }), entry({ used: 1 })];
  const modest = entry({ owner: wish('b').owner, used: 1 });
  expect(chooseDrained([modest, ...greedy], wish('c'), bounds)).toBe(greedy[1]);
  const condemned = entry({ isCondemned: true, used: 1 });
  expect(chooseDrained([modest, ...greedy, condemned], wish('c'), bounds)).toBeUndefined();
  expect(chooseDrained([entry({ used: 1, cost: 300 * MIB })], wish('a'), bounds)).toBeUndefined();
});

test('no busy sandbox has to go where there is room, though a claim waits for others to start', () => {
  const busy = entry({ used: 2 });
  const starting = entry({ phase: 'starting', owner: wish('b').owner });
  expect(chooseDrained([busy, starting, starting], wish('c'), BOUNDS)).toBeUndefined();
  expect(chooseDrained([busy], wish('c'), BOUNDS)).toBeUndefined();
});

test('a refill is of what is missing most, one at a time, and not while it may not be', () => {
  expect(chooseRefill([], BOUNDS, facts())?.runtime).toBe('javascript');
  expect(chooseRefill([spare()], BOUNDS, facts())?.runtime).toBe('python');
  expect(chooseRefill([spare(), spare({ runtime: 'python' })], BOUNDS, facts())?.runtime).toBe('javascript');
  const all = [spare(), spare(), spare({ runtime: 'python' })];
  expect(chooseRefill(all, BOUNDS, facts())).toBeUndefined();
  expect(chooseRefill(all, BOUNDS, facts({ taken: () => 3 }))?.runtime).toBe('javascript');
  expect(chooseRefill([entry({ phase: 'starting', owner: undefined })], BOUNDS, facts())).toBeUndefined();
  expect(chooseRefill([], BOUNDS, facts({ isMemoryLow: true }))).toBeUndefined();
  expect(chooseRefill([], BOUNDS, facts({ notBeforeMs: () => 100_001 }))).toBeUndefined();
  expect(chooseRefill([], BOUNDS, facts({ reserved: 450 * MIB }))).toBeUndefined();
  const old = entry({ idleSinceMs: 0, cost: 500 * MIB });
  expect(chooseRefill([old], BOUNDS, facts())).toEqual({ runtime: 'javascript', victims: [old] });
  expect(chooseRefill([old], BOUNDS, facts({ nowMs: 50_000 }))).toBeUndefined();
});

test('idle ones expire, and relieve the machine before spares do', () => {
  const [idle, busy, warm] = [entry({ idleSinceMs: 10 }), entry({ used: 1 }), spare()];
  expect(expired([idle, busy, warm], 110, 100)).toEqual([idle]);
  expect(expired([idle, busy, warm], 109, 100)).toEqual([]);
  expect(chooseReliever([busy, warm, idle])).toBe(idle);
  expect(chooseReliever([busy, warm])).toBe(warm);
  expect(chooseReliever([busy])).toBeUndefined();
});

test('waiting is first come, first served within a tenant, in turns between tenants', () => {
  const queue = createFairQueue<string>();
  for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'c2']) queue.add(item[0]!, item); // none is empty
  expect(queue.inOrder()).toEqual(['a1', 'b1', 'c1', 'a2', 'c2', 'a3']);
  queue.remove('a', 'a1', true);
  expect(queue.inOrder()).toEqual(['b1', 'c1', 'a2', 'c2', 'a3']);
  queue.remove('b', 'b1', false);
  queue.remove('b', 'b1', false);
  expect(queue.size).toBe(4);
});

/** The pool's decisions applied to a model in which everything takes a turn. */
type Turn =
  | { readonly do: 'claim'; readonly tenant: number; readonly memory: number; readonly single: boolean }
  | { readonly do: 'release' | 'ready' | 'gone'; readonly which: number }
  | { readonly do: 'refill' };
const turn: fc.Arbitrary<Turn> = fc.oneof(
  fc.record({
    do: fc.constant('claim' as const),
    tenant: fc.nat(4),
    memory: fc.constantFrom(128 * MIB, 256 * MIB, 300 * MIB),
    single: fc.boolean(),
  }),
  fc.record({
    do: fc.constantFrom('release' as const, 'ready' as const, 'gone' as const),
    which: fc.nat(20),
  }),
  fc.record({ do: fc.constant('refill' as const) }),
);
type Model = { -readonly [K in keyof Entry]: Entry[K] } & { readonly tenants: Set<string> };

test('never two tenants in a sandbox, never over budget, never two refills at a time', () => {
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 80 }), (turns) => {
      const entries: Model[] = [];
      let nowMs = 0;
      const add = (overrides: Partial<Entry>): void =>
        void entries.push({ ...entry({ phase: 'starting', ...overrides }), tenants: new Set() });
      const occupy = (place: Model, one: Wish): void => {
        if (place.phase === 'spare')
          Object.assign(place, { phase: 'kept', owner: one.owner, cost: one.cost });
        place.used++;
        place.isSingle = place.isCondemned = one.isSingle;
        place.tenants.add(one.owner.tenantId);
      };
      const claim = (one: Wish): void => {
        const place = chooseKept(entries, one) ?? chooseSpare(entries, one, BOUNDS, 0, may);
        if (place !== undefined) {
          occupy(place, one);
          return;
        }
        const plan = planStart(entries, one, 1, BOUNDS, 0);
        if (plan.type !== 'start') return;
        for (const victim of plan.victims) victim.phase = 'ending';
        if (plan.victims.length === 0)
          add({ runtime: one.runtime, owner: one.owner, cost: one.cost, isSingle: one.isSingle });
      };
      const pick = (which: number, of: (one: Model) => boolean): Model | undefined => {
        const some = entries.filter(of);
        return some[which % some.length];
      };
      const play = (move: Turn): void => {
        switch (move.do) {
          case 'claim':
            claim(wish(`t${move.tenant}`, move));
            break;
          case 'release': {
            const busy = pick(move.which, ({ used }) => used > 0);
            if (busy === undefined) break;
            busy.used--;
            busy.usedBeforeMs = busy.idleSinceMs;
            busy.idleSinceMs = nowMs;
            if (busy.isCondemned && busy.used === 0) busy.phase = 'ending';
            break;
          }
          case 'ready': {
            const started = pick(move.which, ({ phase }) => phase === 'starting');
            if (started !== undefined) started.phase = started.owner === undefined ? 'spare' : 'kept';
            break;
          }
          case 'gone': {
            const ended = pick(move.which, ({ phase }) => phase === 'ending');
            if (ended !== undefined) entries.splice(entries.indexOf(ended), 1);
            break;
          }
          case 'refill': {
            const plan = chooseRefill(entries, BOUNDS, facts({ nowMs }));
            for (const victim of plan?.victims ?? []) victim.phase = 'ending';
            if (plan?.victims.length === 0) add({ runtime: plan.runtime, owner: undefined });
            break;
          }
          default:
            move satisfies never;
        }
      };
      for (const move of turns) {
        nowMs += 20_000;
        play(move);
        expect(entries.every(({ tenants }) => tenants.size <= 1)).toBe(true);
        expect(entries.every(({ used, slots, isSingle }) => used <= (isSingle ? 1 : slots))).toBe(true);
        expect(entries.reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(BOUNDS.budgetBytes);
        expect(
          entries.filter(({ phase, owner }) => phase === 'starting' && owner === undefined).length,
        ).toBeLessThan(2);
        expect(entries.filter(({ phase }) => phase === 'starting').length).toBeLessThanOrEqual(
          BOUNDS.maxStarting,
        );
      }
    }),
    { numRuns: 300 },
  );
});
