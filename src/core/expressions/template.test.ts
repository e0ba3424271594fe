import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../json.ts';
import { scanTemplate } from './template-scan.ts';
import { compileTemplate } from './template.ts';
import { ExpressionError, type ExpressionProblem, type Template } from './types.ts';

const names = ['trigger', 'steps', 'a'];
const scope = {
  trigger: { text: 'hi', n: 21, half: 0.5, yes: true, nothing: null, list: [1, 'x'], object: { k: [1] } },
  steps: { s: { output: 'done' } },
  a: 'A',
};

function compiled(value: JsonValue): Template {
  const result = compileTemplate(value, { names });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.value;
}

const render = (value: JsonValue): JsonValue => compiled(value).render(scope);

function problems(value: JsonValue): readonly ExpressionProblem[] {
  const result = compileTemplate(value, { names });
  return result.ok ? [] : result.problems;
}

describe('a string that is one ${{ }}', () => {
  test.each<[text: string, value: JsonValue]>([
    ['${{ trigger.text }}', 'hi'],
    ['${{trigger.n}}', 21],
    ['${{ trigger.half }}', 0.5],
    ['${{ trigger.yes }}', true],
    ['${{ trigger.nothing }}', null],
    ['${{ trigger.list }}', [1, 'x']],
    ['${{ trigger.object }}', { k: [1] }],
    ['${{ trigger.?missing }}', null],
    ['${{ timestamp(0) }}', '1970-01-01T00:00:00.000Z'],
    ['${{ duration("90s") }}', '90s'],
    ['${{ b"abc" }}', 'YWJj'],
    ['${{\n  trigger.n\n}}', 21],
    ['${{ 1 // why }}', 1],
    ['${{ // why\n 1 }}', 1],
    ['${{ {} }}', {}],
    ['${{{}}}', {}],
    ['${{ {"a": {"b": {"c": 1}}} }}', { a: { b: { c: 1 } } }],
    ['${{ {"a":{"b":1}}}}', { a: { b: 1 } }],
    ['${{ "}}" }}', '}}'],
    ["${{ '}}' }}", '}}'],
    ['${{ "\\"}}" }}', '"}}'],
    ['${{ """}}"}}""" }}', '}}"}}'],
    ['${{ r"}}" }}', '}}'],
    ['${{ b"}}" }}', 'fX0='],
    ['${{ "a" + "}}" + \'}}\' }}', 'a}}}}'],
    ['${{ "${{ x }}" }}', '${{ x }}'],
    ['${{ "// no comment }}" }}', '// no comment }}'],
    ['${{ [{"a": "{"}][0].a }}', '{'],
  ])('%j keeps its type', (text, value) => {
    expect(render(text)).toEqual(value);
  });
});

describe('text with ${{ }} in it', () => {
  test.each<[text: string, value: string]>([
    ['a ${{ trigger.text }}', 'a hi'],
    [' ${{ trigger.n }}', ' 21'],
    ['${{ trigger.n }}\n', '21\n'],
    ['${{ trigger.n }}${{ trigger.n }}', '2121'],
    ['<${{ trigger.nothing }}>', '<>'],
    ['<${{ trigger.?missing }}>', '<>'],
    ['<${{ trigger.half }}|${{ trigger.yes }}>', '<0.5|true>'],
    ['<${{ trigger.list }}|${{ trigger.object }}>', '<[1,"x"]|{"k":[1]}>'],
    ['<${{ timestamp(0) }}>', '<1970-01-01T00:00:00.000Z>'],
    ['<${{ 42.0 }}>', '<42>'],
    ['}} ${{ a }} }} { }', '}} A }} { }'],
    ['$${{ a }}', '${{ a }}'],
    ['x$${{ a }} ${{ a }}', 'x${{ a }} A'],
    ['$$${{ a }}', '$${{ a }}'],
    ['$ ${{ a }} ${ a } {{ a }}', '$ A ${ a } {{ a }}'],
    ['${{ "$" + string(trigger.n) }}', '$21'],
    ['$${{', '${{'],
  ])('%j gives %j', (text, value) => {
    expect(render(text)).toBe(value);
  });
});

describe('objects and lists', () => {
  test('are walked to any depth', () => {
    const template = { to: '${{ a }}', n: 1, deep: [{ x: ['${{ trigger.n }}', 'fixed', null] }], '': true };
    expect(render(template)).toEqual({ to: 'A', n: 1, deep: [{ x: [21, 'fixed', null] }], '': true });
  });

  test('keep the order of their keys', () => {
    expect(JSON.stringify(render({ z: '${{ a }}', a: 1, m: '${{ a }}' }))).toBe('{"z":"A","a":1,"m":"A"}');
  });

  test('what is fixed in them is handed on as it is', () => {
    const shared = { fixed: [1, 2, 3] };
    const value = render({ shared, changing: '${{ a }}' }) as { readonly shared: unknown };
    expect(value.shared).toBe(shared);
  });
});

describe('a template', () => {
  test('tells what it reads', () => {
    const template = compiled({
      a: '${{ trigger.n }}',
      b: ['x ${{ steps.s.output }} ${{ steps["t-u"].output }}'],
    });
    expect([...template.names]).toEqual(['trigger', 'steps']);
    expect([...template.stepIds]).toEqual(['s', 't-u']);
    expect(template.isConstant).toBe(false);
  });

  test.each<[value: JsonValue, rendered: JsonValue]>([
    ['text', 'text'],
    [{ a: [1, null, { b: 'c' }] }, { a: [1, null, { b: 'c' }] }],
    [{ a: ['$${{ x }}'] }, { a: ['${{ x }}'] }],
    [5, 5],
    [null, null],
    [[], []],
    [{}, {}],
  ])('%j is constant', (value, rendered) => {
    const template = compiled(value);
    expect(template.isConstant).toBe(true);
    expect(template.render({})).toEqual(rendered);
  });

  test('a constant one is the value itself', () => {
    const value = { a: [1, { b: 'c' }] };
    expect(compiled(value).render({})).toBe(value);
  });

  test('any text without ${{ stays as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        fc.pre(!text.includes('${{'));
        expect(compiled(text).render({})).toBe(text);
      }),
    );
  });

  test('any JSON without ${{ stays as it is', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (json) => {
        fc.pre(!JSON.stringify(json).includes('${{'));
        expect(compiled(json as JsonValue).render({})).toBe(json);
      }),
    );
  });

  test('any text is literal once each ${{ is written $${{', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom('${{', '$', '{', '}}', '${', '{{'));
    fc.assert(
      fc.property(
        fc.array(piece).map((pieces) => pieces.join('')),
        (text) => {
          const escaped = text.replaceAll('${{', () => '$${{');
          expect(compiled(escaped).render({})).toBe(text);
        },
      ),
    );
  });

  test('fails as its expressions do', () => {
    expect(() => render('x ${{ trigger.missing }}')).toThrow(ExpressionError);
    expect(() => render({ a: ['${{ 1.0 / 0.0 }}'] })).toThrow(/Infinity/);
  });
});

describe('problems', () => {
  test.each<[value: JsonValue, path: readonly (string | number)[], offset: number, message: RegExp]>([
    ['${{ a', [], 0, /never closed/],
    ['x ${{ "}}', [], 2, /never closed/],
    ['${{ a }} and ${{ {"b": 1 }', [], 13, /never closed/],
    ['${{ }}', [], 3, /empty/],
    ['x ${{ nope }}', [], 6, /no name `nope`/],
    ['${{ a }} ${{ a + }}', [], 17, /the end/],
    [{ x: ['ok', { y: '${{ nope }}' }] }, ['x', 1, 'y'], 4, /no name/],
    [{ 'k ${{ a }}': 1 }, ['k ${{ a }}'], 2, /key cannot hold/],
    [['${{ "a" + 1 }}'], [0], 4, /does not work/],
  ])('%j', (value, path, offset, message) => {
    expect(problems(value)).toEqual([
      { path, offset, message: expect.stringMatching(message) as string, fix: expect.any(String) as string },
    ]);
  });

  test('of all strings are listed at once', () => {
    expect(problems(['${{ x1 }}', '${{ x2 }} ${{ x3 }}', '${{']).map(({ path }) => path)).toEqual([
      [0],
      [1],
      [1],
      [2],
    ]);
  });

  test('a value that nests too deeply is one', () => {
    let value: JsonValue = '${{ a }}';
    for (let i = 0; i < 101; i++) value = [value];
    expect(problems(value)[0]?.message).toMatch(/nests too deeply/);
  });
});

test('scanning takes linear time', () => {
  const start = performance.now();
  for (const text of [
    '${{ "'.repeat(20_000),
    '${{ a }}'.repeat(50_000),
    '$${{'.repeat(100_000),
    '${{ {'.repeat(50_000),
  ]) {
    scanTemplate(text);
  }
  expect(performance.now() - start).toBeLessThan(1000);
});
