import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { API_KEY_PATTERN, insertApiKey, makeApiKey } from '../../../src/core/tenants/api-keys.ts';
import { ensureBootstrapKey } from '../../../src/core/tenants/bootstrap.ts';
import { ROLES, type Role } from '../../../src/core/tenants/roles.ts';
import { waitFor } from '../../support/wait-for.ts';
import { deployHello } from './fixtures.ts';
import { startTestApi, type Call, type TestApi } from './harness.ts';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi();
  call = api.tenant.call;
});
afterAll(() => api.close());

const make = (body: unknown, by: Call = call) => by('POST', '/api/v1/api-keys', body);

describe('authentication', () => {
  const refusals: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['nothing', {}],
    ['an empty key', { authorization: 'Bearer ' }],
    ['another scheme', { authorization: 'Basic YTpi' }],
    ['the bare key', { authorization: 'KEY' }],
    ['a key cut short', { authorization: 'Bearer mr_abc' }],
    ['a well-formed, unknown key', { authorization: `Bearer ${makeApiKey()}` }],
    ['a key with something behind it', { authorization: 'Bearer KEY x' }],
    ['300 characters', { authorization: `Bearer ${'x'.repeat(300)}` }],
    ['the key in another header', { 'x-api-key': 'KEY' }],
  ];
  test.each(refusals)('%s is 401', async (_what, template) => {
    const headers = Object.fromEntries(
      Object.entries(template).map(([name, value]) => [name, value.replace('KEY', api.tenant.key)]),
    );
    const answer = await api.callWith(undefined)('GET', '/api/v1/me', undefined, headers);
    expect([answer.status, answer.data.code]).toEqual([401, 'unauthenticated']);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
  });

  test.each(['api_key', 'key', 'token', 'access_token'])(
    'a key in the URL as ?%s= is not taken',
    async (name) => {
      const answer = await api.callWith(undefined)('GET', `/api/v1/me?${name}=${api.tenant.key}`);
      expect(answer.status).toBe(401);
    },
  );

  test('comes before everything else: what does not exist is 401 too', async () => {
    const nobody = api.callWith(undefined);
    for (const [method, path] of [
      ['GET', '/api/v1/nowhere'],
      ['PUT', '/api/v1/me'],
      ['POST', '/api/v1/workflows/x/executions'],
      ['GET', '/api/v1/openapi.json'],
    ] as const) {
      expect((await nobody(method, path)).status).toBe(401);
    }
  });

  test('the scheme is read in any case', async () => {
    const headers = { authorization: `bearer ${api.tenant.key}` };
    expect((await api.callWith(undefined)('GET', '/api/v1/me', undefined, headers)).status).toBe(200);
  });

  test('an expired key is refused', async () => {
    const key = makeApiKey();
    const expiresAt = new Date(Date.now() - 1000);
    await insertApiKey(api.engine, { tenantId: api.tenant.id, name: 'old', role: 'owner', key, expiresAt });
    expect((await api.callWith(key)('GET', '/api/v1/me')).status).toBe(401);
  });
});

describe('API keys', () => {
  test('a new key is shown once and works', async () => {
    const made = await make({ name: 'ci', role: 'editor', expiresAt: '2999-01-01T00:00:00Z' });
    expect(made.status).toBe(201);
    const { key, ...rest } = made.data;
    expect(key).toMatch(API_KEY_PATTERN);
    expect(rest).toEqual({
      id: expect.any(String),
      name: 'ci',
      prefix: key.slice(0, 8),
      role: 'editor',
      createdAt: expect.any(String),
      expiresAt: '2999-01-01T00:00:00.000Z',
      revokedAt: null,
    });
    const list = await call('GET', '/api/v1/api-keys');
    expect(list.data.items).toContainEqual(rest);
    expect(list.text).not.toContain(key);
    expect((await api.callWith(key)('GET', '/api/v1/me')).data).toEqual({
      tenant: { id: api.tenant.id, name: 'default' },
      key: { id: rest.id, name: 'ci', prefix: rest.prefix, role: 'editor', expiresAt: rest.expiresAt },
    });
  });

  test('the database holds only its hash', async () => {
    const { key } = (await make({ name: 'hashed', role: 'viewer' })).data;
    const { rows } = await api.admin.query(`select api_key::text from api_key`);
    expect(JSON.stringify(rows)).not.toContain(key);
  });

  test('a revoked key stops working here at once', async () => {
    const { id, key } = (await make({ name: 'short-lived', role: 'viewer' })).data;
    const its = api.callWith(key);
    expect((await its('GET', '/api/v1/me')).status).toBe(200);
    expect((await call('DELETE', `/api/v1/api-keys/${id}`)).status).toBe(204);
    expect((await its('GET', '/api/v1/me')).status).toBe(401);
    expect((await call('DELETE', `/api/v1/api-keys/${id}`)).status).toBe(204);
    const { items } = (await call('GET', '/api/v1/api-keys')).data;
    expect(items.find((item: { id: string }) => item.id === id).revokedAt).not.toBeNull();
  });

  test('one that another replica revoked stops working within 5 s', async () => {
    const { id, key } = (await make({ name: 'elsewhere', role: 'viewer' })).data;
    const its = api.callWith(key);
    expect((await its('GET', '/api/v1/me')).status).toBe(200);
    await api.admin.query(`update api_key set revoked_at = now() where id = $1`, [id]);
    await waitFor(async () => (await its('GET', '/api/v1/me')).status === 401, { timeoutMs: 5_000 });
  });

  test('the last owner key cannot be revoked, not even by two at once', async () => {
    const tenant = await api.makeTenant('lonely');
    const first = (await tenant.call('GET', '/api/v1/me')).data.key.id;
    const alone = await tenant.call('DELETE', `/api/v1/api-keys/${first}`);
    expect([alone.status, alone.data.code]).toEqual([409, 'api_key_last_owner']);
    const second = (await make({ name: 'second', role: 'owner' }, tenant.call)).data;
    const answers = await Promise.all(
      [first, second.id].map((id) => api.callWith(second.key)('DELETE', `/api/v1/api-keys/${id}`)),
    );
    expect(answers.map(({ status }) => status).sort((a, b) => a - b)).toEqual([204, 409]);
  });

  test.each([
    [{ role: 'viewer' }, 'name'],
    [{ name: '', role: 'viewer' }, 'name'],
    [{ name: 'a\nb', role: 'viewer' }, 'name'],
    [{ name: 'x', role: 'root' }, 'role'],
    [{ name: 'x', role: 'viewer', expiresAt: 'tomorrow' }, 'expiresAt'],
    [{ name: 'x', role: 'viewer', expiresAt: '2020-01-01T00:00:00Z' }, 'expiresAt'],
    [{ name: 'x', role: 'viewer', key: 'mine' }, 'key'],
  ])('refuses %j because of %s', async (body, path) => {
    const answer = await make(body);
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
    expect(answer.data.errors).toEqual([expect.objectContaining({ path })]);
  });
});

describe('roles', () => {
  const allowed: readonly (readonly [string, string, unknown, Role])[] = [
    ['GET', '/workflows', undefined, 'viewer'],
    ['GET', '/executions', undefined, 'viewer'],
    ['GET', '/deliveries', undefined, 'viewer'],
    ['GET', '/credentials', undefined, 'viewer'],
    ['GET', '/me', undefined, 'viewer'],
    ['PUT', '/workflows/nobodys', { definition: '' }, 'editor'],
    ['DELETE', '/workflows/nobodys', undefined, 'editor'],
    ['POST', '/workflows/nobodys/enable', undefined, 'editor'],
    ['POST', '/workflows/nobodys/executions', {}, 'editor'],
    ['POST', '/executions/x/cancel', {}, 'editor'],
    ['POST', '/executions/x/retry', {}, 'editor'],
    ['POST', '/deliveries/x/replay', {}, 'editor'],
    ['POST', '/deliveries/replay', { ids: ['x'] }, 'editor'],
    ['PUT', '/credentials/nobodys', {}, 'admin'],
    ['DELETE', '/credentials/nobodys', undefined, 'admin'],
    ['GET', '/api-keys', undefined, 'admin'],
    ['POST', '/api-keys', {}, 'admin'],
    ['DELETE', '/api-keys/x', undefined, 'admin'],
  ];
  test.each(allowed)('%s %s (%j) needs %s', async (method, path, body, least) => {
    for (const role of ROLES) {
      const as = api.callWith(await api.tenant.keyOf(role));
      const { status } = await as(method, `/api/v1${path}`, body);
      expect([role, status === 403]).toEqual([role, ROLES.indexOf(role) < ROLES.indexOf(least)]);
    }
  });

  test('a key makes and revokes no key that may do more than itself', async () => {
    const admin = api.callWith(await api.tenant.keyOf('admin'));
    const refused = await make({ name: 'up', role: 'owner' }, admin);
    expect([refused.status, refused.data.code]).toEqual([403, 'forbidden']);
    expect((await make({ name: 'same', role: 'admin' }, admin)).status).toBe(201);
    const owner = (await make({ name: 'boss', role: 'owner' })).data;
    expect((await admin('DELETE', `/api/v1/api-keys/${owner.id}`)).status).toBe(403);
  });

  test('are asked before whether something exists', async () => {
    await deployHello(api.tenant, 'secret-project');
    const viewer = api.callWith(await api.tenant.keyOf('viewer'));
    const existing = await viewer('DELETE', '/api/v1/workflows/secret-project');
    const missing = await viewer('DELETE', '/api/v1/workflows/nothing');
    expect([existing.status, missing.status]).toEqual([403, 403]);
  });
});

test('the bootstrap key is made once, by the first of many processes, and never again', async () => {
  const empty = await startTestApi();
  try {
    await empty.admin.query(`delete from api_key`);
    const key = '~any printable ASCII will do: 32+'.replaceAll(' ', '_');
    const made = await Promise.all(Array.from({ length: 5 }, () => ensureBootstrapKey(empty.engine, key)));
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(await ensureBootstrapKey(empty.engine, makeApiKey())).toBe(false);
    const { tenant, key: shown } = (await empty.callWith(key)('GET', '/api/v1/me')).data;
    expect([tenant.name, shown.role]).toEqual(['default', 'owner']);
  } finally {
    await empty.close();
  }
});
