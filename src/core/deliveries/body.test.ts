import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_JSON_DEPTH, isDeeperThan, parseBody, parseForm } from './body.ts';

const parse = (type: string | undefined, text: string | Buffer) =>
  parseBody(type, Buffer.from(text as string));

describe('parseBody', () => {
  test.each([
    ['application/json', '{"a":1}', { a: 1 }],
    ['application/json; charset=utf-8', '[]', []],
    ['application/vnd.github+json', '"x"', 'x'],
    ['Application/JSON', '\ufeff{"a":1}', { a: 1 }],
    ['application/json', '', null],
    [undefined, '{"a":1}', { a: 1 }],
    [undefined, 'plain words', 'plain words'],
    ['text/plain', '{"a":1}', '{"a":1}'],
    ['application/x-www-form-urlencoded', 'a=1&b=x+y&a=2', { a: ['1', '2'], b: 'x y' }],
    ['application/octet-stream', 'hi', 'aGk='],
  ])('%s %j gives %j', (type, text, body) => {
    expect(parse(type, text)).toEqual({ ok: true, body });
  });

  test('JSON that does not parse is refused, not taken as text', () => {
    expect(parse('application/json', '{"a":')).toMatchObject({ ok: false, code: 'malformed_json' });
  });

  test('multipart is refused', () => {
    expect(parse('multipart/form-data; boundary=x', '--x--')).toMatchObject({
      code: 'unsupported_content_type',
    });
  });

  test.each([undefined, 'application/json'])('JSON nested deeper than allowed is refused (%s)', (type) => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(parse(type, nested(MAX_JSON_DEPTH)).ok).toBe(true);
    expect(parse(type, nested(MAX_JSON_DEPTH + 1))).toMatchObject({ ok: false, code: 'json_too_deep' });
  });

  test('names like __proto__ stay data', () => {
    const parsed = parseForm('__proto__=x&constructor=y&a=1');
    expect(Object.keys(parsed)).toEqual(['__proto__', 'constructor', 'a']);
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
});

test('isDeeperThan agrees with a walk over the parsed value', () => {
  const depthOf = (value: unknown): number =>
    typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
  fc.assert(
    fc.property(fc.json({ depthSize: 'large' }), fc.integer({ min: 1, max: 8 }), (text, limit) => {
      expect(isDeeperThan(Buffer.from(text), limit)).toBe(depthOf(JSON.parse(text)) > limit);
    }),
  );
});
