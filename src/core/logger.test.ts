import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appError } from './errors/app-error.ts';
import { createLogger, type Logger } from './logger.ts';

const CANARY = 'canary-9b1d';

let directory: string;
let descriptor: number;
let logger: Logger;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-log-'));
  descriptor = openSync(join(directory, 'log'), 'w');
  logger = createLogger({ level: 'info', name: 'api', destination: descriptor });
});
afterEach(() => {
  closeSync(descriptor);
  rmSync(directory, { recursive: true });
});

const text = (): string => readFileSync(join(directory, 'log'), 'utf8');
const lines = (): readonly Readonly<Record<string, unknown>>[] =>
  text()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

it('writes one JSON line for each event, with time, level, name, fields and a constant message', () => {
  logger.child({ executionId: 'e1', traceId: 't1' }).info({ steps: 3 }, 'an execution\nended');
  logger.debug('nobody asked for it');
  expect(lines()).toEqual([
    expect.objectContaining({
      level: 30,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      name: 'api',
      executionId: 'e1',
      traceId: 't1',
      steps: 3,
      msg: 'an execution\nended',
    }),
  ]);
});

describe('an error', () => {
  it('is told with its code and its causes', () => {
    const cause = Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED', port: 5432 });
    logger.error({ err: appError('storage_unavailable', { retryAfterS: 2, cause }) }, 'failed');
    expect(lines()[0]?.['err']).toMatchObject({
      code: 'storage_unavailable',
      kind: 'unavailable',
      message: expect.stringContaining('connection refused'),
      stack: expect.stringContaining('logger.test.ts'),
    });
  });

  it.each([
    [
      'PostgreSQL’s values of rows',
      { code: '23514', detail: `Failing row contains (${CANARY})`, where: CANARY },
    ],
    ['pg’s connection', { client: { query: CANARY } }],
    ['ioredis’ arguments', { command: { name: 'auth', args: [CANARY] } }],
    ['what a request had', { request: { headers: { authorization: CANARY } }, body: CANARY }],
  ])('is told without %s', (_, fields) => {
    const error = Object.assign(new Error('it failed'), fields);
    logger.error({ err: error }, 'failed');
    logger.error({ err: new AggregateError([error], 'several') }, 'failed');
    logger.error({ err: new Error('outer', { cause: error }) }, 'failed');
    expect(lines()).toHaveLength(3);
    expect(text()).toContain('it failed');
    expect(text()).not.toContain(CANARY);
  });

  it('is told without passwords of URLs in its message, its stack and its cause', () => {
    const error = new Error(`cannot reach postgres://millrace:${CANARY}@db:5432/millrace`);
    logger.error({ err: new Error('outer', { cause: error }) }, 'failed');
    expect(text()).toContain('postgres://millrace:[masked]@db:5432/millrace');
    expect(text()).not.toContain(CANARY);
  });
});

it.each([
  'apiKey',
  'authorization',
  'body',
  'cookie',
  'headers',
  'password',
  'request',
  'response',
  'secret',
  'token',
])('masks a field %s, with all that is in it', (field) => {
  logger.info({ [field]: CANARY }, 'an event');
  logger.child({ [field]: { value: CANARY } }).info('another');
  expect(lines()).toMatchObject([{ [field]: '[masked]' }, { [field]: '[masked]' }]);
  expect(text()).not.toContain(CANARY);
});
