import { describe, expect, test } from 'vitest';
import { StepError } from '../../step-error.ts';
import { valueCompiler } from '../values.ts';
import { renderRespond, respond } from './respond.ts';

const render = (body: Parameters<typeof respond.compile>[0]['respond'], trigger: unknown = {}) =>
  renderRespond(respond.compile({ respond: body }, valueCompiler(['trigger'])), { trigger });

describe('renderRespond', () => {
  test('fills in what is not said', () => {
    expect(render({})).toEqual({ status: 200, headers: {}, body: null });
  });

  test('renders status, headers and body, and leaves headers of null out', () => {
    const body = {
      status: '${{ trigger.status }}',
      headers: { 'X-Id': '${{ trigger.id }}', 'X-None': '${{ trigger.none }}', 'X-Flag': true },
      body: { id: '${{ trigger.id }}' },
    };
    expect(render(body, { status: 418, id: 7, none: null })).toEqual({
      status: 418,
      headers: { 'X-Id': '7', 'X-Flag': 'true' },
      body: { id: 7 },
    });
  });

  test.each<[Parameters<typeof render>[0], unknown]>([
    [{ status: '${{ trigger.x }}' }, 101],
    [{ status: '${{ trigger.x }}' }, 600],
    [{ status: '${{ trigger.x }}' }, '200'],
    [{ status: '${{ trigger.x }}' }, 200.5],
    [{ headers: { 'X-Id': '${{ trigger.x }}' } }, 'a\r\nSet-Cookie: b'],
    [{ headers: { 'X-Id': '${{ trigger.x }}' } }, 'é'],
    [{ headers: { 'Set-Cookie': '${{ trigger.x }}' } }, 'session=stolen'],
    [{ headers: { 'X-Id': '${{ trigger.x }}' } }, { a: 1 }],
  ])('refuses %j with %j, for good', (body, x) => {
    const attempt = () => render(body, { x });
    expect(attempt).toThrow(StepError);
    expect(attempt).toThrow(expect.objectContaining({ code: 'invalid_input', retryable: false }));
  });
});
