import { InMemorySpanExporter, type ReadableSpan } from '@opentelemetry/sdk-trace';
import { parseOtelEndpoint } from '../../src/core/config/tracing-keys.ts';
import { startTracing } from '../../src/core/telemetry/otel/start.ts';
import type { Tracing } from '../../src/core/telemetry/tracing.ts';

export interface RecordedSpans {
  readonly tracing: Tracing;
  /** All that have ended so far; they are handed over in batches, a second apart. */
  all(): readonly ReadableSpan[];
}

/** Traces of this process as the platform makes them, all of them, kept instead of sent. One at a time. */
export async function recordSpans(): Promise<RecordedSpans> {
  const exporter = new InMemorySpanExporter();
  const tracing = await startTracing({
    endpoint: parseOtelEndpoint('http://127.0.0.1:4317'),
    sampleRate: 1,
    maxPerSecond: 0,
    service: 'test',
    onProblem: (message) => {
      throw new Error(message);
    },
    exporter,
  });
  return { tracing, all: () => exporter.getFinishedSpans() };
}

/** All that is sent of a span, apart from its ids and times. */
export const shown = ({ name, attributes, events, links, status }: ReadableSpan) => ({
  name,
  attributes,
  events,
  links,
  status,
});
