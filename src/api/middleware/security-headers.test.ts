import express from 'express';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { securityHeaders } from './security-headers.ts';

async function headersOf(https: boolean): Promise<Headers> {
  const app = express();
  app.use(securityHeaders({ https }));
  app.get('/', (_req, res) => void res.send('x'));
  return serving(app, async (base) => (await fetch(base)).headers);
}

test('lets nothing run, load, frame or submit', async () => {
  const headers = await headersOf(true);
  expect(headers.get('content-security-policy')).toBe(
    "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
  );
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect(headers.get('referrer-policy')).toBe('no-referrer');
});

test('asks browsers to stay with https only where the API is reached by it', async () => {
  expect((await headersOf(true)).get('strict-transport-security')).toMatch(/^max-age=31536000/);
  expect((await headersOf(false)).get('strict-transport-security')).toBeNull();
});
