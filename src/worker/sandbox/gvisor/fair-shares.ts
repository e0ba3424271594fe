import { join } from 'node:path';
import { readFile, writeFile } from 'node:fs/promises';
import type { CgroupTree } from './cgroups.ts';

/** As version 2 counts them (cgroup-v2.rst, `cpu.weight`): 100 is what a group has by itself. */
const USUAL_WEIGHT = 100;
const HEAVY_WEIGHT = 10;
/** Version 1's `cpu.shares` are 1024 by themselves. */
const SHARES_PER_WEIGHT = 10.24;
/** Of one core. More than the first is heavy; it is forgotten at less than the second, which is next to nothing. */
const HEAVY_FROM = 0.5;
const HEAVY_UNTIL = 0.05;
/** So long its start may take, for which somebody waits. */
const START_MS = 1000;

/** No longer than this does a start let others go first, so that it comes to an end beside whatever runs. */
const HELD_MS = 5000;

/** Takes note of what sandboxes use of the processors, and gives each its weight. */
export interface FairShares {
  /** Lets all others go before this group, whatever it uses, for a while or until it is released. @throws when it is gone */
  hold(group: string): Promise<void>;
  /** From now on it is a group as all others; does nothing when it is one. @throws when it is gone */
  release(group: string): Promise<void>;
  /** Looks at these groups, and forgets all others. To be called a few times a second; never rejects. */
  look(groups: readonly string[]): Promise<void>;
}

interface Use {
  readonly usedMs: number;
  readonly atMs: number;
  readonly sinceMs: number;
  readonly isHeavy: boolean;
}

/**
 * A sandbox that keeps a processor busy has to let those go first that want one for a moment, as a multilevel feedback
 * queue has it: most steps take a few milliseconds, and a neighbour that reckons for seconds, or attacks, must not
 * make them wait. Weights only say who goes first when the processors are short: nobody is kept from what is idle.
 *
 * @param now milliseconds, of a clock that only goes forward
 */
export function createFairShares(tree: CgroupTree, now: () => number = () => performance.now()): FairShares {
  let uses: ReadonlyMap<string, Use> = new Map();
  /** Since when. */
  const held = new Map<string, number>();

  const lookAt = async (group: string): Promise<Use> => {
    const before = uses.get(group);
    const usedMs = await usedMsOf(tree, group);
    const atMs = now();
    if (before === undefined) return { usedMs, atMs, sinceMs: atMs, isHeavy: false };
    if (atMs <= before.atMs) return before;
    const cores = (usedMs - before.usedMs) / (atMs - before.atMs);
    const isStarting = atMs - before.sinceMs <= START_MS;
    const isHeavy = !isStarting && cores > (before.isHeavy ? HEAVY_UNTIL : HEAVY_FROM);
    if (isHeavy !== before.isHeavy) await setWeight(tree, group, isHeavy ? HEAVY_WEIGHT : USUAL_WEIGHT);
    return { ...before, usedMs, atMs, isHeavy };
  };

  const release = async (group: string): Promise<void> => {
    if (held.delete(group)) await setWeight(tree, group, USUAL_WEIGHT);
  };

  return {
    async hold(group) {
      held.set(group, now());
      await setWeight(tree, group, HEAVY_WEIGHT);
    },
    release,
    async look(groups) {
      const seen = new Map<string, Use>();
      for (const [group, sinceMs] of held) {
        if (!groups.includes(group)) held.delete(group);
        else if (now() - sinceMs >= HELD_MS) await release(group).catch(() => undefined);
      }
      for (const group of groups) {
        if (held.has(group)) continue;
        // It may end meanwhile.
        const use = await lookAt(group).catch(() => undefined);
        if (use !== undefined) seen.set(group, use);
      }
      uses = seen;
    },
  };
}

async function usedMsOf(tree: CgroupTree, group: string): Promise<number> {
  if (tree.version === 1) {
    return Number(await readFile(join(tree.mount, 'cpuacct', group, 'cpuacct.usage'), 'utf8')) / 1e6;
  }
  const stat = await readFile(join(tree.mount, group, 'cpu.stat'), 'utf8');
  return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]) / 1000;
}

const setWeight = (tree: CgroupTree, group: string, weight: number): Promise<void> =>
  tree.version === 1
    ? writeFile(join(tree.mount, 'cpu', group, 'cpu.shares'), String(Math.round(weight * SHARES_PER_WEIGHT)))
    : writeFile(join(tree.mount, group, 'cpu.weight'), String(weight));
