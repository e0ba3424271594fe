import { describe, expect, test } from 'vitest';
import { appError } from '../../core/errors/app-error.ts';
import { ERRORS, type ErrorCode } from '../../core/errors/registry.ts';
import { problemShape } from './problem-shape.ts';
import { problemReply, statusOf, toAppError } from './problem.ts';

const CODES = Object.keys(ERRORS) as ErrorCode[];

describe('problemReply', () => {
  test.each(CODES)('%s is a well-formed problem', (code) => {
    const { status, headers, document } = problemReply(appError(code, { args: ['a', 'b'] }), 'request-1');
    expect(problemShape.safeParse(document).error).toBeUndefined();
    expect(document).toMatchObject({ status, code, requestId: 'request-1' });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(headers['retry-after'] === undefined).toBe(![429, 503].includes(status));
    expect(document.detail).not.toContain('%s');
  });

  test.each(CODES.filter((code) => statusOf(code) >= 500))(
    '%s tells no argument: it may come from a cause',
    (code) => {
      const { document } = problemReply(appError(code, { args: ['canary', 'canary', 'canary'] }), 'r');
      expect(JSON.stringify(document)).not.toContain('canary');
    },
  );

  test('carries the problems and further members of the error, which cannot replace its own', () => {
    const problems = [{ path: 'name', message: 'is missing', fix: 'add it' }];
    const extensions = { executionId: 'e1', status: 200, code: 'other' };
    const { document } = problemReply(appError('workflow_invalid', { args: [1], problems, extensions }), 'r');
    expect(document).toMatchObject({
      errors: problems,
      executionId: 'e1',
      status: 422,
      code: 'workflow_invalid',
    });
  });

  test('says when to try again, in whole seconds', () => {
    const error = appError('rate_limited', { args: [3], retryAfterS: 2.1 });
    expect(problemReply(error, 'r').headers['retry-after']).toBe('3');
  });

  test('says how to authenticate', () => {
    expect(problemReply(appError('unauthenticated'), 'r').headers['www-authenticate']).toMatch(/^Bearer/);
  });
});

describe('toAppError', () => {
  const withCode = (code: string): Error => Object.assign(new Error('canary'), { code });

  test.each([
    'ECONNREFUSED',
    'ECONNRESET',
    '57P01',
    '57P03',
    '53300',
    '53100',
    '08006',
    '40001',
    '40003',
    '25006',
  ])('takes %s for an outage', (code) => {
    expect(toAppError(withCode(code)).code).toBe('unavailable');
  });

  test.each([
    'timeout exceeded when trying to connect',
    'Query read timeout',
    'Connection terminated unexpectedly',
  ])('takes “%s” of pg, which has no code, for an outage', (message) => {
    expect(toAppError(new Error(message)).code).toBe('unavailable');
  });

  test('looks into the several errors of one connection attempt', () => {
    expect(toAppError(new AggregateError([withCode('ECONNREFUSED')])).code).toBe('unavailable');
  });

  test.each(['23505', '42501', '42P01', '22021', 'ERR_ASSERTION'])('takes %s for our own fault', (code) => {
    const error = toAppError(withCode(code));
    expect(error).toMatchObject({ code: 'internal', cause: { message: 'canary' } });
  });

  test('keeps an AppError', () => {
    const error = appError('workflow_disabled', { args: ['x'] });
    expect(toAppError(error)).toBe(error);
  });
});
