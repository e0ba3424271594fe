// W3C Trace Context, section 3.2: version 00, and neither id all zero.
const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/** A caller's `traceparent` header, if it is one that may be passed on. */
export function validTraceparent(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' && TRACEPARENT.test(header) ? header : undefined;
}

export interface ParsedTraceparent {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

export function parseTraceparent(traceparent: string | undefined): ParsedTraceparent | undefined {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent ?? '') ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export const formatTraceparent = ({ traceId, spanId, isSampled }: ParsedTraceparent): string =>
  `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`;

/** The trace's id, for logs: whether the trace is recorded or not. */
export const traceIdOf = (traceparent: string | undefined): string | undefined =>
  parseTraceparent(traceparent)?.traceId;
