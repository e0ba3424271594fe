import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { helloDefinition } from './fixtures.ts';
import { startTestApi, type Call, type TestApi } from './harness.ts';

const CANARY = 'canary-4711-never-shown';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi();
  call = api.tenant.call;
});
afterAll(() => api.close());

const put = (name: string, value = CANARY) =>
  call('PUT', `/api/v1/credentials/${name}`, { type: 'secret', data: { value } });

test('a credential is made, replaced, listed and shown without its value', async () => {
  const made = await put('mine');
  expect(made.status).toBe(201);
  const shape = {
    name: 'mine',
    type: 'secret',
    createdAt: expect.any(String),
    updatedAt: expect.any(String),
  };
  expect(made.data).toEqual(shape);
  const replaced = await call('PUT', '/api/v1/credentials/mine', {
    type: 'bearer',
    data: { token: CANARY, baseUrl: 'https://api.example.com' },
  });
  expect([replaced.status, replaced.data.type]).toEqual([200, 'bearer']);
  const shown = await call('GET', '/api/v1/credentials/mine');
  expect(shown.data).toEqual({ ...shape, type: 'bearer' });
  const list = await call('GET', '/api/v1/credentials');
  expect(list.data.items).toContainEqual(shown.data);
  for (const answer of [made, replaced, shown, list]) expect(answer.text).not.toContain(CANARY);
});

test('the database holds nothing that can be read', async () => {
  await put('sealed');
  const { rows } = await api.admin.query<{ row: string }>(
    `select credential::text as row, encode(sealed, 'escape') as escaped from credential`,
  );
  expect(JSON.stringify(rows)).not.toContain(CANARY);
  expect(JSON.stringify(rows)).not.toContain(Buffer.from(CANARY).toString('hex'));
});

describe('what is refused', () => {
  test.each([
    ['an unknown type', { type: 'magic', data: {} }],
    ['an unknown field of the data', { type: 'secret', data: { value: 'x', colour: 'red' } }],
    ['an empty value', { type: 'secret', data: { value: '' } }],
    [
      'a header that ends the line',
      { type: 'bearer', data: { token: 'a\r\nb', baseUrl: 'https://a.example' } },
    ],
    ['no base URL', { type: 'bearer', data: { token: CANARY } }],
  ])('%s is 422 and names the place', async (_what, body) => {
    const answer = await call('PUT', '/api/v1/credentials/bad', body);
    expect([answer.status, answer.data.code]).toEqual([422, 'credential_invalid']);
    expect(answer.data.errors.length).toBeGreaterThan(0);
    expect(answer.text).not.toContain(CANARY);
    expect((await call('GET', '/api/v1/credentials/bad')).status).toBe(404);
  });

  test.each([
    ['an unknown field beside the data', { type: 'secret', data: { value: 'x' }, name: 'y' }],
    ['no data', { type: 'secret' }],
    ['a list', []],
    ['text', 'x'],
  ])('%s is 400', async (_what, body) => {
    const answer = await call('PUT', '/api/v1/credentials/bad', JSON.stringify(body));
    expect([answer.status, answer.data.code]).toEqual([400, 'invalid_request']);
  });

  test.each(['Upper', 'under_score', 'https', 'a'.repeat(64), 'a%00b'])(
    'the name %s is 422, and 404 to read',
    async (name) => {
      const answer = await put(name);
      expect([answer.status, answer.data.code]).toEqual([422, 'credential_invalid']);
      expect((await call('GET', `/api/v1/credentials/${name}`)).status).toBe(404);
      expect((await call('DELETE', `/api/v1/credentials/${name}`)).status).toBe(404);
    },
  );
});

describe('DELETE /credentials/{name}', () => {
  const deployWith = (name: string, credential: string) =>
    call('PUT', `/api/v1/workflows/${name}`, {
      definition: helloDefinition(name).replace(
        '{ scheme: none }',
        `{ scheme: github, credential: ${credential} }`,
      ),
    });

  test('deletes what nobody uses', async () => {
    await put('unused');
    expect((await call('DELETE', '/api/v1/credentials/unused')).status).toBe(204);
    expect((await call('GET', '/api/v1/credentials/unused')).status).toBe(404);
    expect((await call('DELETE', '/api/v1/credentials/unused')).status).toBe(404);
  });

  test('is a conflict while a current version uses it, in a trigger or a step', async () => {
    await put('in-trigger');
    await call('PUT', '/api/v1/credentials/in-step', {
      type: 'bearer',
      data: { token: 't', baseUrl: 'https://a.example' },
    });
    await deployWith('user', 'in-trigger');
    const definition = `name: stepper
triggers: { manual: { manual: {} } }
steps:
  - id: a
    http: { url: "https://a.example/x", credential: in-step }
`;
    expect((await call('PUT', '/api/v1/workflows/stepper', { definition })).status).toBe(201);
    for (const [credential, workflow] of [
      ['in-trigger', 'user'],
      ['in-step', 'stepper'],
    ] as const) {
      const refused = await call('DELETE', `/api/v1/credentials/${credential}`);
      expect([refused.status, refused.data.code]).toEqual([409, 'credential_in_use']);
      expect(refused.data.detail).toContain(workflow);
    }
    await call('PUT', '/api/v1/workflows/user', { definition: helloDefinition('user') });
    await call('DELETE', '/api/v1/workflows/stepper');
    for (const credential of ['in-trigger', 'in-step']) {
      expect((await call('DELETE', `/api/v1/credentials/${credential}`)).status).toBe(204);
    }
    // The old version wants what is gone.
    expect((await call('POST', '/api/v1/workflows/user/versions/1/restore')).data.code).toBe(
      'credential_not_found',
    );
  });

  test('never leaves a workflow without its credential, whoever is faster', async () => {
    for (let round = 0; round < 10; round++) {
      const credential = `raced-${String.fromCharCode(97 + round)}`;
      await put(credential);
      const [deployed, deleted] = await Promise.all([
        deployWith(`racer-${credential}`, credential),
        call('DELETE', `/api/v1/credentials/${credential}`),
      ]);
      expect([
        [201, 409],
        [404, 204],
      ]).toContainEqual([deployed.status, deleted.status]);
    }
  });
});
