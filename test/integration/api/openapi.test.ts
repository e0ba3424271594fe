import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from '../../../src/core/zod.ts';
import { createOperations, describeApi } from '../../../src/api/routes/operations.ts';
import { deliver, deployHello, startHello, succeed } from './fixtures.ts';
import { startTestApi, type TestApi } from './harness.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const operations = createOperations({
  forgetKeys: () => undefined,
  cursorSecret: '',
  hub: { follow: () => () => undefined },
});
interface Described {
  readonly operationId: string;
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
}
const document = describeApi() as {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Described>>>>;
};
const described = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

test('docs/openapi.json is current; `npm run docs` writes it', () => {
  const file = readFileSync(new URL('../../../docs/openapi.json', import.meta.url), 'utf8');
  expect(JSON.parse(file)).toEqual(JSON.parse(JSON.stringify(document)));
});

test('is served as it is written', async () => {
  const answer = await api.tenant.call('GET', '/api/v1/openapi.json');
  expect(answer.status).toBe(200);
  expect(answer.data).toEqual(JSON.parse(JSON.stringify(document)));
  expect(answer.data.openapi).toBe('3.1.0');
});

test('every operation that it describes is served, and no other method of its path', async () => {
  for (const { path, method } of described) {
    const url = `/api/v1${path.replaceAll(/\{\w+\}/g, 'x')}`;
    // A body that every operation refuses, or that is not read at all.
    const answer = await api.tenant.call(method.toUpperCase(), url, method === 'get' ? undefined : '[');
    expect([path, method, answer.data.code]).not.toEqual([path, method, 'not_found']);
    expect([path, method, answer.status]).not.toEqual([path, method, 405]);
    const other = await api.tenant.call('PATCH', url);
    expect([path, other.status]).toEqual([path, 405]);
    expect(other.headers.get('allow')).toContain(method.toUpperCase());
  }
});

test('describes every operation that is served, with all its parameters', () => {
  expect(described.map(({ operation }) => operation.operationId).sort()).toEqual(
    operations.map(({ id }) => id).sort(),
  );
  for (const { path, operation } of described) {
    const inPath = operation.parameters
      .filter((parameter) => parameter.in === 'path')
      .map(({ name }) => name);
    expect(inPath).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
  }
});

test('answers have the shapes that it promises', async () => {
  const { call } = api.tenant;
  const { triggers } = await deployHello(api.tenant, 'hello');
  await deployHello(api.tenant, 'hello', 'timeout: 1m\n');
  await call('PUT', '/api/v1/credentials/c', { type: 'secret', data: { value: 'x' } });
  const execution = await startHello(api.tenant, 'hello');
  await succeed(api, execution);
  const { deliveryId, executionId } = await deliver(api, api.tenant, triggers[0]!.endpointId); // the webhook
  const asked = new Map([
    ['listWorkflows', '/workflows'],
    ['getWorkflow', '/workflows/hello'],
    ['listWorkflowVersions', '/workflows/hello/versions'],
    ['getWorkflowVersion', '/workflows/hello/versions/1'],
    ['listExecutions', '/executions'],
    ['getExecution', `/executions/${execution}`],
    ['getExecutionStats', '/executions/stats'],
    ['listDeliveries', '/deliveries'],
    ['getDelivery', `/deliveries/${deliveryId}`],
    ['listCredentials', '/credentials'],
    ['getCredential', '/credentials/c'],
    ['listApiKeys', '/api-keys'],
    ['getMe', '/me'],
  ]);
  for (const { id, replies } of operations) {
    const path = asked.get(id);
    const shape = replies[200]?.schema;
    if (path === undefined || shape === undefined) continue;
    const { data } = await call('GET', `/api/v1${path}`);
    expect(strict(shape).safeParse(data).error).toBeUndefined();
  }
  const webhook = operations.find(({ id }) => id === 'getExecution')?.replies[200]?.schema;
  const { data } = await call('GET', `/api/v1/executions/${executionId}`);
  expect(strict(webhook!).safeParse(data).error).toBeUndefined(); // it is described
});

/** The same schema, refusing members that it does not name. */
function strict(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodObject) {
    const shape = Object.entries(schema.shape).map(([key, value]) => [key, strict(value as z.ZodType)]);
    return z.strictObject(Object.fromEntries(shape));
  }
  if (schema instanceof z.ZodArray) return z.array(strict(schema.element as z.ZodType));
  if (schema instanceof z.ZodNullable) return z.nullable(strict(schema.unwrap() as z.ZodType));
  return schema;
}
