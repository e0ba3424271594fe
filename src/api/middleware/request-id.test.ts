import express from 'express';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { requestId, requestIdOf } from './request-id.ts';

const app = express();
app.use(requestId({ makeId: () => 'made-here' }));
app.get('/', (_req, res) => void res.send(requestIdOf(res)));

async function idFor(headers: Readonly<Record<string, string>>): Promise<string> {
  return serving(app, async (base) => {
    const response = await fetch(base, { headers });
    const id = await response.text();
    expect(response.headers.get('x-request-id')).toBe(id);
    return id;
  });
}

test('gives a request an id, for handlers and for the caller', async () => {
  expect(await idFor({})).toBe('made-here');
});

test.each(['0190f3a4-0000-7000-8000-000000000000', 'abcd1234', 'A.b_c-d9', 'x'.repeat(128)])(
  'keeps the caller’s %s',
  async (given) => {
    expect(await idFor({ 'x-request-id': given })).toBe(given);
  },
);

test.each(['', 'short', 'x'.repeat(129), 'has space', 'line%0abreak/', '-leading-dash', '{"json":1}'])(
  'replaces %j',
  async (given) => {
    expect(await idFor({ 'x-request-id': given })).toBe('made-here');
  },
);
