import { createRequire } from 'node:module';
import { context, trace } from '@opentelemetry/api';
import type { Instrumentation, InstrumentationNodeModuleDefinition } from '@opentelemetry/instrumentation';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';

/** The maintained instrumentations below our own spans; without one of ours as parent they do nothing. */
export function createInstrumentations(): readonly Instrumentation[] {
  return [
    // What a connection is waited for is in the metrics of the pool.
    new PgInstrumentation({ requireParentSpan: true, ignoreConnectSpans: true }),
    new IORedisInstrumentation({
      requireParentSpan: true,
      dbStatementSerializer: (command) => command, // arguments hold ids and whatever is stored
    }),
    new UndiciInstrumentation({
      requireParentforSpans: true,
      // Before it takes every request apart, to find then that there is nothing to record.
      ignoreRequestHook: () => trace.getSpan(context.active()) === undefined,
    }),
  ];
}

/**
 * Pools of pg: connecting has no spans, and from the first recorded statement on each use of a connection would be counted, for
 * metrics of OpenTelemetry's that nobody reads (pools.ts has ours).
 */
const LEFT_ALONE: ReadonlySet<string> = new Set(['pg-pool']);

const require = createRequire(import.meta.url);
/** As pg itself finds it. */
const requireOfPg = createRequire(require.resolve('pg'));

/**
 * Instruments packages that are loaded already, as ours are when tracing starts. The instrumentations wait for a `require` or
 * an `import` to come, the latter by a loader hook in a thread of its own; but what they change are the classes that every
 * importer shares, so they can be changed at any time (docs/decisions/0011-instrumenting.md).
 */
export function instrumentLoaded(instrumentations: readonly Instrumentation[]): void {
  for (const instrumentation of instrumentations) {
    // Every instrumentation has it, for its own base class to call.
    const definitions = (instrumentation as unknown as { init(): Definitions }).init() ?? [];
    for (const { name, patch } of Array.isArray(definitions) ? definitions : [definitions])
      if (!LEFT_ALONE.has(name)) patch?.(requireOfPg(name));
  }
}

type Definitions = readonly Definition[] | Definition | undefined;
type Definition = Pick<InstrumentationNodeModuleDefinition, 'name' | 'patch'>;
