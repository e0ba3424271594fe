/** The order of steps: which needs which. Pure; works on whatever could be read of a document. */

export interface GraphNode {
  readonly id: string;
  /** Ids; those that no node has are passed over. */
  readonly needs: readonly string[];
}

/** Cycles that share no step, each as the ids along it: every one needs the next, and the last needs the first. */
export function findCycles(nodes: readonly GraphNode[]): readonly (readonly string[])[] {
  const known = new Set(nodes.map(({ id }) => id));
  /** What is not known to be free of cycles, with the needs it still waits for. */
  const left = new Map(nodes.map(({ id, needs }) => [id, new Set(needs.filter((need) => known.has(need)))]));
  const dependents = dependentsOf(nodes);
  const cycles: string[][] = [];
  const settle = (ids: Iterable<string>): void => {
    const done = [...ids];
    for (let id = done.pop(); id !== undefined; id = done.pop()) {
      left.delete(id);
      for (const dependent of dependents.get(id) ?? []) {
        const needs = left.get(dependent);
        if (needs?.delete(id) && needs.size === 0) done.push(dependent);
      }
    }
  };
  settle([...left].filter(([, needs]) => needs.size === 0).map(([id]) => id));
  for (let [start] = left.keys(); start !== undefined; [start] = left.keys()) {
    const cycle = walkToCycle(start, left);
    cycles.push(cycle);
    settle(cycle);
  }
  return cycles;
}

/** Every id left needs another one that is left, so walking on comes back sooner or later. */
function walkToCycle(start: string, left: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const walk = new Map<string, number>();
  let id = start;
  while (!walk.has(id)) {
    walk.set(id, walk.size);
    const [next] = left.get(id) ?? [];
    if (next === undefined) break;
    id = next;
  }
  return [...walk.keys()].slice(walk.get(id));
}

function dependentsOf(nodes: readonly GraphNode[]): ReadonlyMap<string, readonly string[]> {
  const dependents = new Map<string, string[]>(nodes.map(({ id }) => [id, []]));
  for (const { id, needs } of nodes) {
    for (const need of new Set(needs)) dependents.get(need)?.push(id);
  }
  return dependents;
}

/** The steps that have ended, one way or another, before `id` starts. */
export function ancestorsOf(
  id: string,
  needsOf: ReadonlyMap<string, readonly string[]>,
): ReadonlySet<string> {
  const found = new Set<string>();
  const open = [...(needsOf.get(id) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    open.push(...(needsOf.get(next) ?? []));
  }
  return found;
}
