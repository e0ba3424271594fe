import {
  ROOT_CONTEXT,
  SpanKind as OtelKind,
  SpanStatusCode,
  TraceFlags,
  context,
  trace,
  type Context,
  type Link,
  type Span as OtelSpan,
  type SpanContext,
  type Tracer,
} from '@opentelemetry/api';
import { createRateLimiter } from '../../rate-limit.ts';
import { formatTraceparent, parseTraceparent } from '../traceparent.ts';
import type { Span, SpanAttributes, SpanKind, SpanOptions, Trace, Tracing } from '../tracing.ts';

const KINDS: Readonly<Record<SpanKind, OtelKind>> = {
  internal: OtelKind.INTERNAL,
  server: OtelKind.SERVER,
  client: OtelKind.CLIENT,
  producer: OtelKind.PRODUCER,
  consumer: OtelKind.CONSUMER,
};

export interface SpanMakerOptions {
  readonly tracer: Tracer;
  /** From 0 to 1. */
  readonly sampleRate: number;
  /** Traces that begin here and are recorded; 0 is no limit. */
  readonly maxPerSecond: number;
  readonly ids: { generateTraceId(): string; generateSpanId(): string };
  /** In [0, 1). */
  readonly random: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly stop: () => Promise<void>;
}

/** Traces by OpenTelemetry. Spans are made for traces that are recorded alone, so that the others cost next to nothing. */
export function createTracing(options: SpanMakerOptions): Tracing {
  const { tracer, sampleRate, ids, random } = options;
  const limiter = createRateLimiter(options.maxPerSecond, options.now);
  const isSampled = (): boolean => random() < sampleRate && limiter.take('');

  /** A trace that nobody outside began. */
  const beginHere = (name: string, more: SpanOptions): Span =>
    wrap(tracer, start(tracer, ROOT_CONTEXT, name, more));

  return {
    begin(name, outside, more = {}): Trace {
      const caller = parseTraceparent(outside);
      if (!isSampled()) {
        const { traceId, spanId } = caller ?? {
          traceId: ids.generateTraceId(),
          spanId: ids.generateSpanId(),
        };
        return { traceparent: formatTraceparent({ traceId, spanId, isSampled: false }), span: undefined };
      }
      const span =
        caller === undefined
          ? beginHere(name, more)
          : wrap(tracer, start(tracer, below({ ...caller, isSampled: true }), name, more));
      return { traceparent: span.traceparent, span };
    },
    resume(name, traceparent, more = {}) {
      const parent = parseTraceparent(traceparent);
      if (parent === undefined) return isSampled() ? beginHere(name, more) : undefined;
      return parent.isSampled ? wrap(tracer, start(tracer, below(parent), name, more)) : undefined;
    },
    recordFailure(name, traceparent, code, more = {}) {
      const parent = parseTraceparent(traceparent);
      const under = parent === undefined ? ROOT_CONTEXT : below({ ...parent, isSampled: true });
      const span = wrap(tracer, start(tracer, under, name, more));
      span.fail(code);
      span.end();
    },
    detached: (work) => context.with(ROOT_CONTEXT, work),
    stop: options.stop,
  };
}

const contextOf = ({ traceId, spanId, isSampled }: Parameters<typeof formatTraceparent>[0]): SpanContext => ({
  traceId,
  spanId,
  traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
  isRemote: true,
});

const below = (parent: Parameters<typeof formatTraceparent>[0]): Context =>
  trace.setSpanContext(ROOT_CONTEXT, contextOf(parent));

const start = (
  tracer: Tracer,
  parent: Context,
  name: string,
  { kind = 'internal', attributes, links, startedAtMs }: SpanOptions,
): OtelSpan =>
  tracer.startSpan(
    name,
    {
      kind: KINDS[kind],
      ...(attributes === undefined ? {} : { attributes: present(attributes) }),
      ...(links === undefined ? {} : { links: links.flatMap(linkTo) }),
      ...(startedAtMs === undefined ? {} : { startTime: startedAtMs }),
    },
    parent,
  );

function linkTo(traceparent: string | undefined): Link[] {
  const parsed = parseTraceparent(traceparent);
  return parsed === undefined ? [] : [{ context: contextOf(parsed) }];
}

/** Called for each span, so without lists in between. */
function present(attributes: SpanAttributes): Record<string, string | number | boolean> {
  const found: Record<string, string | number | boolean> = {};
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined) found[key] = value;
  }
  return found;
}

function wrap(tracer: Tracer, span: OtelSpan): Span {
  const { traceId, spanId } = span.spanContext();
  const inside = trace.setSpan(ROOT_CONTEXT, span);
  let isOver = false;
  return {
    traceId,
    traceparent: formatTraceparent({ traceId, spanId, isSampled: true }),
    child: (name, options = {}) => wrap(tracer, start(tracer, inside, name, options)),
    run: (work) => context.with(inside, work),
    rename: (name) => void span.updateName(name),
    set: (attributes) => void span.setAttributes(present(attributes)),
    event: (name, attributes) => void span.addEvent(name, attributes && present(attributes)),
    link: (traceparent) => void span.addLinks(linkTo(traceparent)),
    fail: (code) => void span.setStatus({ code: SpanStatusCode.ERROR, message: code }),
    end(endedAtMs) {
      if (isOver) return;
      isOver = true;
      span.end(endedAtMs);
    },
  };
}
