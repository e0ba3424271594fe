import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonValue } from '../../../src/core/json.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink, type SinkAnswer } from '../../support/sink.ts';

const TOKEN = 'canary-token-0123456789';

let database: TestDatabase;
let platform: TestPlatform;
let sink: Sink;
let stranger: Sink;
const answers = new Map<string, SinkAnswer>();

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSink((entry) => answers.get(entry.path) ?? { body: { path: entry.path } });
  stranger = await startSink();
  platform = await startPlatform(database.url, {
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}, 127.0.0.1:${stranger.port}`,
  });
  await platform.call('PUT', '/api/v1/credentials/crm', {
    type: 'bearer',
    data: { token: TOKEN, baseUrl: `${sink.url}/crm` },
  });
  await platform.call('PUT', '/api/v1/credentials/keyed', {
    type: 'api-key',
    data: { in: 'query', name: 'key', value: TOKEN, baseUrl: sink.url },
  });
});

afterAll(async () => {
  await platform.stop();
  await sink.close();
  await stranger.close();
  await database.drop();
});

let count = 0;
/** Runs one http step; returns the execution and everything the API tells of it. */
async function runStep(http: string, body: JsonValue = {}, more = '') {
  const name = `http-${++count}`;
  const { hook } = await platform.deploy(`
name: ${name}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: call, retry: { attempts: 1 }, ${more} http: ${http} }]
output: steps.call.output
`);
  const reply = await platform.post(hook, body);
  const id = reply.data.executionId as string;
  const execution = await platform.finished(id);
  const shown = await Promise.all(
    [`/api/v1/executions/${id}`, `/api/v1/executions/${id}/logs`].map((path) => platform.call('GET', path)),
  );
  return {
    // oxlint-disable-next-line typescript/no-explicit-any
    execution: execution as any,
    told: shown.map(({ text }) => text).join('\n'),
    logs: shown[1]!.text,
  };
}

const lastRequest = (path: string) => sink.entries.findLast((entry) => entry.path.split('?')[0] === path);

describe('a request', () => {
  test('carries method, headers, query and a JSON body made from data', async () => {
    const { execution } = await runStep(
      `{ method: POST, url: "${sink.url}/make", headers: { x-n: "\${{ trigger.body.n }}" }, query: { q: "a b", l: [1, 2] }, body: { n: "\${{ trigger.body.n }}" } }`,
      { n: 7 },
    );
    expect(execution.state).toBe('succeeded');
    const request = lastRequest('/make')!;
    expect(request).toMatchObject({ method: 'POST', path: '/make?q=a+b&l=1&l=2', body: '{"n":7}' });
    expect(request.headers).toMatchObject({ 'x-n': '7', 'content-type': 'application/json' });
  });

  test('passes the sender’s trace on', async () => {
    const { hook } = await platform.deploy(`
name: traced
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: call, http: { url: "${sink.url}/traced" } }]
`);
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const reply = await platform.post(hook, {}, { traceparent });
    await platform.finished(reply.data.executionId as string);
    expect(lastRequest('/traced')!.headers['traceparent']).toContain('4bf92f3577b34da6a3ce929d0e0e4736');
  });

  test('is written into the step’s log, without its query', async () => {
    const { logs } = await runStep(`{ url: "${sink.url}/logged?secret=1" }`);
    expect(logs).toContain(`GET ${sink.url}/logged answered 200`);
    expect(logs).not.toContain('secret=1');
  });
});

describe('a response', () => {
  test.each([
    ['JSON', { headers: { 'content-type': 'application/json' }, body: '{"a":[1]}' }, { body: { a: [1] } }],
    ['text', { headers: { 'content-type': 'text/plain' }, body: 'words' }, { body: 'words' }],
    [
      'bytes',
      { headers: { 'content-type': 'application/octet-stream' }, body: 'hi' },
      { body: 'aGk=', encoding: 'base64' },
    ],
    ['broken JSON', { headers: { 'content-type': 'application/json' }, body: '{"a":' }, { body: '{"a":' }],
    [
      'nothing',
      { status: 204, headers: { 'content-type': 'application/json' }, body: '' },
      { status: 204, body: null },
    ],
  ] as const)('of %s is read as such', async (what, answer, expected) => {
    const path = `/answer-${what.replace(' ', '-')}`;
    answers.set(path, answer);
    const { execution } = await runStep(`{ url: "${sink.url}${path}" }`);
    expect(execution).toMatchObject({ state: 'succeeded', output: expected });
  });

  test('with a status that okStatus lists is no failure', async () => {
    answers.set('/teapot', { status: 418, body: {} });
    const { execution } = await runStep(`{ url: "${sink.url}/teapot", okStatus: [418] }`);
    expect(execution).toMatchObject({ state: 'succeeded', output: { status: 418 } });
  });

  test('that is too large ends the step', async () => {
    answers.set('/large', { body: 'x'.repeat(5000) });
    const { execution } = await runStep(`{ url: "${sink.url}/large", maxResponseBytes: 1000 }`);
    expect(execution).toMatchObject({ state: 'failed', error: { code: 'response_too_large', step: 'call' } });
  });
});

describe('the guard', () => {
  test.each([
    ['a private address', 'http://10.0.0.1/', 'egress_denied', 'address_denied'],
    ['the metadata service', 'http://169.254.169.254/latest/meta-data/', 'egress_denied', 'address_denied'],
    ['loopback by another spelling', 'http://2130706433/', 'egress_denied', 'address_denied'],
    ['another scheme', 'file:///etc/passwd', 'egress_denied', 'url_denied'],
    ['a name that is none', 'http://does-not-exist.invalid/', 'dns_failed', undefined],
  ])('refuses %s', async (_what, url, code, reason) => {
    const refusals = () =>
      platform.metric('millrace_broker_refusals_total', reason === undefined ? {} : { reason });
    const before = await refusals();
    const { execution } = await runStep('{ url: "${{ trigger.body.url }}" }', { url });
    expect(execution).toMatchObject({ state: 'failed', error: { code, step: 'call' } });
    expect(await refusals()).toBe(before + (reason === undefined ? 0 : 1));
  });

  test('refuses the platform’s own port', async () => {
    const { execution } = await runStep('{ url: "${{ trigger.body.url }}" }', {
      url: `${platform.base}/metrics`,
    });
    expect(execution.error.code).toBe('egress_denied');
  });

  test('checks where a redirect leads', async () => {
    answers.set('/away', { status: 302, headers: { location: 'http://169.254.169.254/' }, body: '' });
    const { execution } = await runStep(`{ url: "${sink.url}/away" }`);
    expect(execution.error.code).toBe('redirect_denied');
  });
});

describe('a credential', () => {
  test('is added at the last moment and shown nowhere, not even when the service echoes it', async () => {
    answers.set('/crm/echo', {
      body: { you: `sent Bearer ${TOKEN}`, encoded: Buffer.from(TOKEN).toString('base64') },
    });
    const { execution, told } = await runStep('{ url: "crm:/echo" }');
    expect(execution.state).toBe('succeeded');
    expect(lastRequest('/crm/echo')!.headers['authorization']).toBe(`Bearer ${TOKEN}`);
    expect(told).toContain('[redacted]');
    expect(told).not.toContain(TOKEN);
    expect(told).not.toContain(Buffer.from(TOKEN).toString('base64'));
  });

  test('is shown nowhere when the request fails', async () => {
    answers.set('/crm/broken', { status: 500, body: `no ${TOKEN}` });
    const { execution, told } = await runStep('{ url: "crm:/broken" }');
    expect(execution.error.code).toBe('http_status');
    expect(told).not.toContain(TOKEN);
    const query = await runStep(`{ url: "${sink.url}/crm/broken", credential: keyed }`);
    expect(lastRequest('/crm/broken')!.path).toContain(`key=${TOKEN}`);
    expect(query.told).not.toContain(TOKEN);
  });

  test('does not go to another host, by redirect neither', async () => {
    answers.set('/crm/elsewhere', { status: 307, headers: { location: `${stranger.url}/catch` }, body: '' });
    await runStep('{ url: "crm:/elsewhere" }');
    expect(stranger.entries.map((entry) => entry.path)).toEqual(['/catch']);
    await runStep(`{ url: "${stranger.url}/direct", credential: crm }`);
    for (const entry of stranger.entries) expect(JSON.stringify(entry)).not.toContain(TOKEN);
  });

  test('cannot be deleted while a workflow uses it', async () => {
    await platform.call('PUT', '/api/v1/credentials/passing', {
      type: 'bearer',
      data: { token: TOKEN, baseUrl: sink.url },
    });
    await runStep('{ url: "passing:/x" }');
    const denied = await platform.call('DELETE', '/api/v1/credentials/passing');
    expect(denied).toMatchObject({ status: 409, data: { code: 'credential_in_use' } });
  });
});
