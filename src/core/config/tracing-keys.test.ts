import { describe, expect, test } from 'vitest';
import { loadConfig } from './load.ts';
import { parseOtelEndpoint, tracingKeys } from './tracing-keys.ts';

describe('OTEL_EXPORTER_ENDPOINT', () => {
  test.each([
    ['http://collector:4317', 'grpc', 'http://collector:4317'],
    ['http://collector', 'grpc', 'http://collector:4317'],
    ['https://otlp.example.com', 'grpc', 'https://otlp.example.com'],
    ['http://collector:4318', 'http', 'http://collector:4318/v1/traces'],
    ['http://collector:4318/', 'http', 'http://collector:4318/v1/traces'],
    ['https://otlp.example.com/otlp/v1/traces', 'http', 'https://otlp.example.com/otlp/v1/traces'],
    ['http://[::1]:4317', 'grpc', 'http://[::1]:4317'],
  ] as const)('%s is %s to %s', (text, protocol, url) => {
    expect(parseOtelEndpoint(text)).toEqual({ protocol, url, translatedFrom: undefined });
  });

  test.each(['http://jaeger-collector:14268/api/traces', 'http://jaeger-collector:14268'])(
    'takes %s, which no Jaeger understands any more, for OTLP on the same host',
    (text) => {
      expect(parseOtelEndpoint(text)).toEqual({
        protocol: 'grpc',
        url: 'http://jaeger-collector:4317',
        translatedFrom: text,
      });
    },
  );

  test.each([
    'collector:4317',
    'ftp://collector',
    'http://user:password@collector:4317',
    'http://c:4318/?a=b',
  ])('refuses %s and says what it takes', (text) => {
    expect(() => parseOtelEndpoint(text)).toThrow('http://host:4317 (gRPC) or http://host:4318 (HTTP)');
  });
});

describe('tracing', () => {
  test('is off, and samples a tenth, unless it is said otherwise', () => {
    expect(loadConfig(tracingKeys, {})).toMatchObject({
      TRACING_ENABLED: false,
      TRACING_SAMPLE_RATE: 0.1,
      TRACING_MAX_PER_SECOND: 100,
    });
    expect(loadConfig(tracingKeys, { TRACING_SAMPLE_RATE: '1.0', TRACING_ENABLED: 'true' })).toMatchObject({
      TRACING_ENABLED: true,
      TRACING_SAMPLE_RATE: 1,
    });
  });

  test.each(['2', '-0.1', 'ten'])('refuses a sample rate of %s', (rate) => {
    expect(() => loadConfig(tracingKeys, { TRACING_SAMPLE_RATE: rate })).toThrow();
  });
});
