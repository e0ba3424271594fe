import { trace } from '@opentelemetry/api';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTraceparent, traceIdOf } from '../traceparent.ts';
import { createTracing } from './spans.ts';

const SENDER = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const IDS = { generateTraceId: () => 'a'.repeat(32), generateSpanId: () => 'b'.repeat(16) };

/** Without an SDK behind it, so that nothing is recorded anywhere. */
const withRate = (sampleRate: number, random: () => number, limit = { maxPerSecond: 0, now: () => 0 }) =>
  createTracing({
    ...limit,
    tracer: trace.getTracer('test'),
    sampleRate,
    ids: IDS,
    random,
    stop: async () => {},
  });

describe('a trace that is not recorded', () => {
  test('has no span, but ids for logs and for others, who are told that it is not recorded', () => {
    const tracing = withRate(0.1, () => 0.1);
    expect(tracing.begin('x', undefined)).toEqual({
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
      span: undefined,
    });
    expect(tracing.begin('x', SENDER)).toEqual({
      traceparent: SENDER.replace(/01$/, '00'),
      span: undefined,
    });
  });

  test('is every one at a rate of 0, and none at a rate of 1', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (random) => {
        expect(withRate(0, () => random).begin('x', SENDER).span).toBeUndefined();
        expect(withRate(1, () => random).begin('x', SENDER).span).toBeDefined();
      }),
    );
  });
});

test('no more traces a second are recorded than allowed, and what has begun goes on', () => {
  let nowMs = 0;
  const tracing = withRate(1, () => 0, { maxPerSecond: 2, now: () => nowMs });
  const recorded = (): readonly boolean[] => [
    tracing.begin('x', undefined).span !== undefined,
    tracing.begin('x', SENDER).span !== undefined,
    tracing.resume('x', undefined) !== undefined,
  ];
  expect(recorded()).toEqual([true, true, false]);
  expect(recorded()).toEqual([false, false, false]);
  // What has begun is gone on with.
  expect(tracing.resume('x', SENDER)).toBeDefined();
  nowMs = 500;
  expect(recorded()).toEqual([true, false, false]);
});

test('a traceparent is understood when it is one', () => {
  expect(parseTraceparent(SENDER)).toEqual({
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    spanId: '00f067aa0ba902b7',
    isSampled: true,
  });
  expect(parseTraceparent(SENDER.replace(/01$/, 'fe'))?.isSampled).toBe(false);
  for (const wrong of [undefined, '', 'x', SENDER.replace('4bf9', '4BF9'), SENDER.replace(/^00/, 'ff')])
    expect(traceIdOf(wrong)).toBeUndefined();
});
