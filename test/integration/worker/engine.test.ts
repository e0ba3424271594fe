import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink, type SinkAnswer } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let platform: TestPlatform;
let sink: Sink;
/** How the sink answers a path; by default with the path. */
const answers = new Map<string, (n: number) => SinkAnswer>();
const asked = new Map<string, number>();

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSink(({ path }) => {
    const n = (asked.get(path) ?? 0) + 1;
    asked.set(path, n);
    return answers.get(path)?.(n) ?? { body: { path } };
  });
  platform = await startPlatform(database.url, { EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` });
});

afterAll(async () => {
  await platform.stop();
  await sink.close();
  await database.drop();
});

const webhook = 'triggers: { hook: { webhook: { verify: { scheme: none } } } }';

async function run(definition: string, body: unknown = {}) {
  const { hook } = await platform.deploy(definition);
  const reply = await platform.post(hook, body as never);
  expect(reply.status).toBe(202);
  return platform.finished(reply.data.executionId as string);
}

const requests = (path: string) => sink.entries.filter((entry) => entry.path === path);
// oxlint-disable-next-line typescript/no-explicit-any
const step = (execution: any, id: string) => execution.steps.find((entry: { id: string }) => entry.id === id);

describe('an execution', () => {
  test('goes through its steps in the order of their needs and ends with its output', async () => {
    const execution = await run(
      `
name: chain
${webhook}
steps:
  - id: call
    http: { url: "${sink.url}/hello/\${{ trigger.body.name }}" }
  - id: shape
    needs: [call]
    transform: { path: "\${{ steps.call.output.body.path }}", twice: "\${{ trigger.body.n * 2 }}" }
output: steps.shape.output
`,
      { name: 'mill', n: 21 },
    );
    expect(execution).toMatchObject({ state: 'succeeded', output: { path: '/hello/mill', twice: 42 } });
    expect(step(execution, 'call')).toMatchObject({ state: 'succeeded', attempts: 1, kind: 'http' });
    const [request] = requests('/hello/mill');
    expect(request!.headers['idempotency-key']).toBe(`${execution['id'] as string}.call`);
  });

  test('begins no step before the outcome that it may follow from is recorded', async () => {
    const { hook } = await platform.deploy(`
name: recorded-first
${webhook}
steps:
  - { id: first, http: { url: "${sink.url}/recorded/first" } }
  - { id: between, needs: [first], transform: steps.first.output.status }
  - { id: second, needs: [between], http: { url: "${sink.url}/recorded/second" } }
`);
    const locker = new pg.Client({ connectionString: database.url });
    await locker.connect();
    try {
      await locker.query('begin; lock table step_run in share mode');
      const reply = await platform.post(hook, {});
      await waitFor(() => requests('/recorded/first').length === 1);
      await delay(500);
      expect(requests('/recorded/second')).toEqual([]);
      await locker.query('commit');
      expect(await platform.finished(reply.data.executionId as string)).toMatchObject({ state: 'succeeded' });
    } finally {
      await locker.end();
    }
    expect(requests('/recorded/second')).toHaveLength(1);
  });

  test('runs independent steps at once', async () => {
    let together = 0;
    let most = 0;
    const slow = (): SinkAnswer => {
      most = Math.max(most, ++together);
      setTimeout(() => together--, 150);
      return { body: {}, delayMs: 150 };
    };
    answers.set('/slow/a', slow);
    answers.set('/slow/b', slow);
    const execution = await run(`
name: parallel
${webhook}
steps:
  - { id: a, http: { url: "${sink.url}/slow/a" } }
  - { id: b, http: { url: "${sink.url}/slow/b" } }
output: "[steps.a.state, steps.b.state]"
`);
    expect(execution.output).toEqual(['succeeded', 'succeeded']);
    expect(most).toBe(2);
  });

  test('skips a step whose `if` is false and those that need it, unless they need it always', async () => {
    const execution = await run(`
name: skips
${webhook}
steps:
  - { id: no, if: has(trigger.body.go), transform: "1" }
  - { id: after, needs: [no], transform: "2" }
  - { id: anyway, needs: [{ step: no, when: always }], transform: "3" }
output: "[steps.no.output, steps.after.state, steps.anyway.output]"
`);
    expect(execution).toMatchObject({ state: 'succeeded', output: [null, 'skipped', 3] });
  });

  test('fails with the step that failed; what needs it is skipped, the rest goes on', async () => {
    answers.set('/missing', () => ({ status: 404, body: { why: 'not here' } }));
    const execution = await run(`
name: fails
${webhook}
steps:
  - { id: bad, http: { url: "${sink.url}/missing" } }
  - { id: after, needs: [bad], transform: "1" }
  - { id: other, transform: "2" }
`);
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'http_status', step: 'bad' } });
    expect(step(execution, 'after').state).toBe('skipped');
    expect(step(execution, 'other').state).toBe('succeeded');
    expect(requests('/missing')).toHaveLength(1);
  });

  test('goes on after a failed step that is marked continueOnError', async () => {
    answers.set('/gone', () => ({ status: 410 }));
    const execution = await run(`
name: tolerant
${webhook}
steps:
  - { id: bad, continueOnError: true, http: { url: "${sink.url}/gone" } }
  - { id: after, needs: [bad], transform: "steps.bad.error.code" }
output: "[steps.bad.output, steps.after.output]"
`);
    expect(execution).toMatchObject({ state: 'succeeded', output: [null, 'http_status'] });
  });

  test('that waits is resumed at its time by whoever is there', async () => {
    const execution = await run(`
name: waits
${webhook}
steps:
  - { id: pause, wait: 300ms }
  - { id: after, needs: [pause], transform: steps.pause.output.until }
output: steps.after.output
`);
    expect(execution.state).toBe('succeeded');
    expect(Date.parse(execution['finishedAt'] as string)).toBeGreaterThanOrEqual(
      Date.parse(execution.output as string),
    );
  });

  test('has an expression error named where it happened', async () => {
    const execution = await run(`
name: wrong-data
${webhook}
steps:
  - { id: reads, transform: trigger.body.missing.deep }
`);
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'expression_error', step: 'reads' } });
  });

  test('never evaluates what a payload says', async () => {
    const evil = { a: '{{7*7}}', b: '${{ 7*7 }}', c: '<%=7*7%>' };
    const execution = await run(
      `
name: literal
${webhook}
steps:
  - { id: one, transform: trigger.body }
  - { id: two, needs: [one], http: { method: POST, url: "${sink.url}/literal", body: "\${{ steps.one.output }}" } }
  - { id: three, needs: [two], transform: { text: "<\${{ steps.one.output.b }}>" } }
output: "[steps.one.output, steps.three.output.text]"
`,
      evil,
    );
    expect(execution.output).toEqual([evil, '<${{ 7*7 }}>']);
    expect(JSON.parse(requests('/literal')[0]!.body)).toEqual(evil);
  });
});

test('a step for which there is no sandbox fails by the platform’s fault', async () => {
  const { hook } = await platform.deploy(
    `
name: nowhere
${webhook}
steps: [ { id: it, code: a.js, retry: { attempts: 1 } } ]
`,
    { 'a.js': 'export default () => 1;' },
  );
  const { data } = await platform.post(hook, {});
  const execution = await platform.finished(data.executionId as string, 60_000);
  expect(execution).toMatchObject({ state: 'failed', error: { code: 'no_sandbox', step: 'it' } });
  const failures = (code: string) => platform.metric('millrace_platform_failures_total', { code });
  await waitFor(async () => (await failures('no_sandbox')) === 1, { what: 'the fault to be counted' });
}, 90_000);

describe('retries', () => {
  test('repeat what may pass, under the same idempotency key', async () => {
    answers.set('/flaky', (n) => (n < 3 ? { status: 503 } : { body: { n } }));
    const execution = await run(`
name: flaky
${webhook}
steps:
  - id: call
    http: { url: "${sink.url}/flaky" }
    retry: { attempts: 3, backoff: fixed, initial: 50ms }
output: steps.call.output.body.n
`);
    expect(execution).toMatchObject({ state: 'succeeded', output: 3 });
    expect(step(execution, 'call').attempts).toBe(3);
    expect(new Set(requests('/flaky').map((entry) => entry.headers['idempotency-key'])).size).toBe(1);
  });

  test('end after the last attempt with its error', async () => {
    answers.set('/down', () => ({ status: 500 }));
    const execution = await run(`
name: down
${webhook}
steps:
  - { id: call, http: { url: "${sink.url}/down" }, retry: { attempts: 2, backoff: fixed, initial: 20ms } }
`);
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'http_status', step: 'call' } });
    expect(requests('/down')).toHaveLength(2);
  });

  test('wait as long as a 429 asks', async () => {
    answers.set('/busy', (n) => (n === 1 ? { status: 429, headers: { 'retry-after': '1' } } : { body: {} }));
    await run(`
name: busy
${webhook}
steps:
  - { id: call, http: { url: "${sink.url}/busy" }, retry: { attempts: 2, backoff: fixed, initial: 10ms } }
`);
    const [first, second] = requests('/busy');
    expect(second!.at - first!.at).toBeGreaterThanOrEqual(990);
  });

  test('are not made for a step that is atMostOnce', async () => {
    answers.set('/once', () => ({ status: 503 }));
    const execution = await run(`
name: once
${webhook}
steps:
  - { id: call, atMostOnce: true, http: { url: "${sink.url}/once" } }
`);
    expect(execution.state).toBe('failed');
    expect(requests('/once')).toHaveLength(1);
  });

  test('time-outs count as failures that may pass', async () => {
    answers.set('/sleepy', (n) => (n === 1 ? { delayMs: 2000 } : { body: 'awake' }));
    const execution = await run(`
name: sleepy
${webhook}
steps:
  - { id: call, timeout: 200ms, http: { url: "${sink.url}/sleepy" }, retry: { attempts: 2, backoff: fixed, initial: 10ms } }
`);
    expect(execution.state).toBe('succeeded');
    expect(requests('/sleepy')).toHaveLength(2);
  });
});

describe('forEach', () => {
  test('runs its step for each element and gives the outputs in order', async () => {
    let together = 0;
    let most = 0;
    for (const path of ['/item/a', '/item/b', '/item/c', '/item/d']) {
      answers.set(path, () => {
        most = Math.max(most, ++together);
        setTimeout(() => together--, 60);
        return { body: { path }, delayMs: 60 };
      });
    }
    const execution = await run(
      `
name: each
${webhook}
steps:
  - id: call
    forEach: trigger.body.names
    parallelism: 2
    http: { url: "${sink.url}/item/\${{ item }}?i=\${{ index }}" }
output: steps.call.output.map(o, o.status)
`,
      { names: ['a', 'b', 'c', 'd'] },
    );
    expect(execution).toMatchObject({ state: 'succeeded', output: [200, 200, 200, 200] });
    expect(most).toBeLessThanOrEqual(2);
    const entry = sink.entries.find(({ path }) => path === '/item/c?i=2')!;
    expect(entry.headers['idempotency-key']).toBe(`${execution['id'] as string}.call.2`);
  });

  test('fails with the element that failed', async () => {
    const execution = await run(
      `
name: each-fails
${webhook}
steps:
  - { id: shape, forEach: trigger.body, transform: 10 / item }
`,
      [1, 'x', 2],
    );
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'expression_error', step: 'shape' } });
    // oxlint-disable-next-line typescript/no-explicit-any
    expect((execution as any).error.message).toContain('Element 1');
  });

  test('of an empty list succeeds with an empty one, of something else is invalid_input', async () => {
    const definition = (name: string) => `
name: ${name}
${webhook}
steps: [{ id: shape, forEach: trigger.body.list, transform: item }]
output: steps.shape.output
`;
    expect(await run(definition('each-empty'), { list: [] })).toMatchObject({
      state: 'succeeded',
      output: [],
    });
    expect(await run(definition('each-odd'), { list: 7 })).toMatchObject({
      error: { code: 'invalid_input' },
    });
  });
});

describe('stopping', () => {
  test('a cancellation stops a running step within seconds', async () => {
    answers.set('/endless', () => ({ delayMs: 60_000 }));
    const { hook } = await platform.deploy(`
name: endless
${webhook}
steps: [{ id: call, http: { url: "${sink.url}/endless" } }, { id: after, needs: [call], transform: "1" }]
`);
    const { data } = await platform.post(hook, {});
    await expect.poll(() => requests('/endless').length).toBe(1);
    expect((await platform.call('POST', `/api/v1/executions/${data.executionId}/cancel`)).status).toBe(202);
    const execution = await platform.finished(data.executionId as string, 5000);
    expect(execution).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } });
    expect(execution).toMatchObject({ steps: [{ state: 'cancelled' }, { state: 'cancelled' }] });
  });

  test('an execution that runs longer than its timeout fails as execution_timeout', async () => {
    answers.set('/long', () => ({ delayMs: 60_000 }));
    const execution = await run(`
name: long
${webhook}
timeout: 1s
steps: [{ id: call, http: { url: "${sink.url}/long" } }]
`);
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'execution_timeout' } });
  });

  test('waiting does not count towards the timeout', async () => {
    const execution = await run(`
name: patient
${webhook}
timeout: 1s
steps:
  - { id: pause, wait: 1500ms }
  - { id: after, needs: [pause], transform: "true" }
output: steps.after.output
`);
    expect(execution).toMatchObject({ state: 'succeeded', output: true });
  });
});

describe('slots', () => {
  const CONCURRENCY = 10; // the default

  test('executions that wait for a slow answer keep nobody from starting', async () => {
    answers.set('/slow', () => ({ delayMs: 4000 }));
    const slow = await platform.deploy(`
name: slow
${webhook}
steps: [{ id: call, http: { url: "${sink.url}/slow" } }]
`);
    const replies = await Promise.all(
      Array.from({ length: 2 * CONCURRENCY }, () => platform.post(slow.hook, {})),
    );
    await expect.poll(() => requests('/slow').length).toBeGreaterThan(CONCURRENCY);
    const quick = await run(`
name: quick
${webhook}
steps: [{ id: call, http: { url: "${sink.url}/quick" } }]
`);
    expect(quick).toMatchObject({ state: 'succeeded' });
    const first = await platform.call('GET', `/api/v1/executions/${replies[0]!.data.executionId}`);
    expect(first.data).toMatchObject({ state: 'running' });
    for (const { data } of replies) {
      expect(await platform.finished(data.executionId as string)).toMatchObject({ state: 'succeeded' });
    }
    expect(requests('/slow')).toHaveLength(2 * CONCURRENCY);
  });
});

describe('respond: result', () => {
  const trigger = (extra = '') =>
    `triggers: { hook: { webhook: { verify: { scheme: none }, respond: result${extra} } } }`;

  test('answers with the output', async () => {
    const { hook } = await platform.deploy(`
name: sync
${trigger()}
steps: [{ id: sum, transform: trigger.body.a + trigger.body.b }]
output: "{'sum': steps.sum.output}"
`);
    const reply = await platform.post(hook, { a: 40, b: 2 });
    expect(reply).toMatchObject({ status: 200, data: { sum: 42 } });
  });

  test('answers what a respond step says, before the execution has ended', async () => {
    const { hook } = await platform.deploy(`
name: sync-early
${trigger()}
steps:
  - { id: say, respond: { status: 201, headers: { x-mill: "yes" }, body: { hello: "\${{ trigger.body.name }}" } } }
  - { id: later, needs: [say], wait: 5s }
`);
    const startedAt = Date.now();
    const reply = await platform.post(hook, { name: 'mill' });
    expect(reply).toMatchObject({ status: 201, data: { hello: 'mill' } });
    expect(reply.headers.get('x-mill')).toBe('yes');
    expect(Date.now() - startedAt).toBeLessThan(4000);
  });

  test('answers 500 with the execution’s id when it failed', async () => {
    const { hook } = await platform.deploy(`
name: sync-fails
${trigger()}
steps: [{ id: bad, transform: trigger.body.nope }]
`);
    const reply = await platform.post(hook, {});
    expect(reply).toMatchObject({ status: 500, data: { code: 'execution_failed' } });
    expect((await platform.finished(reply.data.executionId as string)).state).toBe('failed');
  });

  test('answers 202 when it takes too long', async () => {
    const { hook } = await platform.deploy(`
name: sync-slow
${trigger(', wait: 1s')}
steps: [{ id: pause, wait: 3s }]
`);
    const reply = await platform.post(hook, {});
    expect(reply).toMatchObject({ status: 202, data: { duplicate: false } });
  });
});
