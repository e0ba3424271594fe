/** The `q`-quantile (0 to 1) by nearest rank. @throws when there are no values */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new Error('a quantile of no values was asked for');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!; // a rank within the list
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  // The mean of the middle two of an even number of runs.
  return sorted.length % 2 === 1 ? quantile(sorted, 0.5) : (sorted[half - 1]! + sorted[half]!) / 2;
};

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
});

/** Student's t for a two-sided interval of 90 %, by degrees of freedom from 1 to 19 (any table of it). */
const T_90 = [
  6.314, 2.92, 2.353, 2.132, 2.015, 1.943, 1.895, 1.86, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
  1.746, 1.74, 1.734, 1.729,
];

export interface Change {
  /** The geometric mean of the ratios, as what is added: 5 for 1.05. */
  readonly percent: number;
  /** The ends of its interval of 90 %. */
  readonly lowPercent: number;
  readonly highPercent: number;
}

/** How much more `after` is than `before`, measured in 2 to 20 pairs. */
export function changeOf(before: readonly number[], after: readonly number[]): Change {
  const logs = before.map((value, index) => Math.log(after[index]! / value)); // as many of each
  const n = logs.length;
  const t = T_90[n - 2];
  if (t === undefined || after.length !== n) throw new Error(`${n} and ${after.length} values make no pairs`);
  const mean = logs.reduce((sum, log) => sum + log, 0) / n;
  const deviation = Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (n - 1));
  const half = (t * deviation) / Math.sqrt(n);
  const percent = (log: number): number => (Math.exp(log) - 1) * 100;
  return { percent: percent(mean), lowPercent: percent(mean - half), highPercent: percent(mean + half) };
}

/** Of the straight line that fits the points best, by least squares; 0 where all have one x. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (pick: (point: readonly [number, number]) => number): number =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const [meanX, meanY] = [mean(([x]) => x), mean(([, y]) => y)];
  const covariance = mean(([x, y]) => (x - meanX) * (y - meanY));
  const variance = mean(([x]) => (x - meanX) ** 2);
  return variance === 0 ? 0 : covariance / variance;
}
