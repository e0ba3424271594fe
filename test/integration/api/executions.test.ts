import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployHello, helloDefinition, startHello, stepRow, succeed, work } from './fixtures.ts';
import { startTestApi, type Call, type TestApi } from './harness.ts';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi({
    deps: {
      // Ends what it is asked to wait for, as a worker would meanwhile.
      watchExecution: async (_tenantId, id) => {
        if (api.hints.some((hint) => hint.executionId === id)) await succeed(api, id);
        return undefined;
      },
    },
  });
  call = api.tenant.call;
  await deployHello(api.tenant, 'hello');
});
afterAll(() => api.close());

const start = (body?: unknown, query = '', headers = {}) =>
  call('POST', `/api/v1/workflows/hello/executions${query}`, body, headers);

describe('POST /workflows/{name}/executions', () => {
  test('queues an execution and hints at it', async () => {
    const answer = await start({ input: { name: 'x' } });
    expect(answer.status).toBe(202);
    expect(answer.data).toEqual({ executionId: expect.any(String) });
    expect(api.hints).toContainEqual({ executionId: answer.data.executionId, dispatchNumber: 0 });
    const execution = await call('GET', `/api/v1/executions/${answer.data.executionId}`);
    expect(execution.data).toMatchObject({ state: 'queued', input: { name: 'x' } });
  });

  test.each([[undefined], [{}], [{ input: null }]])('has no input with the body %j', async (body) => {
    const answer = await start(body);
    const execution = await call('GET', `/api/v1/executions/${answer.data.executionId}`);
    expect(execution.data).toMatchObject({ input: null, trigger: { body: null } });
  });

  test('gives the execution itself when it has ended within ?wait', async () => {
    const answer = await start({ input: { name: 'mill' } }, '?wait=10s');
    expect(answer.status).toBe(200);
    expect(answer.data).toMatchObject({ state: 'succeeded', output: 'hello mill!' });
  });

  test.each(['61s', '2m', '10', 'soon', '', '-1s'])('refuses ?wait=%s', async (wait) => {
    const answer = await start({}, `?wait=${wait}`);
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
    expect(answer.data.errors[0].path).toBe('query.wait');
  });

  test('checks the input against the schema and says where it differs', async () => {
    await deployHello(
      api.tenant,
      'strict',
      'inputSchema: { type: object, required: [name], properties: { name: { type: string } } }\n',
    );
    const path = '/api/v1/workflows/strict/executions';
    expect((await call('POST', path, { input: { name: 'x' } })).status).toBe(202);
    const wrong = await call('POST', path, { input: { name: 1 } });
    expect([wrong.status, wrong.data.code]).toEqual([422, 'input_invalid']);
    expect(wrong.data.errors).toEqual([
      expect.objectContaining({ path: 'name', message: expect.any(String) }),
    ]);
    expect((await call('POST', path)).status).toBe(422);
  });

  test('starts a workflow that has no manual trigger, too', async () => {
    const definition = helloDefinition('only-hook').replace('  manual: { manual: {} }\n', '');
    await call('PUT', '/api/v1/workflows/only-hook', { definition });
    const id = await startHello(api.tenant, 'only-hook', 1);
    expect((await call('GET', `/api/v1/executions/${id}`)).data.trigger).toMatchObject({
      type: 'manual',
      name: 'manual',
      body: 1,
    });
  });

  test('keeps what JSON can say and columns often cannot', async () => {
    const input = { nul: '\u0000', lone: '\ud800', big: 1e300, deep: [[[]]], '': 1 };
    const { executionId } = (await start({ input })).data;
    expect((await call('GET', `/api/v1/executions/${executionId}`)).data.input).toEqual(input);
  });
});

describe('Idempotency-Key', () => {
  test('fifty at once start one execution', async () => {
    const headers = { 'idempotency-key': 'order 17' };
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => start({ input: { n: 1 } }, '', headers)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    const ids = new Set(answers.map(({ data }) => data.executionId));
    expect(ids.size).toBe(1);
    expect(api.hints.filter((hint) => ids.has(hint.executionId))).toHaveLength(1);
  });

  test('with another input it is a conflict', async () => {
    const headers = { 'idempotency-key': 'order-18' };
    await start({ input: { n: 1 } }, '', headers);
    const other = await start({ input: { n: 2 } }, '', headers);
    expect([other.status, other.data.code]).toEqual([409, 'idempotency_conflict']);
  });

  test('counts within its workflow alone', async () => {
    await deployHello(api.tenant, 'other');
    const headers = { 'idempotency-key': 'shared' };
    const first = await start({ input: 1 }, '', headers);
    const second = await call('POST', '/api/v1/workflows/other/executions', { input: 1 }, headers);
    expect(second.status).toBe(202);
    expect(second.data.executionId).not.toBe(first.data.executionId);
  });

  test.each(['', 'ä', 'x'.repeat(256)])('refuses %j', async (key) => {
    const answer = await start({}, '', { 'idempotency-key': Buffer.from(key).toString('latin1') });
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
  });
});

describe('GET /executions/{id}', () => {
  test('has the promised shape, steps in document order, pending ones too', async () => {
    const id = await startHello(api.tenant, 'hello');
    await work(api, id, {
      steps: [
        stepRow('greet', { state: 'failed', dueAtMs: 1, error: { code: 'timeout', message: 'too slow' } }),
        stepRow('greet', {
          attempt: 2,
          state: 'succeeded',
          inputJson: '{"a":1}',
          outputJson: '"hello mill"',
        }),
      ],
    });
    const answer = await call('GET', `/api/v1/executions/${id}`);
    expect(answer.status).toBe(200);
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(answer.data).toEqual({
      id,
      workflow: 'hello',
      version: 1,
      state: 'running',
      trigger: {
        type: 'manual',
        name: 'manual',
        method: null,
        headers: {},
        query: {},
        body: { name: 'mill' },
        deliveryId: null,
        receivedAt: time,
      },
      retryOf: null,
      input: { name: 'mill' },
      output: null,
      error: null,
      createdAt: time,
      startedAt: time,
      finishedAt: null,
      steps: [
        {
          id: 'greet',
          kind: 'transform',
          state: 'succeeded',
          attempts: 2,
          startedAt: '2026-01-31T12:00:00.000Z',
          finishedAt: '2026-01-31T12:00:00.250Z',
          input: { a: 1 },
          output: 'hello mill',
          error: null,
        },
        {
          id: 'shout',
          kind: 'transform',
          state: 'pending',
          attempts: 0,
          startedAt: null,
          finishedAt: null,
          input: null,
          output: null,
          error: null,
        },
      ],
    });
  });

  test('counts a forEach as one step', async () => {
    const id = await startHello(api.tenant, 'hello');
    await work(api, id, {
      steps: [
        stepRow('greet', { item: 0, state: 'succeeded', outputJson: '1' }),
        stepRow('greet', {
          item: 1,
          attempt: 1,
          state: 'failed',
          dueAtMs: 1,
          error: { code: 'timeout', message: '' },
        }),
        stepRow('greet', { item: 1, attempt: 2, state: 'succeeded', outputJson: '2' }),
        stepRow('greet', { item: -1, attempt: 0, state: 'succeeded', outputJson: '[1,2]' }),
      ],
    });
    const { steps } = (await call('GET', `/api/v1/executions/${id}`)).data;
    expect(steps).toHaveLength(2);
    expect(steps[0]).toMatchObject({ id: 'greet', state: 'succeeded', attempts: 2, output: [1, 2] });
  });

  test('names the step that failed it', async () => {
    const id = await startHello(api.tenant, 'hello');
    const error = { code: 'expression_error', message: 'no such key' };
    await work(api, id, {
      steps: [
        stepRow('greet', { state: 'failed', error }),
        stepRow('shout', { state: 'skipped', attempt: 0 }),
      ],
      leaving: { to: 'failed', error: { ...error, step: 'greet' } },
    });
    const { data } = await call('GET', `/api/v1/executions/${id}`);
    expect(data).toMatchObject({ state: 'failed', error: { ...error, step: 'greet' } });
    expect(data.steps.map((step: { state: string }) => step.state)).toEqual(['failed', 'skipped']);
    expect(data.steps[0].error).toEqual(error);
  });
});

describe('GET /executions', () => {
  test('gives pages, newest first, each execution once, however many are made meanwhile', async () => {
    const tenant = await api.makeTenant('pages');
    await deployHello(tenant, 'many');
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push(await startHello(tenant, 'many'));
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const suffix: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const page = await tenant.call('GET', `/api/v1/executions?limit=2${suffix}`);
      expect(page.status).toBe(200);
      seen.push(...page.data.items.map((item: { id: string }) => item.id));
      cursor = page.data.nextCursor;
      if (seen.length < 5) await startHello(tenant, 'many');
    } while (cursor !== null);
    expect(seen).toEqual(ids.toReversed());
  });

  test('filters by workflow, state and time', async () => {
    const tenant = await api.makeTenant('filters');
    await deployHello(tenant, 'one');
    await deployHello(tenant, 'two');
    const ended = await startHello(tenant, 'one');
    await succeed(api, ended);
    const between = new Date().toISOString();
    const queued = await startHello(tenant, 'one');
    const other = await startHello(tenant, 'two');
    const list = async (query: string): Promise<string[]> =>
      (await tenant.call('GET', `/api/v1/executions?${query}`)).data.items.map(
        (item: { id: string }) => item.id,
      );
    expect(await list('workflow=one')).toEqual([queued, ended]);
    expect(await list('workflow=nobody')).toEqual([]);
    expect(await list('state=succeeded')).toEqual([ended]);
    expect(await list('workflow=one&state=queued')).toEqual([queued]);
    expect(await list(`from=${between}`)).toEqual([other, queued]);
    expect(await list(`to=${between}`)).toEqual([ended]);
    expect(await list('from=2020-01-01T00:00:00%2B02:00&to=2020-02-01T00:00:00Z')).toEqual([]);
  });

  test('shows what a list needs and no data', async () => {
    const id = await startHello(api.tenant, 'hello');
    const { items } = (await call('GET', '/api/v1/executions?limit=1')).data;
    expect(items).toEqual([
      {
        id,
        workflow: 'hello',
        version: 1,
        state: 'queued',
        trigger: { type: 'manual', name: 'manual', deliveryId: null },
        retryOf: null,
        error: null,
        createdAt: expect.any(String),
        startedAt: null,
        finishedAt: null,
      },
    ]);
  });

  test('a cursor is good for its own list, filters and tenant alone', async () => {
    await startHello(api.tenant, 'hello');
    await startHello(api.tenant, 'hello');
    const { nextCursor } = (await call('GET', '/api/v1/executions?limit=1&workflow=hello')).data;
    const other = await api.makeTenant('cursor-thief');
    for (const answer of [
      await call('GET', `/api/v1/executions?limit=1&cursor=${nextCursor}`),
      await call('GET', `/api/v1/executions?limit=1&workflow=strict&cursor=${nextCursor}`),
      await call('GET', `/api/v1/deliveries?workflow=hello&cursor=${nextCursor}`),
      await other.call('GET', `/api/v1/executions?limit=1&workflow=hello&cursor=${nextCursor}`),
      await call('GET', '/api/v1/executions?cursor=abc'),
    ]) {
      expect([answer.status, answer.data.code]).toEqual([400, 'invalid_cursor']);
    }
    const next = await call('GET', `/api/v1/executions?limit=3&workflow=hello&cursor=${nextCursor}`);
    expect(next.status).toBe(200);
  });

  test.each([
    'limit=0',
    'limit=201',
    'limit=1e1',
    'limit=',
    'limit=5&limit=6',
    'state=odd',
    'from=yesterday',
    'from=2026-01-01',
    'workflow=Not%20A%20Name',
    'unknown=1',
    'api_key=x',
  ])('refuses ?%s', async (query) => {
    const answer = await call('GET', `/api/v1/executions?${query}`);
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
    expect(answer.data.errors[0].path).toBe(`query.${query.split('=')[0]}`);
  });
});

describe('GET /executions/stats', () => {
  test('counts by state and measures what has ended', async () => {
    const tenant = await api.makeTenant('statistics');
    await deployHello(tenant, 'counted');
    expect((await tenant.call('GET', '/api/v1/executions/stats')).data).toEqual({
      total: 0,
      counts: { queued: 0, running: 0, waiting: 0, succeeded: 0, failed: 0, cancelled: 0 },
      durationMs: null,
    });
    for (let n = 0; n < 3; n++) await succeed(api, await startHello(tenant, 'counted'));
    await startHello(tenant, 'counted');
    const { data } = await tenant.call('GET', '/api/v1/executions/stats?workflow=counted');
    expect(data.total).toBe(4);
    expect(data.counts).toMatchObject({ queued: 1, succeeded: 3 });
    expect(data.durationMs.p50).toBeLessThanOrEqual(data.durationMs.p99);
    expect(data.durationMs.p99).toBeLessThanOrEqual(data.durationMs.max);
    expect((await tenant.call('GET', '/api/v1/executions/stats?workflow=nobody')).data.total).toBe(0);
  });
});

describe('POST /executions/{id}/cancel', () => {
  test('ends at once what nobody runs', async () => {
    const id = await startHello(api.tenant, 'hello');
    const answer = await call('POST', `/api/v1/executions/${id}/cancel`, { reason: 'no longer wanted' });
    expect(answer.status).toBe(202);
    expect(answer.data).toEqual({ executionId: id, state: 'cancelled' });
    const { error } = (await call('GET', `/api/v1/executions/${id}`)).data;
    expect(error).toEqual({ code: 'cancelled', message: 'no longer wanted', step: null });
  });

  test('asks the worker to stop what runs', async () => {
    const id = await startHello(api.tenant, 'hello');
    await work(api, id, {});
    expect((await call('POST', `/api/v1/executions/${id}/cancel`)).data.state).toBe('running');
  });

  test.each([{ reason: 'x'.repeat(501) }, { reason: 'a\u0000b' }, { reason: 1 }, { why: 'x' }])(
    'refuses the body %j',
    async (body) => {
      const id = await startHello(api.tenant, 'hello');
      const answer = await call('POST', `/api/v1/executions/${id}/cancel`, body);
      expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
    },
  );

  test('is a conflict once it has ended', async () => {
    const id = await startHello(api.tenant, 'hello');
    await succeed(api, id);
    const answer = await call('POST', `/api/v1/executions/${id}/cancel`);
    expect([answer.status, answer.data.code]).toEqual([409, 'execution_ended']);
  });
});

describe('POST /executions/{id}/retry', () => {
  const failed = async (name: string): Promise<string> => {
    const id = await startHello(api.tenant, name);
    await work(api, id, {
      steps: [
        stepRow('greet', { state: 'succeeded', outputJson: '"hello mill"' }),
        stepRow('shout', { state: 'failed', error: { code: 'timeout', message: '' } }),
      ],
      leaving: { to: 'failed', error: { code: 'timeout', message: '', step: 'shout' } },
    });
    return id;
  };
  const stepStates = async (id: string): Promise<string[]> =>
    (await call('GET', `/api/v1/executions/${id}`)).data.steps.map((step: { state: string }) => step.state);

  test('from failed keeps what succeeded, in a new, linked execution', async () => {
    const id = await failed('hello');
    const answer = await call('POST', `/api/v1/executions/${id}/retry`, { from: 'failed' });
    expect(answer.status).toBe(202);
    const { executionId, retryOf } = answer.data;
    expect(retryOf).toBe(id);
    expect(executionId).not.toBe(id);
    expect((await call('GET', `/api/v1/executions/${executionId}`)).data).toMatchObject({
      state: 'queued',
      retryOf: id,
      input: { name: 'mill' },
    });
    expect(await stepStates(executionId)).toEqual(['succeeded', 'pending']);
    expect(api.hints).toContainEqual({ executionId, dispatchNumber: 0 });
  });

  test('from start keeps nothing', async () => {
    const { executionId } = (
      await call('POST', `/api/v1/executions/${await failed('hello')}/retry`, { from: 'start' })
    ).data;
    expect(await stepStates(executionId)).toEqual(['pending', 'pending']);
  });

  test('runs the same version, or the latest if asked to', async () => {
    await deployHello(api.tenant, 'moving');
    const id = await failed('moving');
    await deployHello(api.tenant, 'moving', 'timeout: 1m\n');
    const versionOf = async (body: unknown): Promise<number> => {
      const { executionId } = (await call('POST', `/api/v1/executions/${id}/retry`, body)).data;
      return (await call('GET', `/api/v1/executions/${executionId}`)).data.version;
    };
    expect(await versionOf({})).toBe(1);
    expect(await versionOf({ version: 'latest' })).toBe(2);
  });

  test('is refused while it runs, and for a workflow that is disabled or gone', async () => {
    const running = await startHello(api.tenant, 'hello');
    const early = await call('POST', `/api/v1/executions/${running}/retry`);
    expect([early.status, early.data.code]).toEqual([409, 'execution_not_ended']);
    await deployHello(api.tenant, 'going');
    const id = await failed('going');
    await call('POST', '/api/v1/workflows/going/disable');
    expect((await call('POST', `/api/v1/executions/${id}/retry`)).data.code).toBe('workflow_disabled');
    await call('DELETE', '/api/v1/workflows/going');
    // Another one of that name is another workflow.
    await deployHello(api.tenant, 'going');
    expect((await call('POST', `/api/v1/executions/${id}/retry`)).data.code).toBe('workflow_not_found');
  });

  test.each([{ from: 'middle' }, { version: 2 }, { from: 'start', colour: 'red' }, []])(
    'refuses the body %j',
    async (body) => {
      const answer = await call('POST', `/api/v1/executions/${await failed('hello')}/retry`, body);
      expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
    },
  );
});
