import { booleanKey, fractionKey, integerKey, parsedKey } from './key.ts';

/** Where spans go, and how. */
export interface OtelEndpoint {
  readonly protocol: 'grpc' | 'http';
  /** For HTTP with its path. */
  readonly url: string;
  /** What was asked for instead, in a form that is not spoken any more. */
  readonly translatedFrom: string | undefined;
}

const TRACES_PATH = '/v1/traces';
const HTTP_PORT = '4318';

/**
 * OTLP over HTTP where the URL has its port (4318) or a path, else over gRPC. Jaeger's own protocol, as older
 * configurations have it, ended with Jaeger 1: what asks for it gets OTLP on the same host.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/
 */
export function parseOtelEndpoint(text: string): OtelEndpoint {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new Error(
      'must be the URL of an OTLP endpoint without user, query and fragment: http://host:4317 (gRPC) or http://host:4318 (HTTP)',
    );
  }
  if (url.port === '14268' || url.pathname === '/api/traces') {
    return { protocol: 'grpc', url: `${url.protocol}//${url.hostname}:4317`, translatedFrom: text };
  }
  if (url.port === HTTP_PORT || url.pathname !== '/') {
    const path = url.pathname === '/' ? TRACES_PATH : url.pathname;
    return { protocol: 'http', url: `${url.origin}${path}`, translatedFrom: undefined };
  }
  const hasPort = url.port !== '' || url.protocol === 'https:';
  return { protocol: 'grpc', url: hasPort ? url.origin : `${url.origin}:4317`, translatedFrom: undefined };
}

export const tracingKeys = {
  TRACING_ENABLED: booleanKey('Whether traces are recorded and sent to OTEL_EXPORTER_ENDPOINT', {
    default: false,
  }),
  TRACING_SAMPLE_RATE: fractionKey(
    'The part of traces that is recorded, from 0 to 1, decided for each webhook or start; failed executions always leave one span',
    { default: 0.1 },
  ),
  TRACING_MAX_PER_SECOND: integerKey(
    'The most traces that one process begins to record in a second, so that a flood does not fill what stores them; 0: no limit. It does not count spans of failed executions',
    { default: 100, min: 0, max: 100_000 },
  ),
  OTEL_EXPORTER_ENDPOINT: parsedKey<OtelEndpoint>(
    'Where spans are sent by OTLP: http://host:4317 over gRPC, http://host:4318 or a URL with a path over HTTP. An old Jaeger URL (…:14268/api/traces) is taken as http://host:4317, with a warning',
    parseOtelEndpoint,
    { default: 'http://localhost:4317' },
  ),
} as const;
