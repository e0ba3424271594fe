import type { Figure } from './figure.ts';

/** What a worker costs behind 1,000,000 queued executions and beside 10,000,000 rows of history, against an empty database. */
export const DEPTH_FIGURES = {
  depthEmptyPerSecond: { title: 'depth: executions/s, empty database', unit: '/s' },
  depthBacklogPerSecond: { title: 'depth: executions/s, long backlog', unit: '/s' },
  depthHistoryPerSecond: { title: 'depth: executions/s, long history', unit: '/s' },
  depthEmptyCpuMs: {
    title: 'depth: CPU of worker and PostgreSQL for each execution, empty database',
    unit: 'ms',
  },
  depthBacklogCpuChange: { title: 'depth: CPU for each execution, more with a long backlog', unit: '%' },
  depthBacklogCpuChangeHigh: {
    title: 'depth: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 10 },
  },
  depthHistoryCpuChange: { title: 'depth: CPU for each execution, more with a long history', unit: '%' },
  depthHistoryCpuChangeHigh: {
    title: 'depth: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 10 },
  },
  depthEmptyAcceptsPerSecond: { title: 'depth: deliveries recorded/s, empty database', unit: '/s' },
  depthBacklogAcceptsPerSecond: { title: 'depth: deliveries recorded/s, long backlog', unit: '/s' },
  depthHistoryAcceptsPerSecond: { title: 'depth: deliveries recorded/s, long history', unit: '/s' },
  depthBacklogAcceptChangeHigh: {
    title: 'depth: CPU of PostgreSQL for each delivery, more with a long backlog, upper end',
    unit: '%',
    target: { atMost: 10 },
  },
  depthHistoryAcceptChangeHigh: {
    title: 'depth: CPU of PostgreSQL for each delivery, more with a long history, upper end',
    unit: '%',
    target: { atMost: 10 },
  },
  depthLookCpuMs: {
    title:
      'depth: CPU of PostgreSQL for one look of an API at a long backlog, every 5 s or 20 times as long as it took',
    unit: 'ms',
  },
  depthEmptyWorkerMb: { title: 'depth: memory of the worker, empty database', unit: 'MB' },
  depthBacklogMemoryChange: {
    title: 'depth: memory of the worker, more with a long backlog',
    unit: '%',
    target: { atMost: 10 },
  },
  depthHistoryMemoryChange: {
    title: 'depth: memory of the worker, more with a long history',
    unit: '%',
    target: { atMost: 10 },
  },
} as const satisfies Readonly<Record<string, Figure>>;
