import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { Redis } from 'ioredis';
import pg from 'pg';
import { inject, afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../../src/core/db/database.ts';
import { createEgressClient } from '../../../src/core/egress/client.ts';
import { parseAllowPrivate } from '../../../src/core/egress/addresses.ts';
import { parseTraceparent } from '../../../src/core/telemetry/traceparent.ts';
import { within, type Span, type Tracing } from '../../../src/core/telemetry/tracing.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { recordSpans, shown, type RecordedSpans } from '../../support/recorded-spans.ts';
import { startSink, type Sink } from '../../support/sink.ts';

const SENDER = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00';
const CANARY = 'canary-5d1c';

let database: TestDatabase;
let db: Database;
let redis: Redis;
let sink: Sink;
let tracing: Tracing;
let recorder: RecordedSpans;

beforeAll(async () => {
  // After pg, ioredis and undici were loaded, as in the processes.
  recorder = await recordSpans();
  tracing = recorder.tracing;
  database = await createTestDatabase();
  db = openDatabase({
    url: database.url,
    role: 'millrace_engine',
    name: 'test',
    maxConnections: 1,
    queryTimeoutMs: 5000,
    acquireTimeoutMs: 5000,
    onError: () => {},
  });
  redis = new Redis(inject('redisUrl'));
  sink = await startSink();
});

afterAll(async () => {
  redis.disconnect();
  await db.end();
  await sink.close();
  await database.drop();
  await tracing.stop();
});

/** What `work` recorded below a span of its own, that span included. */
async function recorded(work: (span: Span) => Promise<unknown>): Promise<readonly ReadableSpan[]> {
  const { span } = tracing.begin('root', undefined);
  await span!.run(() => work(span!)); // the rate is 1
  span!.end();
  return finished(span!.traceId);
}

/** The spans of a trace; they are handed over in batches. */
async function finished(traceId: string): Promise<readonly ReadableSpan[]> {
  await new Promise((resolve) => setTimeout(resolve, 1200));
  return recorder.all().filter((span) => span.spanContext().traceId === traceId);
}

const named = (spans: readonly ReadableSpan[], name: RegExp): ReadableSpan => {
  const found = spans.filter((span) => name.test(span.name));
  expect(found.map((span) => span.name)).toHaveLength(1);
  return found[0]!;
};

describe('instrumented libraries', () => {
  test('put statements of pg below the span that is current, without values', async () => {
    const spans = await recorded(() => db.query('select $1::text as value', [CANARY]));
    const query = named(spans, /^pg\.query:SELECT/);
    const root = named(spans, /^root$/);
    expect(query.parentSpanContext?.spanId).toBe(root.spanContext().spanId);
    expect(query.instrumentationScope.name).toBe('@opentelemetry/instrumentation-pg');
    expect(Object.values(query.attributes)).toContain('select $1::text as value');
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
  });

  test('leave the pools of pg alone, for which nothing would be recorded', () => {
    const wrapped = '__wrapped'; // by OpenTelemetry's shimmer
    expect(pg.Client.prototype).toHaveProperty(['query', wrapped], true);
    expect(pg.Pool.prototype).not.toHaveProperty(['connect', wrapped]);
  });

  test('say nothing of how a statement failed but that it did', async () => {
    const spans = await recorded(() => db.query('select $1::int as value', [CANARY]).catch(() => undefined));
    const query = named(spans, /^pg\.query:SELECT/);
    expect(query.status).toEqual({ code: 2 });
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
  });

  test('put commands of ioredis below the span that is current, without arguments', async () => {
    const spans = await recorded(() => redis.set(CANARY, CANARY));
    const set = named(spans, /^set$/);
    expect(set.instrumentationScope.name).toBe('@opentelemetry/instrumentation-ioredis');
    expect(Object.values(set.attributes)).toContain('set');
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
    await redis.del(CANARY);
  });

  test('put one command of a pipeline below the span that is current, and all on the way', async () => {
    const spans = await recorded(async () => {
      await redis.pipeline().set(CANARY, 1).incr(CANARY).incr(CANARY).exec();
      expect(await redis.getdel(CANARY)).toBe('3');
    });
    expect(spans.map((span) => span.name)).toEqual(['set', 'getdel', 'root']);
  });

  test('put requests of undici below the span that is current, without path and query', async () => {
    const egress = createEgressClient({ allowPrivate: parseAllowPrivate(`127.0.0.1:${sink.port}`) });
    const spans = await recorded((span) =>
      egress.request({
        method: 'GET',
        url: `${sink.url}/${CANARY}?${CANARY}`,
        headers: { traceparent: span.traceparent },
        redirect: 'manual',
        maxResponseBytes: 1000,
        timeoutMs: 5000,
      }),
    );
    await egress.close();
    const request = named(spans, /^GET$/);
    expect(request.instrumentationScope.name).toBe('@opentelemetry/instrumentation-undici');
    expect(request.attributes['http.response.status_code']).toBe(200);
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
    // Ours, once; the instrumentation adds none.
    const sent = sink.entries.at(-1)!.headers['traceparent'];
    expect(parseTraceparent(sent as string)?.traceId).toBe(request.spanContext().traceId);
  });

  test('record nothing outside of our spans, or when detached from them', async () => {
    const before = recorder.all().length;
    await db.query('select 1');
    await redis.ping();
    const spans = await recorded(() => tracing.detached(() => db.query('select 2')));
    expect(spans.map((span) => span.name)).toEqual(['root']);
    expect(recorder.all()).toHaveLength(before + 1);
  });
});

describe('our spans', () => {
  test('go on with a caller’s trace, whose flag does not decide', async () => {
    const { span, traceparent } = tracing.begin('POST /hooks', SENDER, {
      kind: 'server',
      attributes: { known: 'yes', unknown: undefined },
    });
    expect(parseTraceparent(traceparent)).toMatchObject({
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      isSampled: true,
    });
    span!.end();
    span!.end();
    const [made] = (await finished(span!.traceId)).filter(({ name }) => name === 'POST /hooks');
    expect(made!.parentSpanContext?.spanId).toBe('00f067aa0ba902b7');
    expect(made!.attributes).toEqual({ known: 'yes' });
    expect(made!.resource.attributes).toMatchObject({ 'service.name': 'test' });
  });

  test('are made elsewhere below what was kept, only when that is recorded', async () => {
    const begun = tracing.begin('begun', undefined);
    const resumed = tracing.resume('resumed', begun.traceparent, { links: [SENDER, undefined, 'nonsense'] });
    resumed!.event('log', { level: 'info' });
    resumed!.fail('timeout');
    resumed!.end();
    begun.span!.end();
    const spans = await finished(begun.span!.traceId);
    const made = named(spans, /^resumed$/);
    expect(made.parentSpanContext?.spanId).toBe(begun.span!.traceparent.split('-')[2]);
    expect(made.links.map(({ context }) => context.spanId)).toEqual(['00f067aa0ba902b7']);
    expect(made.status).toEqual({ code: 2, message: 'timeout' });
    expect(made.events.map(({ name, attributes }) => [name, attributes])).toEqual([
      ['log', { level: 'info' }],
    ]);
    expect(tracing.resume('not recorded', SENDER)).toBeUndefined();
  });

  test('of failures are recorded whatever was decided', async () => {
    const traceparent = SENDER.replaceAll('4bf9', 'aaaa');
    tracing.recordFailure('execution.failed', traceparent, 'http_status', {
      attributes: { 'execution.id': 'x' },
      links: [traceparent],
    });
    const [made, ...others] = await finished(parseTraceparent(traceparent)!.traceId);
    expect(others).toEqual([]);
    expect(made).toMatchObject({ name: 'execution.failed', status: { code: 2, message: 'http_status' } });
    expect(made!.links).toHaveLength(1);
  });

  test('cost nothing where there is none', async () => {
    expect(within(undefined, () => 1)).toBe(1);
  });
});
