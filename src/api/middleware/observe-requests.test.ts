import { get } from 'node:http';
import express from 'express';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { waitFor } from '../../../test/support/wait-for.ts';
import type { RequestObservation } from '../deps.ts';
import { observeRequests } from './observe-requests.ts';

function fixture() {
  const seen: RequestObservation[] = [];
  const app = express();
  app.use(observeRequests({ onRequest: (observation) => void seen.push(observation) }));
  app.get('/known', (_req, res) => {
    res.locals['route'] = '/known/{id}';
    res.status(202).end();
  });
  app.get('/never', () => undefined);
  return { app, seen };
}

test('reports route, method, status and time of an exchange', async () => {
  const { app, seen } = fixture();
  await serving(app, async (base) => {
    await fetch(`${base}/known?id=1`);
    await fetch(`${base}/some-id-of-mine`);
  });
  expect(seen).toEqual([
    { route: '/known/{id}', method: 'GET', status: 202, durationMs: expect.any(Number) },
    // Never the path itself: labels come from a closed set.
    { route: 'other', method: 'GET', status: 404, durationMs: expect.any(Number) },
  ]);
});

test('reports a caller that did not wait as 499', async () => {
  const { app, seen } = fixture();
  await serving(app, async (base) => {
    const request = get(`${base}/never`).on('error', () => undefined);
    setTimeout(() => request.destroy(), 20);
    await waitFor(() => seen.length === 1);
  });
  expect(seen[0]?.status).toBe(499);
});
