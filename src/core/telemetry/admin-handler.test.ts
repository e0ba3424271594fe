import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { appError } from '../errors/app-error.ts';
import { createAdminHandler, type AdminHandlerOptions, type ReadinessCheck } from './admin-handler.ts';

const fit: ReadinessCheck = async () => undefined;

async function ask(path: string, options: Partial<AdminHandlerOptions> = {}, method = 'GET') {
  const failed: string[] = [];
  const handler = createAdminHandler({
    checks: { database: fit },
    isDraining: () => false,
    metrics: {
      page: async (accept) => ({
        contentType: 'text/plain; version=0.0.4',
        body: `millrace_up 1\n# ${accept}\n`,
      }),
    },
    onCheckFailed: (name) => void failed.push(name),
    checkTimeoutMs: 50,
    ...options,
  });
  return serving(
    (req, res) => {
      void handler(req, res).then((handled) => handled || res.writeHead(404).end('not mine'));
    },
    async (base) => {
      const response = await fetch(base + path, { method });
      return { status: response.status, headers: response.headers, text: await response.text(), failed };
    },
  );
}

test('is live, whatever the checks say', async () => {
  const checks = { database: async () => Promise.reject(new Error('gone')) };
  expect(await ask('/health/live', { checks })).toMatchObject({ status: 200, text: '{"status":"live"}' });
});

test('is ready when all checks pass, and shows what they have to say', async () => {
  const { status, text } = await ask('/health/ready', {
    checks: { database: fit, sandbox: async () => 'process: no isolation' },
  });
  expect(status).toBe(200);
  expect(JSON.parse(text)).toEqual({
    status: 'ready',
    checks: { database: { status: 'ok' }, sandbox: { status: 'ok', detail: 'process: no isolation' } },
  });
});

test('is not ready when a check fails, and tells only what may be told', async () => {
  const { status, text, failed } = await ask('/health/ready', {
    checks: {
      database: async () => Promise.reject(new Error('password canary was refused')),
      schema: async () => Promise.reject(appError('schema_mismatch', { args: ['run `millrace migrate`'] })),
      rest: fit,
    },
  });
  expect(status).toBe(503);
  expect(JSON.parse(text)).toEqual({
    status: 'not_ready',
    checks: {
      database: { status: 'failed' },
      schema: { status: 'failed', detail: 'run `millrace migrate`' },
      rest: { status: 'ok' },
    },
  });
  expect(failed).toEqual(['database', 'schema']);
});

test('does not wait for a check that hangs', async () => {
  const checks = { slow: () => delay(5_000, undefined, { ref: false }) };
  const startedAt = performance.now();
  expect((await ask('/health/ready', { checks })).status).toBe(503);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test('is not ready, but live, while it drains', async () => {
  const draining = { isDraining: () => true };
  expect(await ask('/health/ready', draining)).toMatchObject({ status: 503, text: '{"status":"draining"}' });
  expect((await ask('/health/live', draining)).status).toBe(200);
});

test('serves the metrics in the format that is asked for', async () => {
  const { status, text, headers } = await ask('/metrics?x=1');
  expect([status, text]).toEqual([200, 'millrace_up 1\n# */*\n']);
  expect(headers.get('content-type')).toBe('text/plain; version=0.0.4');
});

test('answers HEAD without a body, and no method that would change something', async () => {
  expect(await ask('/health/live', {}, 'HEAD')).toMatchObject({ status: 200, text: '' });
  const refused = await ask('/metrics', {}, 'POST');
  expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
});

test.each(['/', '/health', '/health/live/', '/metrics/x', '/constructor', '/api/v1/me'])(
  'leaves %s to others',
  async (path) => {
    expect(await ask(path)).toMatchObject({ status: 404, text: 'not mine' });
  },
);
