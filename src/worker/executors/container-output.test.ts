import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../../core/json.ts';
import { parseContainerOutput } from './container-output.ts';

describe('the output of a container', () => {
  test.each<[string, string | Buffer, JsonValue]>([
    ['JSON, with space around it', ' {"a": [1, "ä"]}\n', { a: [1, 'ä'] }],
    ['a JSON text', '"hello"\n', 'hello'],
    ['a number', '42\n', 42],
    ['null', 'null', null],
    ['text as it is, without the newline at its end', 'one\n two \n', 'one\n two '],
    ['text with one of two newlines', 'one\n\n', 'one\n'],
    ['text that begins like JSON', '{"a": 1} and more', '{"a": 1} and more'],
    ['several JSON values, which are no JSON', '{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":2}'],
    ['text that is nested deeply and no JSON', '['.repeat(500), '['.repeat(500)],
    ['nothing', '', null],
    ['nothing but a newline', '\n', null],
    ['JSON after a byte order mark', Buffer.from('\u{feff}[1]'), [1]],
  ])('is %s', (_, written, output) => {
    expect(parseContainerOutput(Buffer.from(written))).toEqual(output);
  });

  test('has a key `__proto__` like any other', () => {
    const output = parseContainerOutput(Buffer.from('{"__proto__": {"x": 1}}'));
    expect(Object.keys(output as object)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  test.each<[string, Buffer, RegExp]>([
    ['bytes that are no text', Buffer.from([0x7b, 0xff]), /UTF-8.*base64/],
    ['JSON 101 levels deep', Buffer.from('['.repeat(101) + ']'.repeat(101)), /100 levels/],
  ])('is not %s', (_, written, message) => {
    expect(() => parseContainerOutput(written)).toThrow(message);
    expect(() => parseContainerOutput(written)).toThrow(
      expect.objectContaining({ code: 'invalid_output', retryable: false }) as Error,
    );
  });
});
