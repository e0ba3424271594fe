import type { Runtime } from '../driver.ts';
import { RUNTIMES } from '../driver.ts';
import type { Entry, PoolBounds, Wish } from './state.ts';

/** A refill ends a kept sandbox only when nothing has run in it for so long. */
const REFILL_EVICTS_AFTER_MS = 60_000;

const costs = (entries: Iterable<Entry>): number => {
  let sum = 0;
  for (const { cost } of entries) sum += cost;
  return sum;
};
const isIdle = (entry: Entry): boolean => entry.phase === 'kept' && entry.used === 0 && !entry.isCondemned;
const byIdleTime = (a: Entry, b: Entry): number => a.idleSinceMs - b.idleSinceMs;
/**
 * The one whose last run but one is the longest ago goes first, which is what LRU-2 is (O'Neil, O'Neil and Weikum, SIGMOD
 * 1993): a flood of workflows that run once does not drive out those that run all the time.
 */
const byReuse = (a: Entry, b: Entry): number => a.usedBeforeMs - b.usedBeforeMs || byIdleTime(a, b);
const countOf = (entries: readonly Entry[], key: string): number => {
  let count = 0;
  for (const { owner, phase } of entries) if (owner?.key === key && phase !== 'ending') count++;
  return count;
};

/** A place in a sandbox of the wish's owner: in the least used one. */
export function chooseKept<E extends Entry>(entries: readonly E[], wish: Wish): E | undefined {
  let best: E | undefined;
  for (const entry of entries) {
    if (
      entry.phase !== 'kept' ||
      entry.isCondemned ||
      entry.used >= entry.slots ||
      entry.owner?.key !== wish.owner.key
    ) {
      continue;
    }
    const isBetter =
      best === undefined ||
      entry.used < best.used ||
      // Of equal ones the last used, so that the others may expire.
      (entry.used === best.used && entry.idleSinceMs > best.idleSinceMs);
    if (isBetter) best = entry;
  }
  return best;
}

/**
 * A spare for a wish, which is its owner's from then on.
 *
 * @param reserved bytes of the budget that older wishes wait for
 * @param maySetLimits whether a spare's limits may be changed; not while that is known to fail
 */
export function chooseSpare<E extends Entry>(
  entries: readonly E[],
  wish: Wish,
  bounds: PoolBounds,
  reserved: number,
  maySetLimits: (spare: E) => boolean,
): E | undefined {
  const spare = entries.find(({ phase, runtime }) => phase === 'spare' && runtime === wish.runtime);
  if (spare === undefined || countOf(entries, wish.owner.key) >= bounds.maxPerOwner) return undefined;
  const growth = wish.cost - spare.cost;
  if (growth > 0 && costs(entries) + growth + reserved > bounds.budgetBytes) return undefined;
  return maySetLimits(spare) ? spare : undefined;
}

/**
 * What to do for a wish that found no place.
 * - `start`: a sandbox for it, after `victims` have ended (none: at once)
 * - `covered`: one is starting for it, or its owner has as many as it may have
 * - `soon`: others start or end just now; it is the next one's turn then
 * - `full`: nothing that is idle would make enough room
 */
export type StartPlan<E> =
  | { readonly type: 'start'; readonly victims: readonly E[] }
  | { readonly type: 'covered' }
  | { readonly type: 'soon' }
  | { readonly type: 'full' };

/**
 * @param unmet wishes of the same owner without a place, with this one
 * @param reserved bytes of the budget that older wishes wait for
 */
export function planStart<E extends Entry>(
  entries: readonly E[],
  wish: Wish,
  unmet: number,
  bounds: PoolBounds,
  reserved: number,
): StartPlan<E> {
  const starting = entries.filter(({ phase }) => phase === 'starting');
  const forOwner = starting.filter(({ owner }) => owner?.key === wish.owner.key);
  const expected = forOwner.reduce((sum, { slots, isSingle }) => sum + (isSingle ? 1 : slots), 0);
  if (unmet <= expected || countOf(entries, wish.owner.key) >= bounds.maxPerOwner) {
    return { type: 'covered' };
  }
  if (starting.length >= bounds.maxStarting) return { type: 'soon' };
  const room = bounds.budgetBytes - reserved - costs(entries);
  if (room >= wish.cost) return { type: 'start', victims: [] };
  // What ends already counts as room to come; nothing else is ended for the same wish.
  const missing = wish.cost - room - costs(entries.filter(({ phase }) => phase === 'ending'));
  if (missing <= 0) return { type: 'soon' };
  const spares = entries.filter(({ phase }) => phase === 'spare');
  const victims = pickVictims([...entries.filter(isIdle).sort(byReuse), ...spares], missing);
  return victims === undefined ? { type: 'full' } : { type: 'start', victims };
}

function pickVictims<E extends Entry>(candidates: readonly E[], missing: number): readonly E[] | undefined {
  const victims: E[] = [];
  for (let left = missing; left > 0;) {
    const victim = candidates[victims.length];
    if (victim === undefined) return undefined;
    victims.push(victim);
    left -= victim.cost;
  }
  return victims;
}

/**
 * A busy sandbox that is to take no more runs, because another owner has waited too long for room: of the tenant that
 * has the most memory, the one that will be free first, as far as one can tell. None while another is on its way out,
 * nor where it is not room that is missing: to end one because starts take long would only add a start.
 */
export function chooseDrained<E extends Entry>(
  entries: readonly E[],
  wish: Wish,
  bounds: PoolBounds,
): E | undefined {
  if (planStart(entries, wish, 1, bounds, 0).type !== 'full') return undefined;
  if (entries.some(({ phase, isCondemned }) => phase === 'ending' || isCondemned)) return undefined;
  const candidates = entries.filter(({ phase, owner }) => phase === 'kept' && owner?.key !== wish.owner.key);
  const held = new Map<string, number>();
  for (const { owner, cost } of candidates) {
    if (owner !== undefined) held.set(owner.tenantId, (held.get(owner.tenantId) ?? 0) + cost);
  }
  const most = Math.max(...held.values());
  return candidates
    .filter(({ owner }) => owner !== undefined && held.get(owner.tenantId) === most)
    .sort((a, b) => a.used - b.used || byIdleTime(a, b))[0];
}

export interface RefillFacts {
  readonly nowMs: number;
  /** Not before this: one refill a second, and less often while starts fail. */
  readonly notBeforeMs: (runtime: Runtime) => number;
  readonly runtimes: ReadonlySet<Runtime>;
  /** How many spares of the runtime were taken lately. */
  readonly taken: (runtime: Runtime) => number;
  readonly isMemoryLow: boolean;
  /** Bytes of the budget that wishes wait for. */
  readonly reserved: number;
  /** What a spare costs. */
  readonly cost: number;
}

/** Which spare to start now, and what to end for it first; at most one refill is under way at a time. */
export function chooseRefill<E extends Entry>(
  entries: readonly E[],
  bounds: PoolBounds,
  facts: RefillFacts,
): { readonly runtime: Runtime; readonly victims: readonly E[] } | undefined {
  const starting = entries.filter(({ phase }) => phase === 'starting');
  if (facts.isMemoryLow || starting.length >= bounds.maxStarting) return undefined;
  if (starting.some(({ owner }) => owner === undefined)) return undefined;
  const runtime = mostWanted(entries, bounds, facts);
  if (runtime === undefined) return undefined;
  const missing = costs(entries) + facts.reserved + facts.cost - bounds.budgetBytes;
  if (missing <= 0) return { runtime, victims: [] };
  if (entries.some(({ phase }) => phase === 'ending')) return undefined;
  const old = entries.filter(
    (entry) => isIdle(entry) && facts.nowMs - entry.idleSinceMs >= REFILL_EVICTS_AFTER_MS,
  );
  const victims = pickVictims(old.sort(byReuse), missing);
  return victims === undefined ? undefined : { runtime, victims };
}

/** The runtime that has the smallest part of the spares it should have. */
function mostWanted(entries: readonly Entry[], bounds: PoolBounds, facts: RefillFacts): Runtime | undefined {
  let best: Runtime | undefined;
  let bestShare = 1;
  for (const runtime of RUNTIMES) {
    if (!facts.runtimes.has(runtime) || facts.nowMs < facts.notBeforeMs(runtime)) continue;
    const { min, max } = bounds.spares[runtime];
    const wanted = facts.taken(runtime) > min ? max : min;
    const there = entries.filter((entry) => entry.phase === 'spare' && entry.runtime === runtime).length;
    const share = wanted === 0 ? 1 : there / wanted;
    if (share < bestShare) [best, bestShare] = [runtime, share];
  }
  return best;
}

/** Kept sandboxes in which nothing has run for `idleMs`. */
export const expired = <E extends Entry>(
  entries: readonly E[],
  nowMs: number,
  idleMs: number,
): readonly E[] => entries.filter((entry) => isIdle(entry) && nowMs - entry.idleSinceMs >= idleMs);

/** What to end when the machine runs out of memory: the idle one that is least likely to be wanted, or else a spare. */
export const chooseReliever = <E extends Entry>(entries: readonly E[]): E | undefined =>
  entries.filter(isIdle).sort(byReuse)[0] ?? entries.find(({ phase }) => phase === 'spare');
