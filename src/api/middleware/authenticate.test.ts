import express from 'express';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { appError } from '../../core/errors/app-error.ts';
import type { Principal } from '../../core/tenants/api-keys.ts';
import { authenticate, principalOf } from './authenticate.ts';
import { handleErrors } from './handle-errors.ts';

const principal: Principal = { tenantId: 't', keyId: 'k', keyName: 'name', role: 'viewer' };
const app = express();
app.use(
  authenticate({
    lookup: async (key) => {
      if (key === 'down') throw new Error('the database is away');
      if (key !== 'right') throw appError('unauthenticated');
      return principal;
    },
  }),
);
app.get('/', (_req, res) => void res.json(principalOf(res)));
app.use(handleErrors({ logger: pino({ level: 'silent' }) }));

const ask = (headers: Readonly<Record<string, string>>, path = '/') =>
  serving(app, async (base) => {
    const response = await fetch(base + path, { headers });
    return { status: response.status, data: (await response.json()) as Record<string, unknown> };
  });

test.each(['Bearer right', 'bearer right', 'BEARER   right'])(
  '%s lets the request through',
  async (authorization) => {
    expect(await ask({ authorization })).toEqual({ status: 200, data: principal });
  },
);

test.each(['', 'right', 'Bearer', 'Bearer wrong', 'Bearer right wrong', 'Basic right', 'Bearer=right'])(
  '%j is 401',
  async (authorization) => {
    const { status, data } = await ask({ authorization });
    expect([status, data['code']]).toEqual([401, 'unauthenticated']);
  },
);

test('a key in the URL or in another header is 401', async () => {
  expect((await ask({}, '/?access_token=right&authorization=Bearer%20right')).status).toBe(401);
  expect((await ask({ 'x-api-key': 'right', cookie: 'authorization=Bearer right' })).status).toBe(401);
});

test('a look-up that fails is no 401: the key may be right', async () => {
  expect((await ask({ authorization: 'Bearer down' })).status).toBe(500);
});
