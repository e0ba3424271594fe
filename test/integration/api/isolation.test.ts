import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withTenant } from '../../../src/core/db/database.ts';
import { deliver, deployHello, startHello, succeed } from './fixtures.ts';
import { startTestApi, type Answer, type TestApi, type TestTenant } from './harness.ts';

let api: TestApi;
let ours: TestTenant;
let theirs: TestTenant;
/** What belongs to the other tenant. */
let foreign: Readonly<Record<'workflow' | 'execution' | 'delivery' | 'credential' | 'key', string>>;
beforeAll(async () => {
  api = await startTestApi();
  ours = api.tenant;
  theirs = await api.makeTenant('theirs');
  const { triggers } = await deployHello(theirs, 'their-workflow');
  await theirs.call('PUT', '/api/v1/credentials/their-credential', {
    type: 'secret',
    data: { value: 'canary' },
  });
  const execution = await startHello(theirs, 'their-workflow');
  await succeed(api, execution);
  foreign = {
    workflow: 'their-workflow',
    execution,
    delivery: (await deliver(api, theirs, triggers[0]!.endpointId)).deliveryId, // the webhook
    credential: 'their-credential',
    key: (await theirs.call('GET', '/api/v1/me')).data.key.id,
  };
});
afterAll(() => api.close());

const random = {
  workflow: 'no-such-workflow',
  execution: '01900000-0000-7000-8000-00000000abcd',
  delivery: '01900000-0000-7000-8000-00000000abcd',
  credential: 'no-such-credential',
  key: '01900000-0000-7000-8000-00000000abcd',
} as const;

type Kind = keyof typeof random;
const OPERATIONS: readonly (readonly [method: string, path: string, kind: Kind, body: unknown])[] = [
  ['GET', '/workflows/ID', 'workflow', undefined],
  ['DELETE', '/workflows/ID', 'workflow', undefined],
  ['POST', '/workflows/ID/enable', 'workflow', undefined],
  ['POST', '/workflows/ID/disable', 'workflow', undefined],
  ['GET', '/workflows/ID/versions', 'workflow', undefined],
  ['GET', '/workflows/ID/versions/1', 'workflow', undefined],
  ['POST', '/workflows/ID/versions/1/restore', 'workflow', undefined],
  ['POST', '/workflows/ID/executions', 'workflow', { input: 1 }],
  ['GET', '/executions/ID', 'execution', undefined],
  ['GET', '/executions/ID/logs', 'execution', undefined],
  ['GET', '/executions/ID/logs?follow=true', 'execution', undefined],
  ['GET', '/executions/ID/events', 'execution', undefined],
  ['POST', '/executions/ID/cancel', 'execution', undefined],
  ['POST', '/executions/ID/retry', 'execution', undefined],
  ['GET', '/deliveries/ID', 'delivery', undefined],
  ['GET', '/deliveries/ID/body', 'delivery', undefined],
  ['POST', '/deliveries/ID/replay', 'delivery', undefined],
  ['GET', '/credentials/ID', 'credential', undefined],
  ['DELETE', '/credentials/ID', 'credential', undefined],
  ['DELETE', '/api-keys/ID', 'key', undefined],
];

const normalized = ({ status, text, data }: Answer, id: string) => ({
  status,
  text: text.replaceAll(id, 'ID').replace(data.requestId, 'REQUEST'),
});

describe.each(OPERATIONS)('%s %s', (method, path, kind, body) => {
  const ask = (tenant: TestTenant, id: string) =>
    tenant.call(method, `/api/v1${path.replace('ID', id)}`, body);

  test('answers another tenant’s id as it answers a random one: 404', async () => {
    const answer = await ask(ours, foreign[kind]);
    expect(answer.status).toBe(404);
    expect(normalized(answer, foreign[kind])).toEqual(
      normalized(await ask(ours, random[kind]), random[kind]),
    );
  });

  test.each([
    'null',
    'undefined',
    '0',
    '[]',
    '%5B%22a%22%5D',
    '%2A',
    'a%27%3B%20drop%20table%20execution%3B--',
    '%00',
    '%F0%9F%92%A9',
    '01900000-0000-7000-8000-00000000ABCD',
    'x'.repeat(2000),
  ])('answers the id %s with 404', async (id) => {
    const answer = await ask(ours, id);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.text.length).toBeLessThan(1000);
  });
});

test('what was asked for in vain is still there, untouched', async () => {
  const { call } = theirs;
  expect((await call('GET', `/api/v1/workflows/${foreign.workflow}`)).data.enabled).toBe(true);
  expect((await call('GET', `/api/v1/executions/${foreign.execution}`)).data.state).toBe('succeeded');
  expect((await call('GET', `/api/v1/deliveries/${foreign.delivery}`)).data.replayCount).toBe(0);
  expect((await call('GET', `/api/v1/credentials/${foreign.credential}`)).status).toBe(200);
  expect((await call('GET', '/api/v1/me')).data.key.id).toBe(foreign.key);
});

test.each(['workflows', 'executions', 'deliveries', 'credentials', 'executions?workflow=their-workflow'])(
  'the list of %s is empty for a tenant that has none',
  async (path) => {
    expect((await ours.call('GET', `/api/v1/${path}`)).data.items).toEqual([]);
  },
);

test('statistics and keys are a tenant’s own', async () => {
  expect((await ours.call('GET', '/api/v1/executions/stats')).data.total).toBe(0);
  const { items } = (await ours.call('GET', '/api/v1/api-keys')).data;
  expect(items.some((item: { id: string }) => item.id === foreign.key)).toBe(false);
});

test('a name is free in each tenant', async () => {
  const mine = await deployHello(ours, 'shared-name');
  const other = await deployHello(theirs, 'shared-name');
  expect(mine.triggers[0]?.endpointId).not.toBe(other.triggers[0]?.endpointId);
  await ours.call('DELETE', '/api/v1/workflows/shared-name');
  expect((await theirs.call('GET', '/api/v1/workflows/shared-name')).status).toBe(200);
});

describe('row-level security', () => {
  const TABLES = [
    'tenant',
    'api_key',
    'credential',
    'workflow',
    'workflow_version',
    'endpoint',
    'delivery',
    'execution',
    'step_run',
    'delivery_key',
  ];

  test.each(TABLES)('%s shows nothing to the API without a tenant', async (table) => {
    await startHello(theirs, 'their-workflow', 1);
    const { rows } = await api.admin.query(`select count(*)::int as n from ${table}`);
    if (table !== 'delivery_key') expect(rows[0].n).toBeGreaterThan(0);
    const seen = await api.db.query(`select * from ${table}`);
    expect(seen.rows).toEqual([]);
  });

  test.each(TABLES)('%s shows only rows of the tenant that the transaction acts for', async (table) => {
    const column = table === 'tenant' ? 'id' : table === 'delivery_key' ? undefined : 'tenant_id';
    if (column === undefined) return;
    const seen = await withTenant(api.db, ours.id, (client) =>
      client.query(`select ${column} from ${table}`),
    );
    expect(new Set(seen.rows.map((row) => row[column]))).not.toContain(theirs.id);
  });

  test('keeps the API from writing rows of another tenant', async () => {
    const write = withTenant(api.db, ours.id, (client) =>
      client.query(`insert into workflow (tenant_id, name, current_version) values ($1, 'planted', 1)`, [
        theirs.id,
      ]),
    );
    await expect(write).rejects.toMatchObject({ code: '42501' });
    const { rowCount } = await withTenant(api.db, ours.id, (client) =>
      client.query(`update workflow set enabled = false where tenant_id = $1`, [theirs.id]),
    );
    expect(rowCount).toBe(0);
  });

  test('does not carry a tenant over to the next use of a connection', async () => {
    await withTenant(api.db, theirs.id, (client) => client.query('select 1'));
    const counts = await Promise.all(Array.from({ length: 20 }, () => api.db.query('select from workflow')));
    expect(counts.every(({ rowCount }) => rowCount === 0)).toBe(true);
  });

  test('shows of the keys only the one whose hash was given', async () => {
    const seen = await api.db.transaction(async (client) => {
      await client.query(`select set_config('millrace.api_key_hash', $1, true)`, ['00'.repeat(32)]);
      return client.query('select * from api_key');
    });
    expect(seen.rows).toEqual([]);
  });
});
