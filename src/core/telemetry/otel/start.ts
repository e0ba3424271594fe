import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { DiagLogLevel, context, diag, trace } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  RandomIdGenerator,
  type SpanExporter,
} from '@opentelemetry/sdk-trace';
import type { OtelEndpoint } from '../../config/tracing-keys.ts';
import type { Tracing } from '../tracing.ts';
import { createInstrumentations, instrumentLoaded } from './instrument.ts';
import { instrumentFirstOfPipelines } from './pipelines.ts';
import { createScrubber } from './scrub.ts';
import { createTracing } from './spans.ts';

export interface StartTracingOptions {
  readonly endpoint: OtelEndpoint;
  /** From 0 to 1. */
  readonly sampleRate: number;
  /** Traces that begin here and are recorded; 0 is no limit. */
  readonly maxPerSecond: number;
  /** `service.name`. */
  readonly service: string;
  /** Told when spans are lost, at most once a minute. */
  readonly onProblem: (message: string) => void;
  /** Instead of sending them. */
  readonly exporter?: SpanExporter;
}

const SCOPE = 'millrace';
const EXPORT_TIMEOUT_MS = 5000;
/** What cannot be sent in this time is not worth a process that does not end. */
const STOP_PATIENCE_MS = 3000;
const SAY_AGAIN_MS = 60_000;
/** As intended: see instrument.ts. */
const LOADED_BEFORE = /has been loaded before/;

/** Starts OpenTelemetry for this process: its own spans, and those of pg, ioredis and undici below them. */
export async function startTracing(options: StartTracingOptions): Promise<Tracing> {
  reportProblems(options.onProblem);
  const exporter = options.exporter ?? (await createExporter(options.endpoint));
  const instrumentations = createInstrumentations();
  const sdk = new NodeSDK({
    resource: resourceFromAttributes({
      'service.name': options.service,
      'service.instance.id': randomUUID(),
    }),
    // What is found out about a process may hold what is secret, such as its arguments.
    autoDetectResources: false,
    // Whether a trace is recorded is decided at our root, and each instrumentation requires a parent.
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanProcessors: [
      createScrubber(
        SCOPE,
        new BatchSpanProcessor({
          exporter,
          maxQueueSize: 16_384,
          maxExportBatchSize: 512,
          scheduledDelayMillis: 1000,
          exportTimeoutMillis: EXPORT_TIMEOUT_MS,
        }),
      ),
    ],
    // The broker writes `traceparent` itself, once, with and without tracing.
    textMapPropagator: null,
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [...instrumentations],
  });
  sdk.start();
  const leavePipelines = instrumentFirstOfPipelines(() => instrumentLoaded(instrumentations));
  return createTracing({
    tracer: trace.getTracer(SCOPE),
    sampleRate: options.sampleRate,
    maxPerSecond: options.maxPerSecond,
    ids: new RandomIdGenerator(),
    random: Math.random,
    now: () => performance.now(),
    async stop() {
      await Promise.race([
        sdk.shutdown().catch((error: unknown) => options.onProblem(String(error))),
        delay(STOP_PATIENCE_MS, undefined, { ref: false }),
      ]);
      leavePipelines();
      for (const instrumentation of instrumentations) instrumentation.disable();
      trace.disable();
      context.disable();
      diag.disable();
    },
  });
}

async function createExporter({ protocol, url }: OtelEndpoint): Promise<SpanExporter> {
  const timeoutMillis = EXPORT_TIMEOUT_MS;
  if (protocol === 'grpc') {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-grpc');
    return new OTLPTraceExporter({ url, timeoutMillis });
  }
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  return new OTLPTraceExporter({ url, timeoutMillis });
}

function reportProblems(onProblem: (message: string) => void): void {
  let saidAtMs = -Infinity;
  const say = (message: string): void => {
    if (LOADED_BEFORE.test(message) || performance.now() - saidAtMs < SAY_AGAIN_MS) return;
    saidAtMs = performance.now();
    onProblem(message.slice(0, 300));
  };
  const nothing = (): void => {};
  diag.setLogger(
    { error: say, warn: say, info: nothing, debug: nothing, verbose: nothing },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}
