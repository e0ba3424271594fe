import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_SOURCE_BYTES, readYaml } from './yaml-source.ts';

const valueOf = (text: string): unknown => readYaml(text).source?.value;
const problemsOf = (text: string): readonly string[] =>
  readYaml(text).problems.map(({ line, column, code }) => `${line}:${column} ${code}`);

describe('readYaml reads', () => {
  test.each<[string, unknown]>([
    ['a: 1\nb: [x, "y", null, true, 1.5]', { a: 1, b: ['x', 'y', null, true, 1.5] }],
    ['{"a": {"b": [1, 2]}}', { a: { b: [1, 2] } }],
    ['---\na: 1\n...\n', { a: 1 }],
    ['\uFEFFa: 1', { a: 1 }],
    // YAML 1.2: what 1.1 took for booleans, octals and times is text or decimal
    ['on: yes\nno: 010\nt: 12:30', { on: 'yes', no: 10, t: '12:30' }],
    ['200: ok\ntrue: x\n1.0: y', { '200': 'ok', true: 'x', '1.0': 'y' }],
    ['a: |\n  x\n  y\n', { a: 'x\ny\n' }],
    ['a:\r\n  - 1\r\n', { a: [1] }],
    ['a: 0x10\nb: -0', { a: 16, b: -0 }],
    ['constructor: 1\ntoString: 2', { constructor: 1, toString: 2 }],
  ])('%j', (text, value) => {
    expect(readYaml(text).problems).toEqual([]);
    expect(valueOf(text)).toEqual(value);
  });
});

describe('readYaml refuses', () => {
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['', ['1:1 yaml_syntax']],
    ['# nothing\n', ['1:1 yaml_syntax']],
    ['a: [1, 2', ['1:9 yaml_syntax']],
    ['a: "x\nb: 1', ['2:5 yaml_syntax']],
    ['a: 1\n\tb: 2', ['2:1 yaml_syntax']],
    ['a: 1\nb: x\0y', ['2:5 yaml_syntax']],
    ['a: 1\na: 2', ['2:1 duplicate_key']],
    ['a: &x 1\nb: 2', ['1:7 yaml_feature']],
    ['a: &x 1\nb: *x', ['1:7 yaml_feature', '2:4 yaml_feature']],
    ['a: &x {y: 1}\nb:\n  <<: *x', ['1:7 yaml_feature', '3:3 yaml_feature']],
    ['<<: {a: 1}', ['1:1 yaml_feature']],
    ['a: !!js/function "() => 1"', ['1:18 yaml_feature']],
    ['a: !custom x', ['1:12 yaml_feature']],
    ['a: !!str 5', ['1:10 yaml_feature']],
    ['a: !!binary aGk=', ['1:13 yaml_feature']],
    ['!x a: 1', ['1:4 yaml_feature']],
    ['%YAML 1.1\n---\na: yes', ['1:1 yaml_feature']],
    ['%TAG ! tag:x,2000:\n---\na: 1', ['1:1 yaml_feature']],
    ['a: 1\n---\nb: 2', ['2:1 yaml_feature']],
    ['? [a]\n: 1', ['1:3 yaml_feature']],
    ['__proto__: {x: 1}', ['1:1 yaml_feature']],
    ['a: .inf\nb: .nan', ['1:4 invalid_value', '2:4 invalid_value']],
    ['a: 9007199254740993', ['1:4 invalid_value']],
    [`a: ${'['.repeat(101)}${']'.repeat(101)}`, ['1:104 too_deep']],
    [`a: ${'x'.repeat(MAX_SOURCE_BYTES)}`, ['1:1 too_large']],
    ['a: b\n'.repeat(100_000), ['1:1 too_large']],
  ];
  test.each(table.map(([text, problems]) => [text.slice(0, 60), text, problems] as const))(
    '%j',
    (_, text, problems) => {
      expect(problemsOf(text)).toEqual(problems);
    },
  );

  test('alias bombs before they go off', () => {
    const levels = Array.from({ length: 30 }, (_, n) => `l${n}: &l${n} [${`*l${n - 1},`.repeat(9)}]`);
    const start = performance.now();
    expect(readYaml(`l0: &l0 x\n${levels.slice(1).join('\n')}`).source).toBeUndefined();
    expect(performance.now() - start).toBeLessThan(2_000);
  });

  test('text that nests as deep as it is long', () => {
    for (const text of [
      '['.repeat(150_000),
      '{a: '.repeat(60_000),
      '- '.repeat(60_000),
      '? '.repeat(60_000),
    ]) {
      expect(problemsOf(text)).toHaveLength(1);
    }
  });
});

test('neither the prototype of objects nor that of what is read is touched', () => {
  const value = valueOf('a: {constructor: {prototype: {polluted: 1}}}\n__proto__: {polluted: 1}');
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

describe('locate', () => {
  const text = `a:
  b: [10, {c: d}]
  "e f": |
    one
      two
g: "in quotes"
h: >-
  folded
  text
i:
j: plain text
k: "esc\\taped"
`;
  const { source } = readYaml(text);
  test.each<[string, Parameters<NonNullable<typeof source>['locate']>[0], string]>([
    ['a value', { path: ['a', 'b', 0] }, '2:7'],
    ['a key', { path: ['a', 'b'], at: 'key' }, '2:3'],
    ['a value in a flow mapping', { path: ['a', 'b', 1, 'c'] }, '2:15'],
    ['a mapping', { path: ['a'] }, '2:3'],
    ['the document', { path: [] }, '1:1'],
    ['what is not there, at what should contain it', { path: ['a', 'nope', 'x'] }, '2:3'],
    ['an item that is not there', { path: ['a', 'b', 7] }, '2:6'],
    ['a character of a block', { path: ['a', 'e f'], offset: 6 }, '5:7'],
    ['the first character of a block', { path: ['a', 'e f'], offset: 0 }, '4:5'],
    ['a character in quotes', { path: ['g'], offset: 3 }, '6:8'],
    ['a character of plain text', { path: ['j'], offset: 6 }, '11:10'],
    ['a character of folded text', { path: ['h'], offset: 8 }, '9:4'],
    ['the first character of folded text', { path: ['h'], offset: 0 }, '8:3'],
    ['the end of a block', { path: ['a', 'e f'], offset: 10 }, '5:10'],
    ['a character after an escape, at the start', { path: ['k'], offset: 6 }, '12:4'],
    ['an empty value, where it would stand', { path: ['i'] }, '10:3'],
  ])('finds %s', (_, place, expected) => {
    const position = source?.locate(place);
    expect(`${position?.line}:${position?.column}`).toBe(expected);
  });
});

test('readYaml never throws', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => void readYaml(text)));
  const yamlish = fc.string({
    unit: fc.constantFrom(...'{}[]:,-?#&*!|>\'"%@` \t\r\nab1~<$\\.'.split('')),
    maxLength: 80,
  });
  fc.assert(
    fc.property(yamlish, (text) => void readYaml(text)),
    { numRuns: 1000 },
  );
});

test('JSON comes out as it went in', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (text) => {
      const value: unknown = JSON.parse(text);
      if (/"__proto__"|"<<"/.test(text) || !isExact(value)) return;
      expect(JSON.stringify(valueOf(text))).toBe(JSON.stringify(value));
    }),
  );
});

/** Integers that a double cannot hold are refused. */
function isExact(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isInteger(value) || Number.isSafeInteger(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(isExact);
}
