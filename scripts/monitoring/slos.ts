import { DAY, HOUR, MINUTE, type Durations } from './durations.ts';

/** A promise to users, as a share of bad events among all, with an error budget over 30 days. */
export interface Slo {
  /** The value of the label `slo`. */
  readonly id: string;
  readonly alert: string;
  /** The share of events that may be bad. */
  readonly budget: number;
  /** What bad events are, as the end of `3 % of …`. */
  readonly badEvents: string;
  /** What users feel. */
  readonly felt: string;
  /** PromQL of all events, and of the bad ones: `over` is `rate` or `increase`. */
  readonly total: (over: Range) => string;
  readonly bad: (over: Range) => string;
}

/** A counter by namespace, over a time: `range('x', '{a="b"}')` is `sum by (namespace) (rate(x{a="b"}[5m]))`. */
export type Range = (metric: string, selector?: string) => string;

export const over =
  (how: 'rate' | 'increase', window: string): Range =>
  (metric, selector = '') =>
    `sum by (namespace) (${how}(${metric}${selector}[${window}]))`;

/** An upper bound that is a whole number: Prometheus 2 keeps `5`, Prometheus 3 makes `5.0` of it. */
const bucket = (bound: string): string => `le=~"${bound}([.]0)?"`;

const ACCEPT = 'millrace_accept_duration_seconds';

export const SLOS: readonly Slo[] = [
  {
    id: 'accepted',
    alert: 'AcceptErrorBudgetBurn',
    budget: 0.001,
    badEvents: 'webhooks were refused with 503 or 500',
    felt: 'Senders are told to come again; those that never repeat lose their webhooks.',
    total: (range) => range('millrace_deliveries_total'),
    bad: (range) => range('millrace_deliveries_total', '{outcome=~"shed|failed"}'),
  },
  {
    id: 'accept_latency',
    alert: 'AcceptLatencyBudgetBurn',
    budget: 0.01,
    badEvents: 'webhooks were accepted after more than 250 ms',
    felt: 'Senders wait; those with short time-outs repeat their webhooks or give up.',
    // Until the commit: an answer with a result comes when the steps of somebody's workflow have run.
    total: (range) => range(`${ACCEPT}_count`),
    bad: (range) => `(${range(`${ACCEPT}_count`)} - ${range(`${ACCEPT}_bucket`, '{le="0.25"}')})`,
  },
  {
    id: 'start',
    alert: 'StartDelayBudgetBurn',
    budget: 0.01,
    badEvents: 'executions started after more than 5 s',
    felt: 'Workflows begin late.',
    total: (range) => range('millrace_execution_start_delay_seconds_count'),
    bad: (range) => {
      const started = range('millrace_execution_start_delay_seconds_count');
      const inTime = range('millrace_execution_start_delay_seconds_bucket', `{${bucket('5')}}`);
      return `(${started} - ${inTime})`;
    },
  },
  {
    id: 'platform_failures',
    alert: 'PlatformFailureBudgetBurn',
    budget: 0.001,
    badEvents: 'executions failed through the platform’s fault',
    felt: 'Workflows fail that are right.',
    total: (range) => range('millrace_executions_total'),
    bad: (range) => range('millrace_platform_failures_total'),
  },
];

/**
 * Multi-window, multi-burn-rate: a long window says that it matters, a short one that it still goes on.
 *
 * @see https://sre.google/workbook/alerting-on-slos/ section 6, table 5-8
 */
export const BURNS = [
  { severity: 'page', rate: 14.4, long: HOUR, short: 5 * MINUTE, forSeconds: 2 * MINUTE },
  { severity: 'page', rate: 6, long: 6 * HOUR, short: 30 * MINUTE, forSeconds: 2 * MINUTE },
  { severity: 'ticket', rate: 3, long: DAY, short: 2 * HOUR, forSeconds: HOUR },
  { severity: 'ticket', rate: 1, long: 3 * DAY, short: 6 * HOUR, forSeconds: HOUR },
] as const;

export const WINDOWS: readonly number[] = [
  ...new Set(BURNS.flatMap(({ long, short }) => [short, long])),
].sort((a, b) => a - b);

/** So few bad events in the long window are no pattern (workbook, "Low-traffic services"). */
export const LEAST_BAD_EVENTS = 10;

export const ratioRecord = (window: string): string => `millrace:slo_errors:ratio_rate${window}`;

/** The share of bad events over one window; nothing where there were no events. */
export function ratioExpression(slo: Slo, window: string): string {
  const range = over('rate', window);
  const total = slo.total(range);
  return `(${slo.bad(range)} or 0 * ${total}) / (${total} > 0)`;
}

export function burnExpression(slo: Slo, severity: 'page' | 'ticket', d: Durations): string {
  return BURNS.filter((burn) => burn.severity === severity)
    .map(({ rate, long, short }) => {
      const limit = `${rate} * ${slo.budget}`;
      const ratio = (window: number): string => `${ratioRecord(d(window))}{slo="${slo.id}"} > ${limit}`;
      const enough = `${slo.bad(over('increase', d(long)))} >= ${LEAST_BAD_EVENTS}`;
      return `(\n  ${ratio(long)}\n  and ${ratio(short)}\n  and on (namespace) ${enough}\n)`;
    })
    .join('\nor\n');
}
