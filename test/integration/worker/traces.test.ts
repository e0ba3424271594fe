import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SpanKind } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { makeShellLayer } from '../../support/machine-image.ts';
import { writeLayout } from '../../support/oci-layout.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { recordSpans, shown, type RecordedSpans } from '../../support/recorded-spans.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

const IMAGE = 'example.com/tools/shell:1';
const SENDER_SPAN = '00f067aa0ba902b7';
const WEBHOOK = 'triggers: { hook: { webhook: { verify: { scheme: none } } } }';
const CANARY = 'canary-3b90';

let recorder: RecordedSpans;
let database: TestDatabase;
let sink: Sink;
let directory: string;
let platform: TestPlatform;

beforeAll(async () => {
  recorder = await recordSpans();
  database = await createTestDatabase();
  let flaky = 0;
  sink = await startSink(({ path }) => {
    if (path === '/flaky') return { status: ++flaky % 3 === 0 ? 200 : 503 };
    return { delayMs: path === '/slow' ? 1000 : 0 };
  });
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o755);
  await writeLayout(join(directory, 'images/shell'), [{ name: IMAGE, layers: [await makeShellLayer()] }]);
  platform = await startPlatform(
    database.url,
    {
      EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
      SANDBOX_DRIVER: 'gvisor',
      SANDBOX_SPARES_JAVASCRIPT: '0',
      SANDBOX_IMAGES_DIR: join(directory, 'images'),
    },
    { tracing: recorder.tracing },
  );
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  await platform?.stop();
  await recorder?.tracing.stop();
  await sink?.close();
  await database?.drop();
  await rm(directory, { recursive: true });
});

interface Begun {
  readonly traceId: string;
  readonly headers: { readonly traceparent: string };
}

/** A trace that somebody outside has begun. */
function begin(): Begun {
  const traceId = randomBytes(16).toString('hex');
  return { traceId, headers: { traceparent: `00-${traceId}-${SENDER_SPAN}-00` } };
}

const idOf = (span: ReadableSpan): string => span.spanContext().spanId;
const named = (spans: readonly ReadableSpan[], name: string): readonly ReadableSpan[] =>
  spans.filter((span) => span.name === name);

/** The trace, in the order of its spans' starts, once it has so many of each of these. */
function traceWith(traceId: string, counts: Readonly<Record<string, number>>) {
  return waitFor(
    () => {
      const spans = recorder
        .all()
        .filter((span) => span.spanContext().traceId === traceId)
        .toSorted((a, b) => a.startTime[0] - b.startTime[0] || a.startTime[1] - b.startTime[1]);
      for (const [name, count] of Object.entries(counts)) expect(named(spans, name)).toHaveLength(count);
      return spans;
    },
    { what: `a trace with ${JSON.stringify(counts)}`, timeoutMs: 15_000, intervalMs: 100 },
  );
}

interface Ran extends Begun {
  readonly executionId: string;
  readonly deliveryId: string;
}

/** Runs a workflow to its end, in a trace of its own. */
async function run(definition: string, files: Record<string, string> = {}): Promise<Ran> {
  const { hook } = await platform.deploy(definition, files);
  const begun = begin();
  const { status, data } = await platform.post(hook, {}, begun.headers);
  expect(status).toBe(202);
  const execution = await platform.finished(data.executionId as string, 60_000);
  expect(execution.state, JSON.stringify(execution)).toBe('succeeded');
  return { ...begun, executionId: data.executionId as string, deliveryId: data.deliveryId as string };
}

describe('an attempt', { timeout: 60_000 }, () => {
  const expectChain = (attempts: readonly ReadableSpan[]): void => {
    expect(attempts.map(({ attributes }) => attributes['step.attempt'])).toEqual([1, 2, 3]);
    const before = attempts.map(({ links }) => links.map(({ context }) => context.spanId));
    expect(before).toEqual([[], [idOf(attempts[0]!)], [idOf(attempts[1]!)]]);
  };
  const flaky = (initial: string): string =>
    `id: flaky, http: { url: "${sink.url}/flaky" }, retry: { attempts: 3, backoff: fixed, initial: ${initial} }`;

  test('is linked to the one before when the execution gave its lease up in between', async () => {
    const { traceId } = await run(`
name: retries
${WEBHOOK}
# Longer than it takes to record an attempt on a busy machine: what is due by then goes on in the same lease.
steps: [ { ${flaky('1s')} } ]
`);
    const spans = await traceWith(traceId, { 'step.http': 3, 'execution.run': 3 });
    const attempts = named(spans, 'step.http');
    expectChain(attempts);
    expect(attempts.map((span) => span.parentSpanContext?.spanId)).toEqual(
      named(spans, 'execution.run').map(idOf),
    );
  });

  test('is linked to the one before it of the same element, and in the same lease', async () => {
    const { traceId } = await run(`
name: retries-of-one
${WEBHOOK}
steps:
  - { ${flaky('50ms')}, forEach: [1] }
  - { id: slow, http: { url: "${sink.url}/slow" } }
`);
    const spans = await traceWith(traceId, { 'step.http': 4 });
    expectChain(
      spans.filter(({ attributes }) => attributes['step.id'] === 'flaky' && 'step.attempt' in attributes),
    );
  });
});

test('an execution that waits goes on in its trace', { timeout: 60_000 }, async () => {
  const { traceId, executionId } = await run(`
name: waits
${WEBHOOK}
steps:
  - { id: pause, wait: 200ms }
  - { id: after, needs: [pause], transform: "1" }
`);
  const spans = await traceWith(traceId, { 'execution.run': 2, 'queue.wait': 1, 'step.transform': 1 });
  const [request] = named(spans, 'POST /hooks');
  const runs = named(spans, 'execution.run');
  expect(runs.map(({ attributes }) => attributes)).toMatchObject([
    { 'execution.id': executionId, 'execution.dispatch': 1, 'execution.left': 'waiting' },
    { 'execution.id': executionId, 'execution.dispatch': 2, 'execution.left': 'ended' },
  ]);
  for (const one of runs) expect(one.parentSpanContext?.spanId).toBe(idOf(request!));
  expect(named(spans, 'step.transform')[0]!.parentSpanContext?.spanId).toBe(idOf(runs[1]!));
});

describe('a repetition is a trace of its own, linked to that of the original', { timeout: 60_000 }, () => {
  const definition = (name: string): string => `
name: ${name}
${WEBHOOK}
steps: [ { id: only, transform: "1" } ]
`;

  test.each<[string, (original: Ran) => { path: string; route: string; body: object }]>([
    [
      'a retry',
      ({ executionId }) => ({
        path: `/api/v1/executions/${executionId}/retry`,
        route: '/api/v1/executions/{id}/retry',
        body: { from: 'start' },
      }),
    ],
    [
      'a replay',
      ({ deliveryId }) => ({
        path: `/api/v1/deliveries/${deliveryId}/replay`,
        route: '/api/v1/deliveries/{id}/replay',
        body: {},
      }),
    ],
    [
      'a replay of several',
      ({ deliveryId }) => ({
        path: '/api/v1/deliveries/replay',
        route: '/api/v1/deliveries/replay',
        body: { ids: [deliveryId] },
      }),
    ],
  ])('%s', async (_, requestFor) => {
    const original = await run(definition('original'));
    const begun = begin();
    const { path, route, body } = requestFor(original);
    const { status } = await platform.call('POST', path, { ...body }, begun.headers);
    expect(status).toBe(202);
    const spans = await traceWith(begun.traceId, { [`POST ${route}`]: 1, 'execution.run': 1 });
    const [request] = named(spans, `POST ${route}`);
    const first = await traceWith(original.traceId, { 'POST /hooks': 1 });
    expect(request!.links.map(({ context: { traceId, spanId } }) => ({ traceId, spanId }))).toEqual([
      { traceId: original.traceId, spanId: idOf(named(first, 'POST /hooks')[0]!) },
    ]);
    expect(named(spans, 'execution.run')[0]!.parentSpanContext?.spanId).toBe(idOf(request!));
  });
});

describe('a request of the REST API', () => {
  test('is a span of the caller’s trace, named by its route, with its statements below', async () => {
    const { traceId, headers } = begin();
    const path = `/api/v1/executions?workflow=${CANARY}`;
    expect((await platform.call('GET', path, undefined, headers)).status).toBe(200);
    const spans = await traceWith(traceId, { 'GET /api/v1/executions': 1 });
    const [request] = named(spans, 'GET /api/v1/executions');
    expect(request).toMatchObject({
      kind: SpanKind.SERVER,
      parentSpanContext: { spanId: SENDER_SPAN },
      attributes: {
        'http.request.method': 'GET',
        'http.route': '/api/v1/executions',
        'http.response.status_code': 200,
      },
      status: { code: 0 },
    });
    const below = spans.filter(({ parentSpanContext }) => parentSpanContext?.spanId === idOf(request!));
    expect(below.map(({ name }) => name).join()).toMatch(/pg/);
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
  });

  test.each([
    ['that is refused', '/api/v1/workflows/missing', 'GET /api/v1/workflows/{name}'],
    ['to an unknown path', `/api/v1/${CANARY}`, 'GET'],
  ])('%s is one, too, with its status', async (_, path, name) => {
    const { traceId, headers } = begin();
    expect((await platform.call('GET', path, undefined, headers)).status).toBe(404);
    const spans = await traceWith(traceId, { [name]: 1 });
    expect(named(spans, name)[0]).toMatchObject({ attributes: { 'http.response.status_code': 404 } });
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
  });
});

describe('a step in a sandbox', { timeout: 90_000 }, () => {
  const NOTEBOOK = JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { language: 'python', name: 'python3' } },
    cells: [{ cell_type: 'code', source: [`print("${CANARY}")`], outputs: [] }],
  });

  test.each<[string, string, Record<string, string>, readonly object[]]>([
    [
      'notebook',
      'notebook: report.ipynb',
      { 'report.ipynb': NOTEBOOK },
      [{ name: 'log', attributes: { level: 'info' } }],
    ],
    ['container', `container: { image: "${IMAGE}", command: [sh, -c, "echo ${CANARY} >&2"] }`, {}, []],
  ])('of kind %s shows its claim, its run, and what its code logged', async (kind, body, files, events) => {
    const { traceId, executionId } = await run(
      `
name: in-${kind}
${WEBHOOK}
steps: [ { id: it, ${body} } ]
`,
      files,
    );
    const log = await platform.call('GET', `/api/v1/executions/${executionId}/logs`);
    expect(log.text).toContain(CANARY);
    const spans = await traceWith(traceId, { [`step.${kind}`]: 1, 'sandbox.claim': 1, 'sandbox.run': 1 });
    const [step] = named(spans, `step.${kind}`);
    expect(step!.attributes).toMatchObject({ 'step.id': 'it', 'step.kind': kind, 'step.outcome': 'done' });
    const inside = ['sandbox.claim', 'sandbox.run'].map((name) => named(spans, name)[0]!);
    for (const span of inside) expect(span.parentSpanContext?.spanId).toBe(idOf(step!));
    expect(inside[1]!.events.map(({ name, attributes }) => ({ name, attributes }))).toEqual(events);
    expect(JSON.stringify(spans.map(shown))).not.toContain(CANARY);
  });
});
