import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployHello, helloDefinition, startHello, succeed } from './fixtures.ts';
import { startTestApi, type Call, type TestApi } from './harness.ts';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi();
  call = api.tenant.call;
});
afterAll(() => api.close());

const put = (name: string, definition: string, query = '') =>
  call('PUT', `/api/v1/workflows/${name}${query}`, { definition, files: {} });
const putHello = (name: string, extra = '') => put(name, helloDefinition(name, extra));

describe('PUT /workflows/{name}', () => {
  test('answers 201 with version, hash and triggers, and 200 for the same content', async () => {
    const first = await putHello('put');
    expect(first.status).toBe(201);
    expect(first.data).toEqual({
      name: 'put',
      version: 1,
      contentHash: expect.stringMatching(/^[0-9a-f]{64}$/),
      triggers: [
        {
          name: 'hook',
          type: 'webhook',
          endpointId: expect.stringMatching(/^[0-9a-f]{40}$/),
          url: `https://hooks.example.com/hooks/${first.data.triggers[0].endpointId}`,
        },
        { name: 'manual', type: 'manual', endpointId: null, url: null },
      ],
      warnings: [],
    });
    const again = await put('put', `# another way to write the same\n${helloDefinition('put')}`);
    expect(again.status).toBe(200);
    expect(again.data).toEqual(first.data);
  });

  test('takes a document without files as application/yaml', async () => {
    const answer = await call('PUT', '/api/v1/workflows/yaml', helloDefinition('yaml'), {
      'content-type': 'application/yaml; charset=utf-8',
    });
    expect([answer.status, answer.data.version]).toEqual([201, 1]);
  });

  test('keeps the endpoint over versions, also when the trigger was gone meanwhile', async () => {
    const first = (await putHello('endpoints')).data;
    const second = (await putHello('endpoints', 'timeout: 1m\n')).data;
    expect(second.version).toBe(2);
    expect(second.triggers).toEqual(first.triggers);
    const without = await put(
      'endpoints',
      'name: endpoints\ntriggers: { manual: { manual: {} } }\nsteps: [{ id: a, transform: "1" }]\n',
    );
    expect(without.data.triggers).toEqual([{ name: 'manual', type: 'manual', endpointId: null, url: null }]);
    const back = (await putHello('endpoints')).data;
    expect(back.version).toBe(4);
    expect(back.triggers).toEqual(first.triggers);
  });

  test('only checks with ?dryRun=true', async () => {
    const dry = await put('dry', helloDefinition('dry'), '?dryRun=true');
    expect(dry.status).toBe(200);
    expect(dry.data).toMatchObject({ name: 'dry', version: 1, triggers: [{ endpointId: null }, {}] });
    expect((await call('GET', '/api/v1/workflows/dry')).status).toBe(404);
    await putHello('dry');
    const next = await put('dry', helloDefinition('dry', 'timeout: 1m\n'), '?dryRun=true');
    expect(next.data.version).toBe(2);
    expect((await call('GET', '/api/v1/workflows/dry')).data.version).toBe(1);
  });

  test('tells every mistake of a document at once, each with its place and what to write', async () => {
    const answer = await put(
      'wrong',
      `name: wrong
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps:
  - id: a
    needs: [nope]
    transform: "1 +"
  - id: a
    colour: red
    transform: "1"
`,
    );
    expect([answer.status, answer.data.code]).toEqual([422, 'workflow_invalid']);
    expect(answer.data.errors.length).toBeGreaterThanOrEqual(4);
    for (const problem of answer.data.errors) {
      expect(problem).toEqual({
        path: expect.any(String),
        line: expect.any(Number),
        column: expect.any(Number),
        code: expect.any(String),
        message: expect.any(String),
        fix: expect.any(String),
      });
    }
  });

  test('refuses a document of another name', async () => {
    const answer = await put('this-name', helloDefinition('other-name'));
    expect([answer.status, answer.data.code]).toEqual([422, 'workflow_name_mismatch']);
  });

  test('warns of files that no step uses', async () => {
    const answer = await call('PUT', '/api/v1/workflows/files', {
      definition: helloDefinition('files'),
      files: { 'a.ts': 'text', 'b.bin': { base64: 'AAAA' }, 'README.md': '# Files' },
    });
    expect(answer.status).toBe(201);
    expect(answer.data.warnings).toEqual(
      ['a.ts', 'b.bin'].map((file) => ({
        path: `files["${file}"]`,
        code: 'no_effect',
        message: `no step uses the file \`${file}\``,
        fix: 'leave it out',
      })),
    );
  });

  test('refuses a timeout beyond the configured maximum, with its line', async () => {
    const answer = await putHello('slow', 'timeout: 2h\n');
    expect(answer.status).toBe(422);
    expect(answer.data.errors).toEqual([
      expect.objectContaining({ path: 'timeout', line: 5, message: expect.stringContaining('at most 1h') }),
    ]);
  });

  test('is live for this process at once', async () => {
    api.invalidated.length = 0;
    await putHello('announced');
    expect(api.invalidated).toHaveLength(1);
  });

  test('twenty at once make one workflow and one version', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => putHello('race')));
    expect(answers.map(({ status }) => status).sort((a, b) => a - b)).toEqual([
      ...Array.from({ length: 19 }, () => 200),
      201,
    ]);
    expect(new Set(answers.map(({ data }) => data.triggers[0].endpointId)).size).toBe(1);
    expect((await call('GET', '/api/v1/workflows/race/versions')).data.items).toHaveLength(1);
  });
});

describe('credentials of a workflow', () => {
  const withVerify = (name: string, scheme: string, credential: string): string =>
    helloDefinition(name).replace('{ scheme: none }', `{ scheme: ${scheme}, credential: ${credential} }`);

  test('a missing one is 404, like another tenant’s, with its place', async () => {
    const other = await api.makeTenant('credential-owner');
    await other.call('PUT', '/api/v1/credentials/theirs', { type: 'secret', data: { value: 'x' } });
    const foreign = await put('foreign', withVerify('foreign', 'github', 'theirs'));
    const random = await put('random', withVerify('random', 'github', 'nobodys'));
    for (const answer of [foreign, random]) {
      expect([answer.status, answer.data.code]).toEqual([404, 'credential_not_found']);
      expect(answer.data.errors).toEqual([
        expect.objectContaining({ path: 'triggers.hook.webhook.verify.credential', line: 3 }),
      ]);
    }
  });

  test('a missing one beside other mistakes is one problem among them', async () => {
    const definition = `${withVerify('both', 'github', 'nobodys')}colour: red\n`;
    const answer = await put('both', definition);
    expect(answer.status).toBe(422);
    expect(answer.data.errors).toHaveLength(2);
  });

  test('a webhook needs one that its scheme can use', async () => {
    await call('PUT', '/api/v1/credentials/token', {
      type: 'bearer',
      data: { token: 't', baseUrl: 'https://api.example.com' },
    });
    await call('PUT', '/api/v1/credentials/no-key', { type: 'secret', data: { value: 'not base64!' } });
    for (const [scheme, credential] of [
      ['github', 'token'],
      ['standard-webhooks', 'no-key'],
    ] as const) {
      const answer = await put('unusable', withVerify('unusable', scheme, credential));
      expect(answer.status).toBe(422);
      expect(answer.data.errors).toEqual([
        expect.objectContaining({ path: 'triggers.hook.webhook.verify.credential', line: 3 }),
      ]);
    }
  });
});

describe('GET /workflows', () => {
  test('shows a workflow with its definition as it was sent', async () => {
    const definition = `# a comment\n${helloDefinition('shown', 'description: says hello\n')}`;
    const deployed = (await put('shown', definition)).data;
    const shown = await call('GET', '/api/v1/workflows/shown');
    expect(shown.status).toBe(200);
    expect(shown.data).toEqual({
      name: 'shown',
      description: 'says hello',
      enabled: true,
      version: 1,
      contentHash: deployed.contentHash,
      triggers: deployed.triggers,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      updatedAt: expect.any(String),
      definition,
      files: {},
    });
  });

  test('lists newest first, page by page, each once', async () => {
    const tenant = await api.makeTenant('lister');
    const names = Array.from({ length: 5 }, (_, index) => `w${index}`);
    for (const name of names) await deployHello(tenant, name);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const suffix: string = cursor === null ? '' : `&cursor=${cursor}`;
      const page = await tenant.call('GET', `/api/v1/workflows?limit=2${suffix}`);
      expect(page.data.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.data.items.map((item: { name: string }) => item.name));
      cursor = page.data.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual(names.toReversed());
  });
});

describe('versions', () => {
  test('are listed newest first and shown with what was sent', async () => {
    await putHello('versions');
    await putHello('versions', 'timeout: 1m\n');
    const list = await call('GET', '/api/v1/workflows/versions/versions?limit=1');
    expect(list.data.items).toEqual([expect.objectContaining({ version: 2, restoredFrom: null })]);
    const rest = await call(
      'GET',
      `/api/v1/workflows/versions/versions?limit=1&cursor=${list.data.nextCursor}`,
    );
    expect(rest.data).toEqual({ items: [expect.objectContaining({ version: 1 })], nextCursor: null });
    const first = await call('GET', '/api/v1/workflows/versions/versions/1');
    expect(first.data).toMatchObject({
      name: 'versions',
      version: 1,
      definition: helloDefinition('versions'),
    });
  });

  test('restoring one makes a new version with its content', async () => {
    const first = (await putHello('restored')).data;
    await putHello('restored', 'timeout: 1m\n');
    const restored = await call('POST', '/api/v1/workflows/restored/versions/1/restore');
    expect(restored.status).toBe(201);
    expect(restored.data).toEqual({ ...first, version: 3 });
    const third = await call('GET', '/api/v1/workflows/restored/versions/3');
    expect(third.data).toMatchObject({ restoredFrom: 1, definition: helloDefinition('restored') });
    expect((await call('POST', '/api/v1/workflows/restored/versions/3/restore')).status).toBe(200);
  });

  test.each(['0', '4', '-1', '1.0', '01', 'abc', '99999999999', '%00'])('%s is none', async (n) => {
    await putHello('few');
    for (const [method, path] of [
      ['GET', `/api/v1/workflows/few/versions/${n}`],
      ['POST', `/api/v1/workflows/few/versions/${n}/restore`],
    ] as const) {
      const answer = await call(method, path);
      expect([answer.status, answer.data.code]).toEqual([404, 'workflow_version_not_found']);
    }
  });
});

describe('disable and enable', () => {
  test('a disabled workflow is not started, and says so', async () => {
    await putHello('switch');
    const disabled = await call('POST', '/api/v1/workflows/switch/disable');
    expect([disabled.status, disabled.data.enabled]).toEqual([200, false]);
    const refused = await call('POST', '/api/v1/workflows/switch/executions', { input: {} });
    expect([refused.status, refused.data.code]).toEqual([409, 'workflow_disabled']);
    expect((await call('POST', '/api/v1/workflows/switch/enable')).data.enabled).toBe(true);
    expect((await call('POST', '/api/v1/workflows/switch/executions', { input: {} })).status).toBe(202);
  });

  test('a new version of a disabled workflow stays disabled', async () => {
    await putHello('stays');
    await call('POST', '/api/v1/workflows/stays/disable');
    await putHello('stays', 'timeout: 1m\n');
    expect((await call('GET', '/api/v1/workflows/stays')).data).toMatchObject({ version: 2, enabled: false });
  });
});

describe('DELETE /workflows/{name}', () => {
  test('hides the workflow, cancels what has not ended and keeps the history', async () => {
    await putHello('gone');
    const ended = await startHello(api.tenant, 'gone');
    await succeed(api, ended);
    const queued = await startHello(api.tenant, 'gone');
    expect((await call('DELETE', '/api/v1/workflows/gone')).status).toBe(204);
    expect((await call('GET', '/api/v1/workflows/gone')).status).toBe(404);
    expect((await call('DELETE', '/api/v1/workflows/gone')).status).toBe(404);
    expect((await call('GET', `/api/v1/executions/${queued}`)).data).toMatchObject({
      state: 'cancelled',
      error: { code: 'cancelled', message: 'Workflow gone was deleted', step: null },
    });
    expect((await call('GET', `/api/v1/executions/${ended}`)).data.state).toBe('succeeded');
    expect((await call('GET', '/api/v1/executions?workflow=gone')).data.items).toHaveLength(2);
  });

  test('frees the name; the next one of that name has other endpoints', async () => {
    const first = (await putHello('again')).data;
    await call('DELETE', '/api/v1/workflows/again');
    const second = (await putHello('again')).data;
    expect(second.version).toBe(1);
    expect(second.triggers[0].endpointId).not.toBe(first.triggers[0].endpointId);
    const { rows } = await api.admin.query(`select active from endpoint where id = $1`, [
      first.triggers[0].endpointId,
    ]);
    expect(rows).toEqual([{ active: false }]);
  });
});
