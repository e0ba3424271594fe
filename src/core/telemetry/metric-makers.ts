import { Counter, Gauge, Histogram } from 'prom-client';
import type { Registries } from './registries.ts';

/** Which process has samples of a metric, as docs/metrics.md explains it. */
export type MetricSource = 'API' | 'worker' | 'every process' | 'elected';

/** A metric as docs/metrics.md shows it. */
export interface MetricDescription {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly hasExemplars: boolean;
  /** The values of labels that have few of them. */
  readonly labels: Readonly<Record<string, readonly string[] | undefined>>;
  readonly source: MetricSource;
  readonly help: string;
  readonly buckets: readonly number[] | undefined;
}

type Labels = Readonly<Record<string, readonly string[] | undefined>>;
type NameOf<L extends Labels> = keyof L & string;

/** A histogram whose buckets remember a trace each. */
export interface Timing<L extends string> {
  /** @param traceId of a trace that is recorded */
  observe(labels: Readonly<Record<L, string>>, seconds: number, traceId?: string): void;
  remove(labels: Readonly<Record<L, string>>): void;
}

const NO_EXEMPLAR = {};
// prom-client's types ask for the labels of the metric here, too.
const exemplarOf = <T extends string>(traceId: string | undefined) =>
  (traceId === undefined ? NO_EXEMPLAR : { trace_id: traceId }) as Record<T, string>;

/** Functions that make metrics, register them in both formats and note them down in `catalog`. */
export function createMakers(registries: Registries, catalog: MetricDescription[]) {
  const describe = <L extends Labels>(
    type: MetricDescription['type'],
    name: string,
    source: MetricSource,
    help: string,
    labels: L,
    more: Partial<MetricDescription> = {},
  ) => {
    const full = `millrace_${name}`;
    catalog.push({
      name: full,
      type,
      source,
      help,
      labels,
      hasExemplars: false,
      buckets: undefined,
      ...more,
    });
    const labelNames = Object.keys(labels) as NameOf<L>[]; // its own, of an object literal
    return { name: full, help, labelNames, registers: [] };
  };

  return {
    counter: <const L extends Labels>(name: string, source: MetricSource, help: string, labels: L) => {
      const counter = new Counter<NameOf<L>>(describe('counter', name, source, help, labels));
      registries.addCounter(counter);
      // The first event has to be an increase: from nothing to 1 is none.
      for (const zero of combinationsOf(labels)) counter.inc(zero as Record<NameOf<L>, string>, 0);
      return counter;
    },
    gauge: <const L extends Labels>(name: string, source: MetricSource, help: string, labels: L) => {
      const gauge = new Gauge<NameOf<L>>(describe('gauge', name, source, help, labels));
      registries.add(gauge);
      return gauge;
    },
    histogram: <const L extends Labels>(
      name: string,
      source: MetricSource,
      help: string,
      labels: L,
      buckets: number[],
    ) => {
      const described = describe('histogram', name, source, help, labels, { buckets });
      const histogram = new Histogram<NameOf<L>>({ ...described, buckets });
      registries.add(histogram);
      return histogram;
    },
    timing: <const L extends Labels>(
      name: string,
      source: MetricSource,
      help: string,
      labels: L,
      buckets: number[],
    ): Timing<NameOf<L>> => {
      const described = describe('histogram', name, source, help, labels, { buckets, hasExemplars: true });
      const histogram = new Histogram<NameOf<L>>({ ...described, buckets, enableExemplars: true });
      registries.add(histogram);
      return {
        observe: (of, value, traceId) =>
          histogram.observe({ labels: of, value, exemplarLabels: exemplarOf<NameOf<L>>(traceId) }),
        remove: (of) => histogram.remove(of),
      };
    },
  };
}

/** The series of a metric with a single label whose values are known. */
function combinationsOf(labels: Labels): readonly Readonly<Record<string, string>>[] {
  const entries = Object.entries(labels);
  if (entries.length !== 1) return [];
  return entries.flatMap(([label, values = []]) => values.map((value) => ({ [label]: value })));
}
