import type { Figure } from './figure.ts';

/** What a tenant that sends too much costs the others: how long their executions wait to be started. */
export const FAIRNESS_FIGURES = {
  fairnessAloneMs: { title: 'fairness: webhook → started, p50, nobody else', unit: 'ms' },
  fairnessWithinMs: { title: 'fairness: webhook → started, p50, another tenant at its quota', unit: 'ms' },
  fairnessBeyondMs: {
    title: 'fairness: webhook → started, p50, another tenant at ten times its quota',
    unit: 'ms',
  },
  fairnessBeyondP99Ms: { title: 'fairness: the same, p99', unit: 'ms' },
  fairnessWithinChange: { title: 'fairness: later for a tenant at its quota', unit: '%' },
  fairnessBeyondChange: {
    title: 'fairness: later for a tenant at ten times its quota',
    unit: '%',
    target: { atMost: 20 },
  },
} as const satisfies Readonly<Record<string, Figure>>;
