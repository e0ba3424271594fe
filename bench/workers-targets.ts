import type { Figure } from './figure.ts';

/** What an execution costs one worker, two and four on the same machine: CPU of all workers and PostgreSQL. */
export const WORKERS_FIGURES = {
  workersOnePerSecond: { title: 'workers: executions/s of 3 `transform` steps, one worker', unit: '/s' },
  workersTwoPerSecond: { title: 'workers: executions/s, two workers', unit: '/s' },
  workersFourPerSecond: { title: 'workers: executions/s, four workers', unit: '/s' },
  workersOneCpuMs: {
    title: 'workers: CPU of workers and PostgreSQL for each execution, one worker',
    unit: 'ms',
  },
  workersTwoCpuChange: { title: 'workers: CPU for each execution, more with two workers', unit: '%' },
  workersTwoCpuChangeHigh: {
    title: 'workers: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 10 },
  },
  workersFourCpuChange: { title: 'workers: CPU for each execution, more with four workers', unit: '%' },
  workersFourCpuChangeHigh: {
    title: 'workers: the same, upper end of the interval of 90 %',
    unit: '%',
    target: { atMost: 10 },
  },
} as const satisfies Readonly<Record<string, Figure>>;
