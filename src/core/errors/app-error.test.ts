import { describe, expect, test } from 'vitest';
import { appError, coerceError } from './app-error.ts';
import { ERRORS } from './registry.ts';

describe('appError', () => {
  test('fills the placeholders in order', () => {
    const error = appError('execution_ended', { args: ['e1', 'failed'] });
    expect(error.message).toBe('Execution e1 has already ended as failed');
    expect(error.kind).toBe('conflict');
  });

  test('keeps `$&` and other replacement patterns in arguments literal', () => {
    expect(appError('workflow_not_found', { args: ['$&'] }).message).toBe('Workflow $& does not exist');
  });

  test('every code is lower snake case', () => {
    for (const code of Object.keys(ERRORS)) expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
  });
});

test('coerceError wraps what is no error and keeps it as the cause', () => {
  expect(coerceError('boom').message).toBe('boom');
  const error = new TypeError('x');
  expect(coerceError(error)).toBe(error);
});
