import { ROOT_CONTEXT, SpanKind, TraceFlags, trace, type Attributes, type Context } from '@opentelemetry/api';
import { SamplingDecision } from '@opentelemetry/sdk-trace';
import { describe, expect, it } from 'vitest';
import { createSampler } from './sampler.ts';

const TRACE = 'a'.repeat(32);

const below = (spanId: string, traceFlags = TraceFlags.SAMPLED): Context =>
  trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext({ traceId: TRACE, spanId, traceFlags }));

describe('the sampler of instrumented libraries', () => {
  const recorded = (context: Context, attributes: Attributes, sampler = createSampler()): boolean =>
    sampler.shouldSample(context, TRACE, 'x', SpanKind.CLIENT, attributes, []).decision ===
    SamplingDecision.RECORD_AND_SAMPLED;

  it('records below recorded spans, and not below others', () => {
    expect(recorded(below('b'.repeat(16)), { 'db.operation.name': 'evalsha' })).toBe(true);
    expect(recorded(below('b'.repeat(16), TraceFlags.NONE), { 'db.operation.name': 'evalsha' })).toBe(false);
  });

  it('records one command of a pipeline', () => {
    const sampler = createSampler();
    const pipeline = { 'db.operation.name': 'PIPELINE evalsha' };
    const first = below('b'.repeat(16));
    expect([1, 2, 3].map(() => recorded(first, pipeline, sampler))).toEqual([true, false, false]);
    expect(recorded(below('c'.repeat(16)), pipeline, sampler)).toBe(true);
    expect(recorded(first, { 'db.operation.name': 'get' }, sampler)).toBe(true);
  });
});
