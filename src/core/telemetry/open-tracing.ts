import type { ConfigOf } from '../config/key.ts';
import type { tracingKeys } from '../config/tracing-keys.ts';
import type { Logger } from '../logger.ts';
import type { Tracing } from './tracing.ts';

export interface OpenTracingOptions {
  readonly config: ConfigOf<typeof tracingKeys>;
  /** `service.name` of the spans. */
  readonly service: string;
  readonly logger: Logger;
}

/** Starts tracing where the configuration says so; else nothing of it is even loaded. */
export async function openTracing({
  config,
  service,
  logger,
}: OpenTracingOptions): Promise<Tracing | undefined> {
  if (!config.TRACING_ENABLED) return undefined;
  const endpoint = config.OTEL_EXPORTER_ENDPOINT;
  if (endpoint.translatedFrom !== undefined) {
    logger.warn(
      { asked: endpoint.translatedFrom, used: endpoint.url },
      'OTEL_EXPORTER_ENDPOINT names a protocol of Jaeger that is spoken no more; spans go by OTLP to the same host',
    );
  }
  const { startTracing } = await import('./otel/start.ts');
  const tracing = await startTracing({
    endpoint,
    sampleRate: config.TRACING_SAMPLE_RATE,
    maxPerSecond: config.TRACING_MAX_PER_SECOND,
    service,
    onProblem: (message) => logger.warn({ reason: message }, 'spans could not be sent'),
  });
  logger.info(
    {
      endpoint: endpoint.url,
      protocol: endpoint.protocol,
      sampleRate: config.TRACING_SAMPLE_RATE,
      maxPerSecond: config.TRACING_MAX_PER_SECOND,
    },
    'traces are recorded',
  );
  return tracing;
}
