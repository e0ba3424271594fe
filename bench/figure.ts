/** A figure that the benchmark takes, and what it is held against. */
export interface Figure {
  readonly title: string;
  readonly unit: '/s' | 'ms' | 'MB' | '%';
  readonly target?:
    | { readonly atLeast: number; readonly stretch?: number }
    | { readonly atMost: number; readonly stretch?: number };
  /** Taken in several measurements of a round, of which the highest counts: they load it differently. */
  readonly isHighestOfRound?: true;
  /** n8n 2.8.4 in queue mode on a machine like it. */
  readonly n8n?: FigureRange;
  /** The figure of the same work without isolation, in the same run. */
  readonly plain?: string;
  /** Shown beside the figure that names it, not by itself. */
  readonly isComparison?: true;
  /** The same without the platform around it. */
  readonly bare?: FigureRange;
}

export interface FigureRange {
  readonly from: number;
  readonly to: number;
  readonly note?: string;
}
