import express, { type Express } from 'express';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { serving } from '../../../test/support/serve.ts';
import { appError } from '../../core/errors/app-error.ts';
import { handleErrors } from './handle-errors.ts';
import { requestId } from './request-id.ts';

function failingWith(thrown: unknown): { readonly app: Express; readonly logged: Record<string, unknown>[] } {
  const logged: Record<string, unknown>[] = [];
  const write = (line: string): void => void logged.push(JSON.parse(line) as Record<string, unknown>);
  const app = express();
  app.use(requestId());
  app.get('/', () => Promise.reject(thrown as Error)); // also what is no error
  app.get('/half', (_req, res) => {
    res.write('half');
    throw thrown;
  });
  app.use(handleErrors({ logger: pino({}, { write }) }));
  return { app, logged };
}

async function answerTo(thrown: unknown) {
  const { app, logged } = failingWith(thrown);
  return serving(app, async (base) => {
    const response = await fetch(base);
    const data = (await response.json()) as Record<string, unknown>;
    return { status: response.status, headers: response.headers, data, logged };
  });
}

test('answers what a caller can mend with a problem document, and logs nothing', async () => {
  const answer = await answerTo(appError('workflow_not_found', { args: ['x'] }));
  expect(answer.status).toBe(404);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(answer.data).toEqual({
    type: 'urn:millrace:problem:workflow_not_found',
    title: 'Not found',
    status: 404,
    detail: 'Workflow x does not exist',
    code: 'workflow_not_found',
    requestId: answer.headers.get('x-request-id'),
  });
  expect(answer.logged).toEqual([]);
});

test.each([new TypeError('canary of a bug'), 'canary text', undefined, { canary: true }])(
  'hides %s behind a 500, and logs it under the request’s id',
  async (thrown) => {
    const answer = await answerTo(thrown);
    expect([answer.status, answer.data['code']]).toEqual([500, 'internal']);
    expect(JSON.stringify(answer.data)).not.toContain('canary');
    expect(answer.logged).toEqual([
      expect.objectContaining({ level: 50, requestId: answer.data['requestId'], msg: 'request failed' }),
    ]);
  },
);

test('logs a refusal for want of the database as a warning', async () => {
  const answer = await answerTo(Object.assign(new Error('connect canary'), { code: 'ECONNREFUSED' }));
  expect([answer.status, answer.data['code']]).toEqual([503, 'unavailable']);
  expect(answer.headers.get('retry-after')).toBe('5');
  expect(answer.logged).toEqual([expect.objectContaining({ level: 40 })]);
});

test('breaks off an answer that has begun instead of adding to it', async () => {
  const { app } = failingWith(new Error('late'));
  await serving(app, async (base) => {
    const reading = fetch(`${base}/half`).then((response) => response.text());
    await expect(reading).rejects.toThrow();
  });
});
