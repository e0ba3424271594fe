import { describe, expect, it } from 'vitest';
import { appError } from '../core/errors/app-error.ts';
import { CliError, EXIT } from './cli-error.ts';
import { ApiError, explain, formatFinding } from './problems.ts';

describe('formatFinding', () => {
  const problem = {
    path: 'steps[0].needs[0]',
    line: 5,
    column: 13,
    message: 'there is no step `x`',
    fix: 'name one',
  };

  it.each([
    ['with a file', problem, 'w.yaml', 'w.yaml:5:13 there is no step `x` — name one'],
    ['without a file', problem, undefined, '5:13 there is no step `x` — name one'],
    ['without a place', { path: 'name', message: 'is missing', fix: '' }, 'w.yaml', 'w.yaml name is missing'],
    ['from a hostile answer', { message: '\u001b[2J' }, undefined, '\\u001b[2J'],
  ])('tells a problem %s', (_, item, file, line) => {
    expect(formatFinding(item, file)).toBe(line);
  });
});

describe('explain', () => {
  it('tells each problem of a refusal, then the refusal with its code and request', () => {
    const error = new ApiError('The workflow has 1 problem(s)', 422, {
      code: 'workflow_invalid',
      requestId: 'r1',
      errors: [{ path: 'name', line: 1, column: 7, message: 'is too long', fix: 'shorten it' }],
    });
    expect(explain(error, 'w.yaml')).toEqual({
      lines: [
        'w.yaml:1:7 is too long — shorten it',
        'The workflow has 1 problem(s) (workflow_invalid, request r1)',
      ],
      exitCode: EXIT.failure,
    });
  });

  it('ends with 78 for a configuration that has to be mended', () => {
    const problems = [{ path: 'API_PORT', message: 'must be a whole number', fix: 'Port of the API' }];
    expect(explain(appError('config_invalid', { args: [1], problems }))).toEqual({
      lines: ['The configuration has 1 problem(s)', '  API_PORT must be a whole number — Port of the API'],
      exitCode: EXIT.configuration,
    });
    expect(explain(appError('schema_mismatch', { args: ['too old'] })).exitCode).toBe(EXIT.configuration);
    expect(explain(appError('port_in_use', { args: [8080, 'API_PORT'] })).exitCode).toBe(EXIT.failure);
  });

  it('shows the stack only of what nobody foresaw', () => {
    expect(explain(new CliError('no such file', { exitCode: EXIT.usage }))).toEqual({
      lines: ['no such file'],
      exitCode: EXIT.usage,
    });
    expect(explain(new Error('bug')).lines[0]).toContain('problems.test.ts');
  });
});
