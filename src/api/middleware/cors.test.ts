import express from 'express';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { cors } from './cors.ts';

async function ask(
  allowedOrigins: readonly string[],
  method: string,
  headers: Readonly<Record<string, string>>,
): Promise<Response> {
  const app = express();
  app.use(cors({ allowedOrigins, maxAgeS: 60 }));
  app.all('/', (_req, res) => void res.send('reached'));
  return serving(app, async (base) => {
    const response = await fetch(base, { method, headers });
    return new Response(response.status === 204 ? null : await response.text(), response);
  });
}

const CONSOLE = 'https://console.example.com';
const preflight = { origin: CONSOLE, 'access-control-request-method': 'PUT' };

test('lets a listed origin read the answer', async () => {
  const response = await ask([CONSOLE], 'GET', { origin: CONSOLE });
  expect(await response.text()).toBe('reached');
  expect(response.headers.get('access-control-allow-origin')).toBe(CONSOLE);
  expect(response.headers.get('access-control-expose-headers')).toContain('x-request-id');
  expect(response.headers.get('vary')).toBe('Origin');
});

test.each(['https://evil.example', 'http://console.example.com', `${CONSOLE}:8443`, 'null', '*'])(
  'says nothing to the origin %s',
  async (origin) => {
    const response = await ask([CONSOLE], 'GET', { origin });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect(response.headers.get('vary')).toBe('Origin');
  },
);

test('answers a preflight request itself', async () => {
  const response = await ask([CONSOLE], 'OPTIONS', preflight);
  expect(response.status).toBe(204);
  expect(response.headers.get('access-control-allow-methods')).toBe('GET, PUT, POST, DELETE');
  expect(response.headers.get('access-control-allow-headers')).toContain('authorization');
  expect(response.headers.get('access-control-max-age')).toBe('60');
});

test('allows nothing in a preflight request of another origin', async () => {
  const response = await ask([], 'OPTIONS', preflight);
  expect(response.status).toBe(204);
  expect(response.headers.get('access-control-allow-methods')).toBeNull();
});

test('never allows cookies', async () => {
  const response = await ask([CONSOLE], 'OPTIONS', preflight);
  expect(response.headers.get('access-control-allow-credentials')).toBeNull();
});

test('leaves other OPTIONS requests to the routes', async () => {
  expect(await (await ask([CONSOLE], 'OPTIONS', { origin: CONSOLE })).text()).toBe('reached');
});
