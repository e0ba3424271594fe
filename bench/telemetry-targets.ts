import type { Figure } from './figure.ts';

/**
 * What traces cost at `TRACING_SAMPLE_RATE` 0.1, against the same without traces: throughput where both sides have the machine
 * for themselves in turns, and CPU of all that serves an operation.
 */
export const TELEMETRY_FIGURES = {
  telemetryAcceptLoss: { title: 'traces: accepts/s lost', unit: '%', target: { atMost: 5 } },
  telemetryAcceptLossHigh: { title: 'traces: the same, upper end of the interval of 90 %', unit: '%' },
  telemetryAcceptCpuMs: { title: 'traces: CPU for each accept without', unit: 'ms' },
  telemetryAcceptCpuChange: { title: 'traces: CPU for each accept, more with', unit: '%' },
  telemetryAcceptCpuChangeHigh: { title: 'traces: the same, upper end of the interval of 90 %', unit: '%' },
  telemetryTransformCpuMs: { title: 'traces: CPU for 3 `transform` steps without', unit: 'ms' },
  telemetryTransformCpuChange: {
    title: 'traces: CPU for 3 `transform` steps, more with',
    unit: '%',
    target: { atMost: 5 },
  },
  telemetryTransformCpuChangeHigh: {
    title: 'traces: the same, upper end of the interval of 90 %',
    unit: '%',
  },
  telemetryHttpCpuMs: { title: 'traces: CPU for 3 `http` steps without', unit: 'ms' },
  telemetryHttpCpuChange: {
    title: 'traces: CPU for 3 `http` steps, more with',
    unit: '%',
    target: { atMost: 5 },
  },
  telemetryHttpCpuChangeHigh: { title: 'traces: the same, upper end of the interval of 90 %', unit: '%' },
} as const satisfies Readonly<Record<string, Figure>>;
