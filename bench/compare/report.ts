import type { FigureRange } from '../figure.ts';
import { spreadOf } from '../statistics.ts';
import { FIGURES } from '../targets.ts';
import type { Measured } from './system.ts';

interface RowShape {
  readonly key: keyof Measured;
  readonly title: string;
  readonly isMoreBetter: boolean;
  /** Of n8n, measured elsewhere. */
  readonly published: FigureRange;
}

const ROWS: readonly RowShape[] = [
  {
    key: 'acceptsPerSecond',
    title: 'webhooks accepted/s, a worker running',
    isMoreBetter: true,
    published: FIGURES.mixedAcceptsPerSecond.n8n,
  },
  {
    key: 'executionsPerSecond',
    title: 'executions of 3 steps/s',
    isMoreBetter: true,
    published: FIGURES.transformPerSecond.n8n,
  },
  {
    key: 'acceptP50Ms',
    title: 'accept p50, ms',
    isMoreBetter: false,
    published: FIGURES.mixedAcceptP50Ms.n8n,
  },
  {
    key: 'acceptP99Ms',
    title: 'accept p99, ms',
    isMoreBetter: false,
    published: FIGURES.mixedAcceptP99Ms.n8n,
  },
];

const PUBLISHED = 'n8n 2.8.4, on another machine';

export interface Compared {
  readonly name: string;
  readonly runs: readonly Measured[];
}

/**
 * A line for each system, with how many times better the first is than it.
 *
 * @param withPublished also against what was measured of n8n elsewhere, for where it cannot be installed
 */
export const renderComparison = (systems: readonly Compared[], withPublished: boolean): string =>
  ROWS.map((row) => renderRow(row, systems, withPublished)).join('');

function renderRow(
  { key, title, isMoreBetter, published }: RowShape,
  systems: readonly Compared[],
  withPublished: boolean,
): string {
  const spreads = systems.map(({ name, runs }) => ({ name, ...spreadOf(runs.map((run) => run[key])) }));
  const ours = spreads[0]!; // it is always measured
  const ratio = (theirs: number): string =>
    `  ${ours.name}: ${(isMoreBetter ? ours.median / theirs : theirs / ours.median).toFixed(1)} times better`;
  const width = Math.max(...systems.map(({ name }) => name.length), withPublished ? PUBLISHED.length : 0);
  const line = (name: string, text: string): string => `  ${name.padEnd(width)} ${text}`;
  const lines = spreads.map(
    ({ name, median, min, max }, index) =>
      line(name, `${median.toFixed(0).padStart(6)} (${min.toFixed(0)}–${max.toFixed(0)})`) +
      (index === 0 ? '' : ratio(median)),
  );
  if (withPublished) {
    const { from, to } = published;
    // Against its best, so as not to flatter.
    lines.push(
      line(PUBLISHED, (from === to ? `${from}` : `${from}–${to}`).padStart(6)) +
        ratio(isMoreBetter ? to : from),
    );
  }
  return `${title}\n${lines.join('\n')}\n`;
}
