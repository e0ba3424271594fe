import { checkAttack, titleOf, type Attack, type Seen } from '../security/attacks/attack.ts';
import { goodStep, percentile } from '../security/good-steps.ts';
import type { AttackPlatform, AttackerTenant, Deployed } from './attack-platform.ts';

export interface MixOptions {
  readonly tenants: number;
  /** As many of hostile ones and of good ones. */
  readonly steps: number;
  /** Executions under way at a time. */
  readonly atOnce: number;
  readonly seed: number;
  readonly attacks: readonly Attack[];
  readonly say?: (message: string) => void;
}

export interface MixResult {
  /** Good steps that did not succeed, or gave something else, in words. */
  readonly failures: readonly string[];
  /** Hostile steps that ended in a way that they must not. */
  readonly surprises: readonly string[];
  readonly endings: ReadonlyMap<string, number>;
  readonly aloneP95Ms: number;
  readonly mixedP95Ms: number;
}

type Item =
  | { readonly type: 'good'; readonly deployed: Deployed; readonly n: number }
  | { readonly type: 'hostile'; readonly attack: Attack; readonly deployed: Deployed };

const LANGUAGES = ['javascript', 'python'] as const;

/** Runs good steps alone, and then again among hostile ones, over many tenants, in an order that the seed decides. */
export async function runHostileMix(place: AttackPlatform, options: MixOptions): Promise<MixResult> {
  const { steps, atOnce, say = () => undefined } = options;
  const random = randomOf(options.seed);
  const tenants: AttackerTenant[] = [];
  for (let i = 0; i < options.tenants; i++) tenants.push(await place.makeTenant(`mix-${i}`));
  const goods = await deployGood(place, tenants);
  const good = Array.from({ length: steps }, (_, n): Item => ({
    type: 'good',
    deployed: goods[n % goods.length]!, // there is one
    n,
  }));
  const hostile = await deployHostile(place, tenants, steps, options.attacks, random);

  // What is measured is steps, not the first start of each sandbox.
  await runAll(place, good.slice(0, goods.length * 2), atOnce);
  say(`${steps} good steps alone`);
  const alone = await runAll(place, shuffled(good, random), atOnce);
  say(`${steps} good steps among ${steps} hostile ones`);
  const mixed = await runAll(place, shuffled([...good, ...hostile], random), atOnce);
  const durations = (ended: readonly Ended[]): readonly number[] =>
    ended.filter(({ item }) => item.type === 'good').map(({ seen }) => seen.durationMs);
  const endings = new Map<string, number>();
  for (const { item, seen } of mixed) {
    const name = `${item.type}: ${seen.error?.code ?? seen.state}`;
    endings.set(name, (endings.get(name) ?? 0) + 1);
  }
  return {
    failures: [...alone, ...mixed].flatMap(({ item, seen }) =>
      item.type === 'good' ? failureOf(item.n, seen) : [],
    ),
    surprises: mixed.flatMap(({ item, seen }) =>
      item.type === 'hostile' ? surpriseOf(item.attack, seen) : [],
    ),
    endings,
    aloneP95Ms: percentile(durations(alone), 0.95),
    mixedP95Ms: percentile(durations(mixed), 0.95),
  };
}

async function deployGood(
  place: AttackPlatform,
  tenants: readonly AttackerTenant[],
): Promise<readonly Deployed[]> {
  const deployed: Deployed[] = [];
  for (const [n, tenant] of tenants.entries()) {
    const language = LANGUAGES[n % LANGUAGES.length]!; // there is one
    deployed.push(await place.deploy(tenant, goodStep(language), `good-${language}`));
  }
  return deployed;
}

/** Attacks at random, none again before all were there, each of them twice: attackers come back. */
async function deployHostile(
  place: AttackPlatform,
  tenants: readonly AttackerTenant[],
  count: number,
  attacks: readonly Attack[],
  random: () => number,
): Promise<readonly Item[]> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!; // never empty
  const items: Item[] = [];
  let left: Attack[] = [];
  while (items.length < count) {
    if (left.length === 0) left = [...shuffled(attacks, random)];
    const attack = left.pop()!; // just filled
    const deployed = await place.deploy(pick(tenants), {
      ...attack,
      keys: attack.keys?.(place.around) ?? {},
    });
    const item: Item = { type: 'hostile', attack, deployed };
    items.push(item, item);
  }
  return items.slice(0, count);
}

interface Ended {
  readonly item: Item;
  readonly seen: Seen;
}

async function runAll(
  place: AttackPlatform,
  items: readonly Item[],
  atOnce: number,
): Promise<readonly Ended[]> {
  const ended: Ended[] = [];
  const waiting = [...items];
  const work = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      const input = item.type === 'good' ? { n: item.n } : (item.attack.input?.(place.around) ?? {});
      const id = await place.start(item.deployed, input);
      ended.push({ item, seen: await place.end(item.deployed.tenant, id, 300_000) });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return ended;
}

function failureOf(n: number, seen: Seen): readonly string[] {
  const { n: given, doubled } = (seen.output ?? {}) as { readonly n?: unknown; readonly doubled?: unknown };
  return seen.state === 'succeeded' && given === n && doubled === n * 2
    ? []
    : [`good step ${n}: ${seen.state} ${JSON.stringify(seen.error ?? seen.output)}`];
}

/** Beside so many others nothing is asked of how long it took. */
function surpriseOf(attack: Attack, seen: Seen): readonly string[] {
  try {
    checkAttack({ ...attack, withinMs: undefined }, seen);
    return [];
  } catch (raw) {
    return [`${titleOf(attack)}: ${raw instanceof Error ? raw.message : String(raw)}`];
  }
}

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled<T>(list: readonly T[], random: () => number): readonly T[] {
  const result = [...list];
  for (let at = result.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [result[at], result[other]] = [result[other]!, result[at]!]; // both are within
  }
  return result;
}
