import { afterEach, describe, expect, test } from 'vitest';
import type { Credential, HostPattern } from '../../core/credentials/types.ts';
import { parseHostPattern } from '../../core/credentials/types.ts';
import type { CompiledStepOf, Value } from '../../core/definition/types.ts';
import type { EgressClient, EgressRequest, EgressResponse } from '../../core/egress/types.ts';
import type { JsonValue } from '../../core/json.ts';
import { createBroker } from '../broker/broker.ts';
import { createHttpExecutor } from './http.ts';
import type { AttemptContext } from './types.ts';

const CRM: Credential = {
  type: 'bearer',
  data: { token: 'canary-token', baseUrl: 'https://crm.example/v1' },
};
const sent: EgressRequest[] = [];
const logs: string[] = [];

afterEach(() => {
  sent.length = 0;
  logs.length = 0;
});

/** Asks what the real one would ask before it sends, then answers. */
const egress = (status: number): Pick<EgressClient, 'request'> => ({
  request: async (request) => {
    request.permit?.(new URL(request.url));
    sent.push(request);
    const headers = { 'content-type': 'application/json', 'retry-after': '7' };
    const body = Buffer.from('{"you":"canary-token"}');
    return { status, headers, body, url: request.url, hops: 0, timings: NO_TIME } satisfies EgressResponse;
  },
});
const NO_TIME = { lookupMs: 0, firstByteMs: 0, totalMs: 0 };
const constant = (value: JsonValue): Value => ({ evaluate: () => value }) as unknown as Value; // all that is read of one

function run(body: Partial<CompiledStepOf<'http'>['body']>, status = 200) {
  const execute = createHttpExecutor({
    broker: createBroker({ egress: egress(status) as EgressClient, onRefusal: () => {} }), // `stream` is not used
    readCredential: async (tenantId, name) => (tenantId === 't1' && name === 'crm' ? CRM : undefined),
  });
  const step = {
    id: 'call',
    body: {
      method: 'GET',
      url: constant('https://api.example/x?q=1'),
      relativeToCredential: false,
      okStatus: [],
      followRedirects: true,
      ...body,
    },
  } as unknown as CompiledStepOf<'http'>; // all that is read of it
  const context = {
    tenantId: 't1',
    idempotencyKey: 'e.call',
    traceparent: 'trace',
    signal: new AbortController().signal,
    clock: { pause: () => undefined, restart: () => undefined },
    timeoutMs: 5000,
    nowMs: 0,
    log: (level: string, message: string) => logs.push(`${level} ${message}`),
  } as unknown as AttemptContext; // all that is read of it
  return Promise.resolve(execute(step, {}, context));
}

const rules = (...entries: readonly string[]): readonly HostPattern[] =>
  entries.map((entry) => parseHostPattern(entry)!); // each of these can be read

describe('the hosts of an http step', () => {
  test('are all public ones when it says nothing', async () => {
    expect(await run({})).toMatchObject({ type: 'done', output: { status: 200 } });
  });

  test('are those of `egress` alone when it has them', async () => {
    await run({ egress: rules('api.example') });
    await expect(run({ egress: rules('*.api.example') })).rejects.toMatchObject({
      code: 'egress_denied',
      message: expect.stringContaining('`egress: [api.example]`'),
    });
    expect(sent).toHaveLength(1);
  });

  test('are those of its credential, too', async () => {
    const named = { credential: 'crm', relativeToCredential: true, url: constant('/x') };
    await run({ ...named, egress: [] });
    expect(sent[0]?.url).toBe('https://crm.example/v1/x');
    expect(sent[0]?.authorize?.(new URL('https://crm.example/'))).toEqual({
      headers: { authorization: 'Bearer canary-token' },
    });
    expect(sent[0]?.authorize?.(new URL('https://api.example/'))).toBeUndefined();
  });
});

test('a request carries the idempotency key and the trace', async () => {
  await run({});
  expect(sent[0]).toMatchObject({
    headers: { 'idempotency-key': 'e.call', traceparent: 'trace' },
    redirect: 'follow',
    maxResponseBytes: 1_048_576,
  });
});

test('nothing shows the credential that the service repeats', async () => {
  const outcome = await run({ credential: 'crm' });
  expect(outcome).toMatchObject({ output: { body: { you: '[redacted]' } } });
  expect(logs).toEqual([
    expect.stringMatching(/^info GET https:\/\/api\.example\/x answered 200 \(22 bytes/),
  ]);
});

test('a status of 400 and more fails the step, and the log says both', async () => {
  await expect(run({}, 503)).rejects.toMatchObject({
    code: 'http_status',
    retryable: true,
    retryAfterMs: 7000,
  });
  await expect(run({}, 404)).rejects.toMatchObject({ code: 'http_status', retryable: false });
  expect(logs.map((line) => line.split(' ', 1)[0])).toEqual(['info', 'warn', 'info', 'warn']);
});

test('a credential that does not exist is credential_missing', async () => {
  await expect(run({ credential: 'gone' })).rejects.toMatchObject({
    code: 'credential_missing',
    message: 'Credential gone does not exist; create it, then retry the execution',
  });
  expect(sent).toEqual([]);
});
