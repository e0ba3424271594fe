import { createParser } from 'eventsource-parser';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { API_KEY, startPlatform, type TestPlatform } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';

// The REST API with a real worker behind it.

let database: TestDatabase;
let platform: TestPlatform;
beforeAll(async () => {
  database = await createTestDatabase();
  platform = await startPlatform(database.url);
});
afterAll(async () => {
  await platform.stop();
  await database.drop();
});

const triggers = `triggers:
  hook: { webhook: { verify: { scheme: none } } }
  manual: { manual: {} }
`;
const start = (name: string, input: object, query = '') =>
  platform.call('POST', `/api/v1/workflows/${name}/executions${query}`, { input: { ...input } });

test('a start that waits gets the ended execution, also when a respond step has spoken before the end', async () => {
  await platform.deploy(`name: waited
triggers: { hook: { webhook: { verify: { scheme: none }, respond: result } } }
steps:
  - id: say
    respond: { status: 201, body: early }
  - id: pause
    needs: [say]
    wait: { for: 300ms }
  - id: sum
    needs: [pause]
    transform: trigger.body.a + trigger.body.b
output: steps.sum.output
`);
  const answer = await start('waited', { a: 40, b: 2 }, '?wait=10s');
  expect(answer.status).toBe(200);
  expect(answer.data).toMatchObject({ state: 'succeeded', output: 42 });
  expect(answer.data.steps).toMatchObject([
    { id: 'say', kind: 'respond', state: 'succeeded', attempts: 1 },
    { id: 'pause', kind: 'wait', state: 'succeeded' },
    { id: 'sum', kind: 'transform', state: 'succeeded', attempts: 1, output: 42 },
  ]);
});

test('the time to accept a webhook that waits for a result ends with its commit', async () => {
  const secondsOf = async (metric: string): Promise<number> => {
    const { text } = await platform.call('GET', '/metrics');
    const sums = text.matchAll(new RegExp(`^millrace_${metric}_sum(?:\\{[^}]*\\})? (.+)$`, 'gm'));
    return [...sums].reduce((total, [, seconds]) => total + Number(seconds), 0);
  };
  const { hook } = await platform.deploy(`name: slow
triggers: { hook: { webhook: { verify: { scheme: none }, respond: result } } }
steps: [{ id: pause, wait: { for: 2s } }]
`);
  const metrics = ['http_request_duration_seconds', 'accept_duration_seconds'] as const;
  const before = await Promise.all(metrics.map(secondsOf));
  expect((await platform.post(hook, {})).status).toBe(200);
  const after = await Promise.all(metrics.map(secondsOf));
  const [answered = 0, accepted = 0] = after.map((seconds, index) => seconds - before[index]!);
  expect(accepted).toBeGreaterThan(0);
  expect(answered - accepted).toBeGreaterThan(1.9);
});

const longWait = (name: string): string => `name: ${name}
${triggers}steps:
  - id: first
    transform: '"done"'
  - id: pause
    needs: [first]
    wait: { for: 1h }
`;

test('a start that has waited long enough is 202, and its execution can be cancelled while it waits', async () => {
  await platform.deploy(longWait('patient'));
  const answer = await start('patient', {}, '?wait=300ms');
  expect(answer.status).toBe(202);
  const { executionId } = answer.data;
  await waitFor(async () => {
    const { data } = await platform.call('GET', `/api/v1/executions/${executionId}`);
    return data.state === 'waiting';
  });
  const cancelled = await platform.call('POST', `/api/v1/executions/${executionId}/cancel`);
  expect(cancelled.data.state).toBe('cancelled');
  const execution = await platform.finished(executionId);
  expect(execution).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } });
});

test('a retry from the failed step does not repeat what succeeded', async () => {
  await platform.deploy(`name: flaky
${triggers}steps:
  - id: good
    transform: '"kept"'
  - id: bad
    needs: [good]
    transform: trigger.body.missing
output: steps.good.output
`);
  const { executionId } = (await start('flaky', { a: 1 })).data;
  const failed = await platform.finished(executionId);
  expect(failed).toMatchObject({
    state: 'failed',
    error: { code: 'expression_error', message: expect.any(String), step: 'bad' },
  });
  const retry = await platform.call('POST', `/api/v1/executions/${executionId}/retry`, { from: 'failed' });
  const again = await platform.finished(retry.data.executionId);
  const goodOf = (execution: object) => (execution as { steps: { startedAt: string }[] }).steps[0];
  expect(again.state).toBe('failed');
  expect(goodOf(again)).toEqual(goodOf(failed));
});

test('a replay runs with the same trigger as the live delivery', async () => {
  const { hook } = await platform.deploy(`name: echo
${triggers}steps: [{ id: all, transform: "trigger" }]
output: steps.all.output
`);
  const live = (await platform.post(`${hook}?q=1`, { n: 1 }, { 'x-event': 'push' })).data;
  const replay = await platform.call('POST', `/api/v1/deliveries/${live.deliveryId}/replay`);
  expect(replay.status).toBe(202);
  const outputs = await Promise.all(
    [live.executionId, replay.data.executionId].map(async (id) => (await platform.finished(id)).output),
  );
  const varying = { deliveryId: expect.any(String), receivedAt: expect.any(String) };
  expect(outputs[1]).toEqual({ ...(outputs[0] as object), ...varying });
});

test('events arrive while the execution runs, and end with it', async () => {
  await platform.deploy(longWait('followed').replace('1h', '700ms'));
  const { executionId } = (await start('followed', {})).data;
  const response = await fetch(`${platform.base}/api/v1/executions/${executionId}/events`, {
    headers: { authorization: `Bearer ${API_KEY}` },
  });
  const told: string[] = [];
  const parser = createParser({
    onEvent: ({ event, data }) => {
      const { id, state } = JSON.parse(data) as { id: string; state: string };
      told.push(event === 'step' ? `${id} ${state}` : state);
    },
  });
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
  expect(told).toContain('first succeeded');
  expect(told).toContain('waiting');
  expect(told.at(-1)).toBe('succeeded');
});
