import { expect, test } from 'vitest';
import { parseJson } from './parse-json.ts';

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
const parse = (text: string) => parseJson(Buffer.from(text));

test('reads JSON, with or without a byte order mark', () => {
  expect(parse('{"a":[1,null]}')).toEqual({ a: [1, null] });
  expect(parse('\uFEFF{"a":[1,null]}')).toEqual({ a: [1, null] });
});

test('accepts 100 levels and refuses 101', () => {
  expect(parse(nested(100))).toBeInstanceOf(Array);
  expect(() => parse(nested(101))).toThrow(expect.objectContaining({ code: 'json_too_deep' }));
});

test('refuses a million brackets without running out of stack', () => {
  expect(() => parse('['.repeat(1_000_000))).toThrow(expect.objectContaining({ code: 'json_too_deep' }));
});

test.each([
  ['{"password": "hunter2",}', /at position 23/],
  ['', /ends too early/],
  ['{"secret', /at position|ends too early/],
])('says where %j is wrong and quotes nothing of it', (text, position) => {
  expect(() => parse(text)).toThrow(position);
  expect(() => parse(text)).not.toThrow(/hunter2|secret/);
});

test('refuses bytes that are not UTF-8', () => {
  expect(() => parseJson(Buffer.of(0x22, 0xff, 0x22))).toThrow(/not UTF-8/);
});

test('keeps a `__proto__` key as an ordinary one', () => {
  const value = parse('{"__proto__":{"x":1}}');
  expect(Object.keys(value as object)).toEqual(['__proto__']);
  expect(({} as { x?: number }).x).toBeUndefined();
});
