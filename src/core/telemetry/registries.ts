import { Registry, collectDefaultMetrics, type Counter, type Gauge, type Histogram } from 'prom-client';

/** A metric of either kind but the counter, whose name differs between the two formats. */
type Plain<L extends string> = Gauge<L> | Histogram<L>;

/** What `/metrics` answers. */
export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/**
 * The same metrics in two formats: prom-client keeps exemplars only for a registry of OpenMetrics, and such a registry
 * takes `_total` from the name of a counter for good. So histograms are made for that one and shown in the other, and
 * counters are made for the text format and shown in that one.
 */
export interface Registries {
  readonly text: Registry;
  readonly openMetrics: Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>;
  addCounter<L extends string>(counter: Counter<L>): void;
  add<L extends string>(metric: Plain<L>): void;
  /** Called before each page is made, to set what is only known then. */
  onPage(read: () => void): () => void;
  /** @param accept the header of the request */
  page(accept: string | undefined): Promise<MetricsPage>;
}

export function createRegistries(): Registries {
  const text = new Registry();
  const openMetrics = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  openMetrics.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const readers = new Set<() => void>();
  collectDefaultMetrics({ register: text });
  for (const { name } of text.getMetricsAsArray()) {
    const metric = text.getSingleMetric(name) as Counter | Gauge | Histogram; // it was listed
    if (isCounter(metric)) openMetrics.registerMetric(shownOf(name, metric));
    else openMetrics.registerMetric(metric);
  }
  return {
    text,
    openMetrics,
    addCounter(counter) {
      text.registerMetric(counter);
      openMetrics.registerMetric(shownOf(nameOf(counter), counter));
    },
    add(metric) {
      text.registerMetric(metric);
      openMetrics.registerMetric(metric);
    },
    onPage(read) {
      readers.add(read);
      return () => void readers.delete(read);
    },
    async page(accept) {
      for (const read of readers) read();
      const registry = wantsOpenMetrics(accept) ? openMetrics : text;
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

// prom-client has these on every metric, and leaves them out of its types.
const nameOf = (metric: object): string => (metric as { readonly name: string }).name;
const isCounter = (metric: object): metric is Counter =>
  (metric as { readonly type: string }).type === 'counter';

/** A counter as the registry of OpenMetrics may rename it. */
function shownOf<L extends string>(name: string, counter: Counter<L>): Counter<L> {
  const shown = {
    name,
    type: 'counter',
    get: async () => ({ ...(await counter.get()), name: shown.name }),
    reset: () => counter.reset(),
  };
  return shown as unknown as Counter<L>; // all that a registry asks of its metrics
}

/** Whether `Accept` names OpenMetrics, and not only to refuse it. Prometheus names both, and prefers it. */
const wantsOpenMetrics = (accept = ''): boolean =>
  accept.split(',').some((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    return (
      type === 'application/openmetrics-text' &&
      !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
    );
  });
