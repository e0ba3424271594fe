/** Names of which only the most active are shown. */
export interface TopNames {
  /** Counts one activity of `name`, and says where it stands: `isShown` changes as others become more active. */
  note(name: string): Standing;
  /** Decides anew who is shown, and lets activity fade by `factor`. */
  settle(factor: number): void;
  /** Shows none of them any more. */
  hideAll(): void;
}

export interface Standing {
  readonly isShown: boolean;
}

export interface TopNamesOptions {
  /** Names shown at most. */
  readonly limit: number;
  /** Asked before a further name is shown. */
  readonly mayShow?: () => boolean;
  readonly onShown?: (name: string) => void;
  /** A name that was shown makes room for another. */
  readonly onHidden: (name: string) => void;
}

interface Entry {
  weight: number;
  /** What of it was another name's, whose place this one took. */
  inherited: number;
  isShown: boolean;
}

/** What it has surely been noted. */
const own = ({ weight, inherited }: Entry): number => weight - inherited;

/** How much more active a name has to be to take another's place, lest two of a kind change places for ever. */
const CLEARLY = 2;

/**
 * Finds the most active of any number of names in the room of twice `limit` of them: a name that nobody knows takes the
 * place of the least active hidden one, and its weight, so that what is clearly more active than others stays ("Space-Saving",
 * Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005).
 */
export function createTopNames(options: TopNamesOptions): TopNames {
  const { limit, mayShow = () => true } = options;
  const entries = new Map<string, Entry>();
  let shown = 0;

  const show = (name: string, entry: Entry): void => {
    entry.isShown = true;
    shown++;
    options.onShown?.(name);
  };
  const hide = (name: string, entry: Entry): void => {
    entry.isShown = false;
    shown--;
    options.onHidden(name);
  };
  const ofKind = (isShown: boolean): readonly (readonly [string, Entry])[] =>
    [...entries].filter(([, entry]) => entry.isShown === isShown);

  /** Makes room for a name by forgetting the least active hidden one; returns its weight. */
  const forgetLeast = (): number => {
    let least: string | undefined;
    let weight = Infinity;
    for (const [name, entry] of entries) {
      if (entry.isShown || entry.weight >= weight) continue;
      least = name;
      weight = entry.weight;
    }
    if (least === undefined) return 0;
    entries.delete(least);
    return weight;
  };

  return {
    note(name) {
      let entry = entries.get(name);
      if (entry === undefined) {
        const weight = entries.size < 2 * limit ? 0 : forgetLeast();
        entry = { weight, inherited: weight, isShown: false };
        entries.set(name, entry);
        if (shown < limit && mayShow()) show(name, entry);
      }
      entry.weight++;
      return entry;
    },
    settle(factor) {
      const weakest = ofKind(true).toSorted(([, a], [, b]) => own(a) - own(b));
      for (const [name, entry] of ofKind(false).toSorted(([, a], [, b]) => own(b) - own(a))) {
        if (shown < limit && mayShow()) {
          show(name, entry);
          continue;
        }
        const [other, its] = weakest.shift() ?? [];
        if (other === undefined || its === undefined || own(entry) <= own(its) * CLEARLY) break;
        hide(other, its);
        show(name, entry);
      }
      for (const entry of entries.values()) {
        entry.weight *= factor;
        entry.inherited *= factor;
      }
    },
    hideAll() {
      for (const [name, entry] of ofKind(true)) hide(name, entry);
    },
  };
}
