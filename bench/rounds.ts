import type { Figure } from './figure.ts';
import type { Figures } from './measure/measure.ts';
import { median } from './statistics.ts';
import { FIGURES, type FigureName } from './targets.ts';

/** Of each figure its values, in the order they came. */
export type Measured = ReadonlyMap<FigureName, readonly number[]>;

/** Gathers what rounds of measurements have found. */
export interface Rounds {
  readonly measured: Measured;
  begin(): void;
  add(figures: Figures): void;
  /** The median so far. */
  readonly median: (name: FigureName) => number | undefined;
}

/** Of a figure that is the highest of a round, each round gives one value; of any other, each measurement does. */
export function createRounds(): Rounds {
  const measured = new Map<FigureName, number[]>();
  const seen = new Set<FigureName>();
  return {
    measured,
    begin: () => seen.clear(),
    add(figures) {
      for (const [name, value] of Object.entries(figures) as [FigureName, number][]) {
        const figure: Figure = FIGURES[name];
        const values = measured.get(name) ?? [];
        const isSame = figure.isHighestOfRound === true && seen.has(name);
        measured.set(
          name,
          isSame ? [...values.slice(0, -1), Math.max(values.at(-1)!, value)] : [...values, value], // it was seen
        );
        seen.add(name);
      }
    },
    median(name) {
      const values = measured.get(name);
      return values === undefined ? undefined : median(values);
    },
  };
}
