import { errorCodeOf } from '../errors/app-error.ts';

/** Values that may be told to everybody who reads traces: never payloads, secrets, headers, URLs or what users wrote. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

export interface SpanOptions {
  readonly kind?: SpanKind;
  readonly attributes?: SpanAttributes;
  /** What it follows from without being below it, as `traceparent`s. */
  readonly links?: readonly (string | undefined)[];
  /** Milliseconds since the epoch by this process's clock; default now. */
  readonly startedAtMs?: number;
}

/** A span that is recorded. What is not recorded has no span: callers ask with `?.`, and do nothing then. */
export interface Span {
  readonly traceId: string;
  /** What goes along to others, whose spans are below this one. */
  readonly traceparent: string;
  child(name: string, options?: SpanOptions): Span;
  /** Runs `work` with this span as the current one: the spans of libraries are below it. */
  run<T>(work: () => T): T;
  rename(name: string): void;
  set(attributes: SpanAttributes): void;
  event(name: string, attributes?: SpanAttributes): void;
  link(traceparent: string): void;
  /** @param code of an error; messages may hold what is secret */
  fail(code: string): void;
  end(endedAtMs?: number): void;
}

/** A trace that begins here, or is gone on with for a caller from outside. */
export interface Trace {
  /** What is kept and passed on, also of a trace that is not recorded. */
  readonly traceparent: string;
  readonly span: Span | undefined;
}

/** The traces of this process; undefined wherever tracing is off. */
export interface Tracing {
  /**
   * Begins with a request from outside. Its `traceparent` gives the ids; whether the trace is recorded is decided here and
   * holds for all that follows (DESIGN section 7).
   */
  begin(name: string, outside: string | undefined, options?: SpanOptions): Trace;
  /** Goes on where {@link Trace.traceparent} was kept; undefined when the trace is not recorded. */
  resume(name: string, traceparent: string | undefined, options?: SpanOptions): Span | undefined;
  /** Records a span of a failure whether or not its trace is recorded. */
  recordFailure(name: string, traceparent: string | undefined, code: string, options?: SpanOptions): void;
  /** Runs `work` below no span at all: what goes on for many must not end up below one of them. */
  detached<T>(work: () => T): T;
  /** Sends what is recorded so far, and ends. */
  stop(): Promise<void>;
}

/** Runs `work` below the span where there is one. */
export const within = <T>(span: Span | undefined, work: () => T): T =>
  span === undefined ? work() : span.run(work);

/** As {@link Tracing.detached}, where tracing is on. */
export const detached = <T>(tracing: Tracing | undefined, work: () => T): T =>
  tracing === undefined ? work() : tracing.detached(work);

/** Runs work that several share below the first of them that is recorded. */
export const shared = <T>(
  tracing: Tracing | undefined,
  items: Iterable<{ readonly span?: Span | undefined }>,
  work: () => T,
): T => {
  if (tracing === undefined) return work();
  for (const { span } of items) if (span !== undefined) return span.run(work);
  return tracing.detached(work);
};

/** Runs `work` as a span of its own below `parent`, where that is recorded; what it throws ends the span with its code. */
export async function traced<T>(
  parent: Span | undefined,
  name: string,
  options: SpanOptions,
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (parent === undefined) return work(undefined);
  const span = parent.child(name, options);
  try {
    return await span.run(() => work(span));
  } catch (error) {
    span.fail(errorCodeOf(error) ?? 'internal_error');
    throw error;
  } finally {
    span.end();
  }
}
