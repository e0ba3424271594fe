import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { createMetrics } from '../../src/core/telemetry/metrics.ts';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startJaeger, type Jaeger, type JaegerSpan } from '../support/jaeger.ts';
import { startPrometheus, type PrometheusServer } from '../support/prometheus-server.ts';
import type { TestProcess } from '../support/processes.ts';
import { startRedisServer, type RedisServer } from '../support/redis-server.ts';
import { startSink, type Sink, type SinkAnswer, type SinkEntry } from '../support/sink.ts';
import { waitFor } from '../support/wait-for.ts';

const SENDER_TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SENDER_SPAN = '00f067aa0ba902b7';
const SENDER = `00-${SENDER_TRACE}-${SENDER_SPAN}-00`;
/** Part of all that no span may tell. */
const CANARY = 'canary-7c31';
const HELD = '/held';

let database: TestDatabase;
let redis: RedisServer;
let sink: Sink;
let jaeger: Jaeger;
let cluster: Cluster;
let worker: TestProcess;
let workerPort: number;
let prometheus: PrometheusServer;

/** The first one who calls `HELD` has to wait for longer than a worker of this test lives. */
function answer({ path }: SinkEntry): SinkAnswer {
  if (path.startsWith('/broken')) return { status: 400 };
  const isFirst = path === HELD && sink.entries.filter((entry) => entry.path === HELD).length === 1;
  return { body: { ok: true }, delayMs: isFirst ? 60_000 : 0 };
}

const portOf = async (process: TestProcess, message: string): Promise<number> =>
  Number((await process.waitForOutput(new RegExp(`"port":(\\d+)[^\\n]*"msg":"${message}"`)))[1]);

beforeAll(async () => {
  [database, redis, sink, jaeger] = await Promise.all([
    createTestDatabase(),
    startRedisServer(),
    startSink(answer),
    startJaeger(),
  ]);
  cluster = await startCluster({
    databaseUrl: database.url,
    redisUrl: redis.url,
    built: true,
    env: {
      TRACING_ENABLED: 'true',
      TRACING_SAMPLE_RATE: '1',
      OTEL_EXPORTER_ENDPOINT: jaeger.grpcUrl,
      EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
      SANDBOX_DRIVER: 'process',
      // One worker is lost here.
      LEASE_MS: '10000',
      HEARTBEAT_MS: '1000',
    },
  });
  worker = await cluster.startWorker();
  const apiPort = new URL(cluster.base).port;
  workerPort = await portOf(worker, 'worker started');
  prometheus = await startPrometheus({
    targets: { 'millrace-api': [`127.0.0.1:${apiPort}`], 'millrace-worker': [`127.0.0.1:${workerPort}`] },
  });
});

afterAll(async () => {
  await Promise.allSettled([
    prometheus?.stop(),
    cluster?.stop(),
    jaeger?.stop(),
    sink?.close(),
    redis?.stop(),
  ]);
  await database?.drop();
});

const traced = (): string => `
name: traced
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: shape, transform: { value: "\${{ trigger.body.value }}" } }
  - { id: call, needs: [shape], http: { url: "${sink.url}/call/${CANARY}?secret=${CANARY}", credential: bearer } }
  - { id: code, needs: [call], code: steps/code.ts, credentials: [keyed], secrets: [pin] }
`;
const CREDENTIALS = (): Readonly<Record<string, JsonObject>> => ({
  bearer: { type: 'bearer', data: { token: `${CANARY}-token`, baseUrl: sink.url } },
  keyed: {
    type: 'api-key',
    data: { in: 'query', name: 'key', value: `${CANARY}-key`, baseUrl: sink.url },
  },
  pin: { type: 'secret', data: { value: `${CANARY}-pin` } },
});
const code = (): string => `
export default async (ctx) => {
  ctx.log.warn('${CANARY}');
  const headers = { 'x-pin': ctx.secrets.pin };
  const answer = await ctx.fetch('keyed:/from-code', { headers });
  return answer.status;
};
`;
const failing = (): string => `
name: failing
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: broken, http: { url: "${sink.url}/broken" } }
`;

/** The trace, once it has all these spans. */
async function traceWith(traceId: string, names: readonly string[]): Promise<readonly JaegerSpan[]> {
  let spans: readonly JaegerSpan[] = [];
  await waitFor(
    async () => {
      spans = await jaeger.trace(traceId);
      return names.every((name) => spans.some((span) => span.name === name));
    },
    { timeoutMs: 20_000, intervalMs: 200, what: `a trace with ${names.join(', ')}` },
  ).catch((raw: unknown) => {
    throw new Error(`there are only ${spans.map(({ name }) => name).join(', ')}`, { cause: raw });
  });
  return spans;
}

/** The names of a span and of all above it. */
function pathOf(spans: readonly JaegerSpan[], span: JaegerSpan): readonly string[] {
  const parent = spans.find(({ spanId }) => spanId === span.parentId);
  return parent === undefined ? [span.name] : [...pathOf(spans, parent), span.name];
}

describe('a webhook', () => {
  let spans: readonly JaegerSpan[];
  let executionId: string;
  const all = (name: string): readonly JaegerSpan[] => spans.filter((span) => span.name === name);
  const only = (name: string): JaegerSpan => {
    expect(all(name).map((span) => span.name)).toEqual([name]);
    return all(name)[0]!;
  };

  beforeAll(async () => {
    for (const [name, credential] of Object.entries(CREDENTIALS()))
      expect((await cluster.call('PUT', `/api/v1/credentials/${name}`, credential)).status).toBe(201);
    const { hook } = await cluster.deploy(traced(), { 'steps/code.ts': code() });
    const headers = { traceparent: SENDER, 'x-request': `${CANARY}-header` };
    const reply = await cluster.post(`${hook}?q=${CANARY}`, { value: CANARY }, headers);
    expect(reply.status).toBe(202);
    executionId = reply.data.executionId as string;
    expect(await cluster.finished(executionId, 60_000)).toMatchObject({ state: 'succeeded' });
    spans = await traceWith(SENDER_TRACE, [
      'POST /hooks',
      'hint.publish',
      'queue.wait',
      'execution.run',
      'step.code',
      'sandbox.run',
      'journal.write',
    ]);
  });

  test('is one trace with that of its sender, over API and worker', () => {
    const root = only('POST /hooks');
    expect(root).toMatchObject({ service: 'millrace-api', parentId: SENDER_SPAN });
    expect(root.tags['http.response.status_code']).toBe(202);
    for (const name of ['delivery.verify', 'delivery.commit', 'hint.publish'])
      expect(only(name)).toMatchObject({ service: 'millrace-api', parentId: root.spanId });
    for (const name of ['queue.wait', 'execution.claim', 'execution.run']) {
      expect(only(name)).toMatchObject({ service: 'millrace-worker', parentId: root.spanId });
      expect(only(name).tags['execution.id']).toBe(executionId);
    }
    const [commit, wait, claim, run] = [
      'delivery.commit',
      'queue.wait',
      'execution.claim',
      'execution.run',
    ].map(only);
    expect(wait!.startedAtUs).toBeGreaterThanOrEqual(commit!.startedAtUs - 50_000); // by the database's clock
    expect(claim!.startedAtUs).toBeGreaterThanOrEqual(wait!.startedAtUs);
    expect(run!.startedAtUs).toBeGreaterThanOrEqual(claim!.startedAtUs);
  });

  test('shows each attempt of a step, the sandbox, and what it called', () => {
    const run = only('execution.run');
    for (const name of ['step.transform', 'step.http', 'step.code'])
      expect(only(name)).toMatchObject({ parentId: run.spanId });
    const paths = all('broker.request').map((span) => pathOf(spans, span).slice(1).join(' > '));
    expect(paths.sort()).toEqual([
      'execution.run > step.code > sandbox.run > broker.request',
      'execution.run > step.http > broker.request',
    ]);
    expect(pathOf(spans, only('sandbox.claim')).at(-2)).toBe('step.code');
    expect(['hit', 'miss']).toContain(only('sandbox.claim').tags['sandbox.claim']);
    expect(only('sandbox.run').events).toContainEqual(expect.objectContaining({ level: 'warn' }));
  });

  test('goes on in what its steps called', () => {
    const calls = new Map(all('broker.request').map((span) => [span.spanId, span]));
    for (const { headers, path } of sink.entries) {
      const [, traceId, spanId, flags] = (headers['traceparent'] as string).split('-');
      expect([traceId, flags], path).toEqual([SENDER_TRACE, '01']);
      expect(calls.get(spanId ?? ''), path).toBeDefined();
    }
    expect(sink.entries).toHaveLength(2);
  });

  test('has the spans of PostgreSQL, Redis and HTTP below ours', () => {
    const below = (name: string): readonly string[] =>
      spans.filter((span) => pathOf(spans, span).at(-2) === name).map((span) => span.name);
    expect(below('delivery.commit').join()).toMatch(/pg/);
    expect(below('journal.write').join()).toMatch(/pg/);
    expect(below('hint.publish').length).toBeGreaterThan(0);
    expect(below('broker.request')).toEqual(['GET', 'GET']);
  });

  test('tells no payload, header, path, query, log line, credential, secret or endpoint', () => {
    expect(
      sink.entries.map(({ path, headers }) => [path, headers['authorization'], headers['x-pin']]),
    ).toEqual([
      [`/call/${CANARY}?secret=${CANARY}`, `Bearer ${CANARY}-token`, undefined],
      [`/from-code?key=${CANARY}-key`, undefined, `${CANARY}-pin`],
    ]);
    const text = JSON.stringify(spans);
    expect(text).not.toContain(CANARY);
    expect(text).not.toMatch(/hooks\/[0-9a-f]{40}/);
  });

  test('is what its metrics lead to', async () => {
    const series = await waitFor(
      async () => {
        const found = await prometheus.query(
          'millrace_executions_total{tenant="default",workflow="traced",outcome="succeeded"}',
        );
        return found[0];
      },
      { timeoutMs: 20_000, intervalMs: 250, what: 'the series of the execution' },
    );
    expect(series).toMatchObject({ value: 1, labels: { job: 'millrace-worker' } });
    const exemplars = await waitFor(
      async () => {
        const found = (await prometheus.get('/api/v1/query_exemplars', {
          query: 'millrace_execution_duration_seconds_bucket{workflow="traced"}',
          start: String(Date.now() / 1000 - 300),
          end: String(Date.now() / 1000 + 60),
        })) as readonly {
          readonly exemplars: readonly { readonly labels: Readonly<Record<string, string>> }[];
        }[];
        return (
          found.length > 0 && found.flatMap((one) => one.exemplars.map(({ labels }) => labels['trace_id']))
        );
      },
      { timeoutMs: 20_000, intervalMs: 250, what: 'an exemplar' },
    );
    expect(exemplars).toContain(SENDER_TRACE);
  });

  test.each([
    ['API', 'millrace_accept_duration_seconds', (): string => cluster.base],
    ['worker', 'millrace_sandbox_claim_seconds', (): string => `http://127.0.0.1:${workerPort}`],
  ])('is named by the page of the %s, beside a bucket of %s', async (_, histogram, base) => {
    const headers = { accept: 'application/openmetrics-text' };
    const page = await (await fetch(`${base()}/metrics`, { headers })).text();
    const marked = page.split('\n').filter((line) => line.startsWith(`${histogram}_bucket`));
    expect(marked.join('\n')).toContain(` # {trace_id="${SENDER_TRACE}"} `);
  });
});

describe('a failed execution', () => {
  test('is found by its span, and by its lines in the log, in the trace that the webhook’s answer began', async () => {
    const { hook } = await cluster.deploy(failing());
    const reply = await cluster.post(hook, {});
    const id = reply.data.executionId as string;
    expect(await cluster.finished(id)).toMatchObject({ state: 'failed' });
    const found = await waitFor(async () => (await jaeger.find('millrace-worker', 'execution.failed'))[0], {
      timeoutMs: 20_000,
      intervalMs: 250,
      what: 'the span of the failure',
    });
    const failure = found.find(({ name }) => name === 'execution.failed')!;
    expect(failure.tags).toMatchObject({
      'execution.id': id,
      'workflow.name': 'failing',
      'error.type': 'http_status',
      'step.id': 'broken',
      'otel.status_code': 'ERROR',
    });
    expect(failure.links.length).toBeGreaterThan(0);
    const line = worker
      .stdout()
      .split('\n')
      .find((text) => text.includes('an execution failed'));
    expect(JSON.parse(line ?? '{}')).toMatchObject({
      // What authors get wrong is nothing for an SRE to look at.
      level: pino.levels.values['info'],
      executionId: id,
      traceId: failure.traceId,
      code: 'http_status',
    });
  });

  test('leaves that span over HTTP, too, where nothing else is recorded', async () => {
    const silent = await startCluster({
      databaseUrl: database.url,
      built: true,
      env: {
        TRACING_ENABLED: 'true',
        TRACING_SAMPLE_RATE: '0',
        OTEL_EXPORTER_ENDPOINT: `${jaeger.httpUrl}/v1/traces`,
        EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
        MILLRACE_BOOTSTRAP_API_KEY: '',
      },
    });
    try {
      // The first worker would take it otherwise, which records everything that is to be recorded.
      worker.signal('SIGSTOP');
      await silent.startWorker();
      const { hook } = await silent.deploy(failing());
      const traceId = SENDER_TRACE.replaceAll('4', '5');
      const reply = await silent.post(hook, {}, { traceparent: `00-${traceId}-${SENDER_SPAN}-01` });
      expect(await silent.finished(reply.data.executionId as string, 60_000)).toMatchObject({
        state: 'failed',
      });
      expect((await traceWith(traceId, ['execution.failed'])).map(({ name }) => name)).toEqual([
        'execution.failed',
      ]);
    } finally {
      worker.signal('SIGCONT');
      await silent.stop();
    }
  });
});

describe('Prometheus', () => {
  test('understands all that API and worker say, and has every metric of them', async () => {
    const up = await waitFor(
      async () => {
        const samples = await prometheus.query('up');
        return samples.length === 2 && samples.every(({ value }) => value === 1) && samples;
      },
      { timeoutMs: 20_000, intervalMs: 250, what: 'both targets to be up' },
    );
    expect(new Set(up.map(({ labels }) => labels['job']))).toEqual(
      new Set(['millrace-api', 'millrace-worker']),
    );
    const metadata = (await prometheus.get('/api/v1/metadata')) as Readonly<
      Record<string, readonly { readonly type: string; readonly help: string }[]>
    >;
    for (const { name, type, help } of createMetrics().catalog) {
      // OpenMetrics calls a counter by its name without `_total`.
      const known = metadata[name] ?? metadata[name.replace(/_total$/, '')];
      expect.soft(known?.[0], name).toMatchObject({ type, help });
    }
  });

  test('sees the workers that live, what waits and how large the database is', async () => {
    for (const [query, least] of [
      ['max(millrace_workers)', 1],
      ['max(millrace_queue_depth)', 0],
      ['max(millrace_database_bytes)', 1_000_000],
      ['count(millrace_table_partition_bytes)', 4],
      ['min(millrace_redis_up)', 1],
      ['sum(millrace_deliveries_total{outcome="accepted"})', 2],
      ['sum(millrace_worker_slots)', 1],
      ['sum(millrace_database_pool_connections{state="idle"})', 1],
      ['sum(rate(millrace_http_request_duration_seconds_count{route="/hooks"}[5m]))', 0],
    ] as const) {
      const [sample] = await waitFor(
        async () => {
          const found = await prometheus.query(query);
          return found.length > 0 && found[0]!.value >= least && found;
        },
        { timeoutMs: 30_000, intervalMs: 250, what: query },
      );
      expect(sample!.value).toBeGreaterThanOrEqual(least);
    }
  });
});

describe('an execution whose worker is lost', () => {
  test('goes on in its trace, with the next worker', async () => {
    const { hook } = await cluster.deploy(`
name: held
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps: [ { id: held, http: { url: "${sink.url}${HELD}" } } ]
`);
    const traceId = SENDER_TRACE.replaceAll('4', '6');
    const headers = { traceparent: `00-${traceId}-${SENDER_SPAN}-00` };
    const { data } = await cluster.post(hook, {}, headers);
    const held = (): readonly SinkEntry[] => sink.entries.filter(({ path }) => path === HELD);
    await waitFor(() => held().length === 1, { what: 'the step to run' });
    // What had ended on the first worker is with Jaeger before that is killed.
    await traceWith(traceId, ['queue.wait', 'execution.claim']);
    worker.signalGroup('SIGKILL');
    await cluster.startWorker();
    expect(await cluster.finished(data.executionId as string, 60_000)).toMatchObject({ state: 'succeeded' });

    const spans = await traceWith(traceId, ['execution.run', 'step.http']);
    const tagsOf = (name: string) => spans.filter((span) => span.name === name).map(({ tags }) => tags);
    expect(tagsOf('execution.claim').map((tags) => tags['execution.dispatch'])).toEqual(
      expect.arrayContaining([1, 2]),
    );
    expect(tagsOf('execution.run')).toMatchObject([
      { 'execution.id': data.executionId, 'execution.dispatch': 2, 'execution.lost_leases': 1 },
    ]);
    expect(tagsOf('step.http')).toMatchObject([{ 'step.attempt': 1, 'step.outcome': 'done' }]);
    expect(held().map((entry) => (entry.headers['traceparent'] as string).split('-')[1])).toEqual([
      traceId,
      traceId,
    ]);
  });
});
