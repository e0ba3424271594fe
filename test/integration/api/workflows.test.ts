import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { helloDefinition, startTestApi, type Call, type TestApi } from './harness.ts';

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi();
  call = api.tenant.call;
});
afterAll(() => api.close());

const deploy = (name: string, extra = '') =>
  call('PUT', `/api/v1/workflows/${name}`, { definition: helloDefinition(name, extra), files: {} });

describe('PUT /workflows/{name}', () => {
  test('answers 201 with version, hash and triggers, and 200 for the same content', async () => {
    const first = await deploy('put');
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
    const again = await deploy('put');
    expect(again.status).toBe(200);
    expect(again.data).toEqual(first.data);
  });

  test('keeps the endpoint over versions, also when the trigger was gone meanwhile', async () => {
    const first = (await deploy('endpoints')).data;
    const second = (await deploy('endpoints', `timeout: 1m\n`)).data;
    expect(second.version).toBe(2);
    expect(second.triggers).toEqual(first.triggers);
    const manualOnly = `name: endpoints\ntriggers: { manual: { manual: {} } }\nsteps: [{ id: a, transform: "1" }]\n`;
    const without = await call('PUT', '/api/v1/workflows/endpoints', { definition: manualOnly });
    expect(without.data.triggers).toEqual([{ name: 'manual', type: 'manual', endpointId: null, url: null }]);
    const back = (await deploy('endpoints')).data;
    expect(back.version).toBe(4);
    expect(back.triggers).toEqual(first.triggers);
  });
});
