import { InMemorySpanExporter, type ReadableSpan } from '@opentelemetry/sdk-trace';
import { parseOtelEndpoint } from '../../src/core/config/tracing-keys.ts';
import { startTracing } from '../../src/core/telemetry/otel/start.ts';
import type { Tracing } from '../../src/core/telemetry/tracing.ts';
import { waitFor } from './wait-for.ts';

export interface RecordedSpans {
  readonly tracing: Tracing;
  /** All that have ended so far; they are handed over in batches, a second apart. */
  all(): readonly ReadableSpan[];
  /** The same, once those are handed over that have ended by now. */
  allUntilNow(): Promise<readonly ReadableSpan[]>;
}

/**
 * Traces of this process as the platform makes them, all of them, kept instead of sent. One at a time.
 *
 * @param onProblem told when spans are lost
 */
export async function recordSpans(
  onProblem: (message: string) => void = (message) => {
    throw new Error(message);
  },
): Promise<RecordedSpans> {
  const exporter = new InMemorySpanExporter();
  const tracing = await startTracing({
    endpoint: parseOtelEndpoint('http://127.0.0.1:4317'),
    sampleRate: 1,
    maxPerSecond: 0,
    service: 'test',
    onProblem,
    exporter,
  });
  const all = (): readonly ReadableSpan[] => exporter.getFinishedSpans();
  return {
    tracing,
    all,
    async allUntilNow() {
      // They are handed over in their order, so what ended before this one is there when it is.
      const { span } = tracing.begin('last', undefined);
      span?.end();
      await waitFor(() => all().some((found) => found.spanContext().traceId === span?.traceId), {
        what: 'the spans of this process',
        timeoutMs: 30_000,
      });
      return all();
    },
  };
}

/** All that is sent of a span, apart from its ids and times. */
export const shown = ({ name, attributes, events, links, status }: ReadableSpan) => ({
  name,
  attributes,
  events,
  links,
  status,
});
