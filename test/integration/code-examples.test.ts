import { execFile } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JsonValue } from '../../src/core/json.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { API_KEY, startPlatform, type TestPlatform } from '../support/platform.ts';
import { cliCommand, createProcesses, PROJECT_ROOT } from '../support/processes.ts';
import { runToEnd } from '../support/dev-platform.ts';
import { startSink, type Sink } from '../support/sink.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const SECONDS = 1000;

const processes = createProcesses();
let database: TestDatabase;
let crm: Sink;
let platform: TestPlatform;
beforeAll(async () => {
  database = await createTestDatabase();
  crm = await startSink(({ headers }) => ({
    body: { name: 'Mill & Sons', plan: 'gold', seen: headers['authorization'] ?? null },
  }));
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${crm.port}`,
  });
  await platform.workers[0]!.sandboxes;
}, 180 * SECONDS);
afterAll(async () => {
  await platform.stop();
  await crm.close();
  await database.drop();
  await processes.killAll();
});

/** Deploys a copy of the example as its README says, and gives the path of its webhook. */
async function deployed(name: string, install?: readonly [string, ...string[]]): Promise<string> {
  const folder = join(await makeTempDirectory(), name);
  await cp(join(PROJECT_ROOT, 'examples', name), folder, {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  });
  if (install !== undefined) await run(install[0], install.slice(1), { cwd: folder });
  const { code, stderr } = await runToEnd(processes, cliCommand('deploy', folder), {
    MILLRACE_URL: platform.base,
    MILLRACE_API_KEY: API_KEY,
  });
  expect(code, stderr).toBe(0);
  const { data } = await platform.call('GET', `/api/v1/workflows/${name}`);
  const trigger = (data.triggers as { type: string; endpointId: string }[]).find(
    ({ type }) => type === 'webhook',
  );
  return `/hooks/${trigger!.endpointId}`;
}

async function outcome(hook: string, body: JsonValue) {
  const { data } = await platform.post(hook, body);
  return platform.finished(data.executionId as string, 60 * SECONDS);
}

it('closest-match: a TypeScript step with a package of npm', { timeout: 120 * SECONDS }, async () => {
  const hook = await deployed('closest-match', ['npm', 'ci', '--no-audit', '--no-fund']);
  expect(await outcome(hook, { product: 'ry flour' })).toMatchObject({
    state: 'succeeded',
    output: { product: 'rye flour', changes: 1 },
  });
  expect(await outcome(hook, {})).toMatchObject({
    state: 'failed',
    error: { code: 'code_error', message: expect.stringMatching(/send \{"product".*steps\/match\.ts:\d+/) },
  });
});

it('slugs: a Python step with a wheel', { timeout: 120 * SECONDS }, async () => {
  const hook = await deployed('slugs');
  expect(await outcome(hook, { title: 'The Wheel & the Straße of Mühldorf' })).toMatchObject({
    state: 'succeeded',
    output: { slug: 'wheel-strasse-muhldorf' },
  });
});

it('customer-lookup: a credential that the code never sees', { timeout: 120 * SECONDS }, async () => {
  await platform.call('PUT', '/api/v1/credentials/crm', {
    type: 'bearer',
    data: { token: 'canary-crm-token', baseUrl: crm.url },
  });
  const hook = await deployed('customer-lookup');
  const execution = await outcome(hook, { customer: 'c/7' });
  expect(execution).toMatchObject({ state: 'succeeded', output: { name: 'Mill & Sons', plan: 'gold' } });
  expect(crm.entries.at(-1)).toMatchObject({
    path: '/customers/c%2F7',
    headers: { authorization: 'Bearer canary-crm-token' },
  });
  const { text } = await platform.call('GET', `/api/v1/executions/${execution['id'] as string}/logs`);
  expect(JSON.stringify(execution) + text).not.toContain('canary');
});
