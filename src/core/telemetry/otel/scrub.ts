import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace';

/**
 * What spans of instrumented libraries may tell. Statements are ours and hold no values; messages of errors, queries and
 * paths of URLs, and arguments of commands may be anything.
 */
const ALLOWED: ReadonlySet<string> = new Set([
  'db.system',
  'db.system.name',
  'db.name',
  'db.namespace',
  'db.statement',
  'db.query.text',
  'db.operation.name',
  'db.postgresql.plan',
  'error.type',
  'http.request.method',
  'http.response.status_code',
  'net.peer.name',
  'net.peer.port',
  'network.peer.port',
  'server.port',
]);

const TEXTS: ReadonlySet<string> = new Set(['db.statement', 'db.query.text']);

/** Passes spans on to `next`; those of libraries with nothing but what is known to be harmless. */
export function createScrubber(ownScope: string, next: SpanProcessor): SpanProcessor {
  return {
    onStart: (span, parent) => next.onStart(span, parent),
    onEnd(span) {
      if (span.instrumentationScope.name !== ownScope) scrub(span);
      next.onEnd(span);
    },
    forceFlush: () => next.forceFlush(),
    shutdown: () => next.shutdown(),
  };
}

/** In place: the span has ended, and nobody but its processor holds it. */
function scrub(span: ReadableSpan): void {
  // The name of a prepared statement tells which it is, in a hundredth of the bytes.
  const isNamed = 'db.postgresql.plan' in span.attributes;
  for (const key in span.attributes) {
    if (!ALLOWED.has(key) || (isNamed && TEXTS.has(key))) delete span.attributes[key];
  }
  span.events.splice(0);
  const { status } = span as { status: ReadableSpan['status'] };
  delete status.message;
}
