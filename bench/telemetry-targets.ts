import type { Figure } from './figure.ts';

/** What traces cost at `TRACING_SAMPLE_RATE` 0.1: CPU of all that serves an operation, against the same without traces. */
export const TELEMETRY_FIGURES = {
  telemetryAcceptCpuMs: { title: 'traces: CPU for each accept without', unit: 'ms' },
  telemetryAcceptCpuChange: { title: 'traces: CPU for each accept, more with', unit: '%' },
  telemetryAcceptCpuChangeHigh: {
    title: 'traces: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 5 },
  },
  telemetryTransformCpuMs: { title: 'traces: CPU for 3 `transform` steps without', unit: 'ms' },
  telemetryTransformCpuChange: { title: 'traces: CPU for 3 `transform` steps, more with', unit: '%' },
  telemetryTransformCpuChangeHigh: {
    title: 'traces: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 5 },
  },
  telemetryHttpCpuMs: { title: 'traces: CPU for 3 `http` steps without', unit: 'ms' },
  telemetryHttpCpuChange: { title: 'traces: CPU for 3 `http` steps, more with', unit: '%' },
  telemetryHttpCpuChangeHigh: {
    title: 'traces: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 5 },
  },
} as const satisfies Readonly<Record<string, Figure>>;
