import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deliver, deployHello } from './fixtures.ts';
import { startTestApi, type Call, type TestApi, type TestTenant } from './harness.ts';

let api: TestApi;
let call: Call;
let endpointId: string;
beforeAll(async () => {
  api = await startTestApi();
  call = api.tenant.call;
  endpointId = await deployed(api.tenant, 'hello');
});
afterAll(() => api.close());

async function deployed(tenant: TestTenant, name: string, extra = ''): Promise<string> {
  return (await deployHello(tenant, name, extra)).triggers[0]!.endpointId; // the webhook
}

describe('GET /deliveries', () => {
  test('shows a delivery with its headers and without its bytes', async () => {
    const { deliveryId, executionId } = await deliver(api, api.tenant, endpointId, { dedupeKey: 'd1' });
    const answer = await call('GET', `/api/v1/deliveries/${deliveryId}`);
    expect(answer.status).toBe(200);
    expect(answer.data).toEqual({
      id: deliveryId,
      workflow: 'hello',
      trigger: 'hook',
      endpointId,
      verdict: 'accepted',
      reason: null,
      method: 'POST',
      bodySize: 15,
      executionId,
      duplicateOf: null,
      rootId: null,
      replayCount: 0,
      receivedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      query: 'a=1&b=2',
      headers: { 'content-type': 'application/json', 'x-event': 'push' },
      dedupeKey: 'd1',
    });
  });

  test('filters by workflow, verdict, endpoint and time, page by page', async () => {
    const tenant = await api.makeTenant('filtering');
    const one = await deployed(tenant, 'one');
    const two = await deployed(tenant, 'two');
    const first = (await deliver(api, tenant, one)).deliveryId;
    const second = (await deliver(api, tenant, one, { verdict: 'rejected', reason: 'bad' })).deliveryId;
    const third = (await deliver(api, tenant, two)).deliveryId;
    const list = async (query: string): Promise<string[]> =>
      (await tenant.call('GET', `/api/v1/deliveries?${query}`)).data.items.map(
        (item: { id: string }) => item.id,
      );
    expect(await list('')).toEqual([third, second, first]);
    expect(await list('workflow=one')).toEqual([second, first]);
    expect(await list('verdict=rejected')).toEqual([second]);
    expect(await list(`endpointId=${two}`)).toEqual([third]);
    expect(await list('to=2020-01-01T00:00:00Z')).toEqual([]);
    const page = (await tenant.call('GET', '/api/v1/deliveries?limit=2')).data;
    expect(await list(`limit=2&cursor=${page.nextCursor}`)).toEqual([first]);
  });

  test('the execution of a delivery shows the request as its trigger', async () => {
    const { deliveryId, executionId } = await deliver(api, api.tenant, endpointId);
    const { trigger, input } = (await call('GET', `/api/v1/executions/${executionId}`)).data;
    expect(input).toBeNull();
    expect(trigger).toEqual({
      type: 'webhook',
      name: 'hook',
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-event': 'push' },
      query: { a: '1', b: '2' },
      body: { name: 'mill' },
      deliveryId,
      receivedAt: expect.any(String),
    });
  });
});

describe('GET /deliveries/{id}/body', () => {
  const odd = Buffer.from([0xef, 0xbb, 0xbf, 0x00, 0xff, 0x0d, 0x0a, 0x22, 0xed, 0xa0, 0x80]);

  test('gives the very bytes, as a download in which nothing runs', async () => {
    const { deliveryId } = await deliver(api, api.tenant, endpointId, { body: odd });
    const response = await fetch(`${api.base}/api/v1/deliveries/${deliveryId}/body`, {
      headers: { authorization: `Bearer ${api.tenant.key}` },
    });
    expect(response.status).toBe(200);
    expect(Buffer.from(await response.arrayBuffer())).toEqual(odd);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    expect(response.headers.get('content-disposition')).toMatch(/^attachment/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-security-policy')).toMatch(/^sandbox/);
  });

  test('of a duplicate are those of the first', async () => {
    await deliver(api, api.tenant, endpointId, { dedupeKey: 'twice', body: odd });
    await deliver(api, api.tenant, endpointId, { dedupeKey: 'twice', body: odd });
    const [duplicate] = (await call('GET', '/api/v1/deliveries?verdict=duplicate&limit=1')).data.items;
    const response = await fetch(`${api.base}/api/v1/deliveries/${duplicate.id}/body`, {
      headers: { authorization: `Bearer ${api.tenant.key}` },
    });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(odd);
  });
});

describe('POST /deliveries/{id}/replay', () => {
  const replay = (id: string, body?: unknown) => call('POST', `/api/v1/deliveries/${id}/replay`, body);

  test('is a new delivery with a new execution of the same trigger shape, linked to the root and counted there', async () => {
    const original = await deliver(api, api.tenant, endpointId, { dedupeKey: 'replayed' });
    const first = await replay(original.deliveryId);
    expect(first.status).toBe(202);
    expect(first.data).toEqual({
      deliveryId: expect.any(String),
      executionId: expect.any(String),
      rootId: original.deliveryId,
    });
    const second = await replay(first.data.deliveryId);
    expect(second.data.rootId).toBe(original.deliveryId);
    const live = (await call('GET', `/api/v1/executions/${original.executionId}`)).data.trigger;
    const replayed = (await call('GET', `/api/v1/executions/${second.data.executionId}`)).data.trigger;
    expect(replayed).toEqual({
      ...live,
      deliveryId: second.data.deliveryId,
      receivedAt: expect.any(String),
    });
    expect((await call('GET', `/api/v1/deliveries/${original.deliveryId}`)).data.replayCount).toBe(2);
    expect((await call('GET', `/api/v1/deliveries/${second.data.deliveryId}`)).data).toMatchObject({
      verdict: 'accepted',
      rootId: original.deliveryId,
      replayCount: 0,
      dedupeKey: null,
    });
    expect(api.hints).toContainEqual({ executionId: second.data.executionId, dispatchNumber: 0 });
  });

  test('counts every one of twenty at once', async () => {
    const { deliveryId } = await deliver(api, api.tenant, endpointId);
    await Promise.all(Array.from({ length: 20 }, () => replay(deliveryId)));
    expect((await call('GET', `/api/v1/deliveries/${deliveryId}`)).data.replayCount).toBe(20);
  });

  test.each([
    [{ a: 2 }, { a: 2 }],
    ['{"a":3}', { a: 3 }],
    ['"text"', 'text'],
    [null, null],
    [[1], [1]],
  ])('takes the body %j as %j', async (body, expected) => {
    const { deliveryId } = await deliver(api, api.tenant, endpointId);
    const { executionId } = (await replay(deliveryId, { body })).data;
    expect((await call('GET', `/api/v1/executions/${executionId}`)).data.trigger.body).toEqual(expected);
  });

  test('refuses a body that the content type does not allow', async () => {
    const json = await deliver(api, api.tenant, endpointId);
    expect((await replay(json.deliveryId, { body: '{"a":' })).data).toMatchObject({
      status: 400,
      code: 'malformed_json',
    });
    expect((await replay(json.deliveryId, { body: '['.repeat(101) })).data.code).toBe('json_too_deep');
    const text = await deliver(api, api.tenant, endpointId, { headersJson: '{"content-type":"text/plain"}' });
    expect((await replay(text.deliveryId, { body: { a: 1 } })).data.code).toBe('invalid_request');
    const { executionId } = (await replay(text.deliveryId, { body: 'hi' })).data;
    expect((await call('GET', `/api/v1/executions/${executionId}`)).data.trigger.body).toBe('hi');
  });

  test('runs the current version, or the one that is asked for', async () => {
    const moving = await deployed(api.tenant, 'moving');
    const { deliveryId } = await deliver(api, api.tenant, moving);
    await deployHello(api.tenant, 'moving', 'timeout: 1m\n');
    const versionOf = async (body?: unknown): Promise<number> => {
      const { executionId } = (await replay(deliveryId, body)).data;
      return (await call('GET', `/api/v1/executions/${executionId}`)).data.version;
    };
    expect(await versionOf()).toBe(2);
    expect(await versionOf({ version: 1 })).toBe(1);
    expect((await replay(deliveryId, { version: 3 })).data.code).toBe('workflow_version_not_found');
  });

  test('is judged by the filter of the version that runs', async () => {
    const filtered = await deployed(api.tenant, 'picky');
    const { deliveryId } = await deliver(api, api.tenant, filtered);
    const definition = (await call('GET', '/api/v1/workflows/picky')).data.definition.replace(
      'scheme: none }',
      'scheme: none }, filter: body.name == "miller"',
    );
    expect((await call('PUT', '/api/v1/workflows/picky', { definition })).status).toBe(201);
    const kept = await replay(deliveryId);
    expect(kept.status).toBe(202);
    expect(kept.data).toEqual({
      deliveryId: expect.any(String),
      filtered: true,
      reason: 'the filter is false',
      rootId: deliveryId,
    });
    expect((await call('GET', `/api/v1/deliveries/${kept.data.deliveryId}`)).data).toMatchObject({
      verdict: 'filtered',
      executionId: null,
    });
    expect((await replay(deliveryId, { body: { name: 'miller' } })).data.executionId).toBeDefined();
    // What was filtered when it came may pass now.
    expect((await replay(kept.data.deliveryId, { version: 1 })).data.executionId).toBeDefined();
  });

  test('of a duplicate is one of the first delivery', async () => {
    const first = await deliver(api, api.tenant, endpointId, {
      dedupeKey: 'again',
      body: Buffer.from('{"n":7}'),
    });
    await deliver(api, api.tenant, endpointId, { dedupeKey: 'again', body: Buffer.from('{"n":7}') });
    const [duplicate] = (await call('GET', '/api/v1/deliveries?verdict=duplicate&limit=1')).data.items;
    const { rootId, executionId } = (await replay(duplicate.id)).data;
    expect(rootId).toBe(first.deliveryId);
    expect((await call('GET', `/api/v1/executions/${executionId}`)).data.trigger.body).toEqual({ n: 7 });
  });

  test('is refused for what was rejected, and while the workflow is disabled or gone', async () => {
    const going = await deployed(api.tenant, 'going');
    const rejected = await deliver(api, api.tenant, going, {
      verdict: 'rejected',
      reason: 'wrong signature',
    });
    const { deliveryId } = await deliver(api, api.tenant, going);
    expect((await replay(rejected.deliveryId)).data).toMatchObject({
      status: 409,
      code: 'delivery_not_replayable',
      detail: expect.stringContaining('wrong signature'),
    });
    await call('POST', '/api/v1/workflows/going/disable');
    expect((await replay(deliveryId)).data.code).toBe('workflow_disabled');
    await call('POST', '/api/v1/workflows/going/enable');
    const manualOnly =
      'name: going\ntriggers: { manual: { manual: {} } }\nsteps: [{ id: a, transform: "1" }]\n';
    await call('PUT', '/api/v1/workflows/going', { definition: manualOnly });
    expect((await replay(deliveryId)).data.detail).toContain('version 2 has no webhook trigger hook');
    await call('DELETE', '/api/v1/workflows/going');
    expect((await replay(deliveryId)).data.code).toBe('delivery_not_replayable');
  });
});

describe('POST /deliveries/replay', () => {
  test('tells for each what became of it', async () => {
    const good = await deliver(api, api.tenant, endpointId);
    const rejected = await deliver(api, api.tenant, endpointId, { verdict: 'rejected', reason: 'no' });
    const random = '01900000-0000-7000-8000-000000000000';
    const ids = [good.deliveryId, rejected.deliveryId, random, 'x'];
    const answer = await call('POST', '/api/v1/deliveries/replay', { ids });
    expect(answer.status).toBe(202);
    expect(answer.data.items).toEqual([
      {
        id: good.deliveryId,
        deliveryId: expect.any(String),
        executionId: expect.any(String),
        rootId: good.deliveryId,
      },
      { id: rejected.deliveryId, error: { code: 'delivery_not_replayable', message: expect.any(String) } },
      { id: random, error: { code: 'delivery_not_found', message: expect.any(String) } },
      { id: 'x', error: { code: 'delivery_not_found', message: expect.any(String) } },
    ]);
  });

  test.each([
    [{ ids: [] }],
    [{}],
    [{ ids: Array.from({ length: 101 }, (_, n) => String(n)) }],
    [{ ids: ['a', 'a'] }],
    [{ ids: [1] }],
    [{ ids: ['a'], version: 0 }],
  ])('refuses %j', async (body) => {
    const answer = await call('POST', '/api/v1/deliveries/replay', body);
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
  });
});

test('nothing is replayed when that is switched off', async () => {
  const off = await startTestApi({ settings: { replayEnabled: false } });
  try {
    const { deliveryId } = await deliver(off, off.tenant, await deployed(off.tenant, 'hello'));
    for (const [path, body] of [
      [`/api/v1/deliveries/${deliveryId}/replay`, undefined],
      ['/api/v1/deliveries/replay', { ids: [deliveryId] }],
    ] as const) {
      const answer = await off.tenant.call('POST', path, body);
      expect([answer.status, answer.data.code]).toEqual([403, 'replay_disabled']);
    }
  } finally {
    await off.close();
  }
});
