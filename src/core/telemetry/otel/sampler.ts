import { trace, type Span } from '@opentelemetry/api';
import {
  AlwaysOnSampler,
  ParentBasedSampler,
  SamplingDecision,
  type Sampler,
  type SamplingResult,
} from '@opentelemetry/sdk-trace';

const NOT_RECORDED: SamplingResult = { decision: SamplingDecision.NOT_RECORD };

/**
 * Records what runs below a recorded span: whether a trace is one is decided at our root, and each instrumentation requires
 * a parent. Of the commands of a pipeline it records the first alone. They leave in one packet, so the others tell
 * nothing more, and with hints of a whole batch they were half of all spans.
 */
export function createSampler(): Sampler {
  const below = new ParentBasedSampler({ root: new AlwaysOnSampler() });
  const withPipeline = new WeakSet<Span>();
  return {
    shouldSample(context, traceId, name, kind, attributes, links) {
      if (isOfPipeline(attributes['db.operation.name'])) {
        const parent = trace.getSpan(context);
        if (parent !== undefined && withPipeline.has(parent)) return NOT_RECORDED;
        if (parent !== undefined) withPipeline.add(parent);
      }
      return below.shouldSample(context, traceId, name, kind, attributes, links);
    },
    toString: () => `FirstOfPipeline{${below.toString()}}`,
  };
}

/** As the instrumentation of ioredis names them. */
const isOfPipeline = (operation: unknown): boolean =>
  typeof operation === 'string' && operation.startsWith('PIPELINE ');
