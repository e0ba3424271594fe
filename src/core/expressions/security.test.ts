import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../json.ts';
import { compileExpression } from './compile.ts';
import { compileTemplate } from './template.ts';
import { ExpressionError } from './types.ts';
import { setOwn } from './values.ts';

const names = ['trigger', 'steps'];

/** What a save or a run makes of a source: its value, or how it was refused. */
function outcome(source: string, scope: Record<string, unknown>): unknown {
  const compiled = compileExpression(source, { names });
  if (!compiled.ok) return 'refused';
  try {
    return compiled.value.evaluate(scope);
  } catch (error) {
    if (error instanceof ExpressionError) return error.code;
    throw error;
  }
}

/** Pieces of CEL, so that random texts get past the first character. */
const TOKENS = [
  'trigger',
  '.',
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '"a"',
  "'",
  '1',
  '2.5',
  '+',
  '-',
  '==',
  '&&',
  '||',
  '?',
  ':',
  ',',
  '!',
  'in',
  'map',
  'x',
  'has',
  ' ',
  'size',
  'b"a"',
  'r"\\"',
  '//',
  '\n',
  '5u',
  'null',
  'true',
  'cel.bind',
  'optional.of',
] as const;

describe('S02: expressions reach data only', () => {
  const scope = { trigger: { body: { text: 'a', list: [1], object: {}, n: 1 } } };
  const roots = [
    'trigger',
    'trigger.body',
    'trigger.body.list',
    'trigger.body.object',
    '{}',
    '{"a": 1}',
    '[1]',
  ];
  const keys = [
    'constructor',
    '__proto__',
    'prototype',
    'toString',
    'valueOf',
    'hasOwnProperty',
    '__defineGetter__',
    '__lookupGetter__',
    'length',
    'map',
  ];

  test.each(roots.flatMap((root) => keys.map((key) => [root, key])))('%s has no %s', (root, key) => {
    for (const source of [
      `${root}.${key}`,
      `${root}["${key}"]`,
      `${root}["${key.slice(0, 3)}" + "${key.slice(3)}"]`,
    ]) {
      expect(['refused', 'expression_error'], source).toContain(outcome(source, scope));
    }
    expect(outcome(`has(${root}.${key})`, scope)).not.toBe(true);
    expect(outcome(`${root}.?${key}.hasValue()`, scope)).not.toBe(true);
    expect(outcome(`"${key}" in ${root}`, scope)).not.toBe(true);
  });

  test.each([
    'this.constructor.constructor("return process")()',
    'trigger.constructor.constructor("return process")()',
    '"".constructor',
    '(1).constructor',
    'trigger.body.text.constructor',
    'trigger.body.n.constructor',
    'size.constructor',
    'constructor',
    '__proto__',
    'globalThis',
    'process.env',
    'require("fs")',
    'import("fs")',
    'Error.prepareStackTrace',
    'Function("return 1")()',
    'eval("1")',
    '`${1}`',
    '{get a() { return 1 }}',
    '{["a"]: 1}',
    '(() => 1)()',
    'function() {}',
    'trigger.body.list.map(x, x.constructor)',
    'trigger.body.list.map(constructor, constructor.constructor)',
    '[].constructor',
    '{}.constructor.constructor',
    'b"a".constructor',
    'b"a".buffer',
    'timestamp(0).constructor',
    'duration("1s").nanos',
    'optional.of(1).constructor.hasValue() ? 1 : trigger.no',
    'type(1).constructor',
    'type(1).name',
    'timestamp(0).getTime()',
    'trigger.body.list.constructor.prototype',
  ])('%s is refused', (source) => {
    expect(['refused', 'expression_error']).toContain(outcome(source, scope));
  });

  test('objects of the host in scope are not read', () => {
    class Host {
      secret = 'x';
      get own(): string {
        return 'y';
      }
    }
    const host = { trigger: new Host() as unknown, steps: { f: () => 1, map: new Map([['a', 1]]) } };
    expect(outcome('trigger.secret', host)).toBe('expression_error');
    expect(outcome('trigger.own', host)).toBe('expression_error');
    expect(outcome('trigger', host)).toBe('expression_error');
    expect(outcome('steps.f', host)).toBe('expression_error');
    expect(outcome('steps.map.size', host)).toBe('expression_error');
  });
});

describe('S03: values are never evaluated', () => {
  const hostile = [
    '{{7*7}}',
    '${{ 7*7 }}',
    '<%=7*7%>',
    '#{7*7}',
    '$${{ x }}',
    '${{',
    '}}',
    '"}} ${{ 1',
    '$&',
    '$1',
  ];

  test.each(hostile)('%s stays as it is', (text) => {
    const scope = { trigger: { body: text } };
    const template: JsonValue = {
      whole: '${{ trigger.body }}',
      part: 'a ${{ trigger.body }} b',
      list: ['${{ [trigger.body, trigger.body] }}'],
      shown: '${{ {"k": trigger.body} }}!',
    };
    const first = rendered(template, scope);
    const expected = {
      whole: text,
      part: `a ${text} b`,
      list: [[text, text]],
      shown: `${JSON.stringify({ k: text })}!`,
    };
    expect(first).toEqual(expected);
    // Three steps, each handing on what the one before gave.
    let value: JsonValue = text;
    for (let i = 0; i < 3; i++) value = rendered('${{ trigger.body }}', { trigger: { body: value } });
    expect(value).toBe(text);
  });

  test('any text goes through a template unchanged', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom(...hostile));
    fc.assert(
      fc.property(
        fc.array(piece).map((parts) => parts.join('')),
        (text) => {
          expect(rendered('<${{ trigger.body }}>', { trigger: { body: text } })).toBe(`<${text}>`);
        },
      ),
    );
  });
});

describe('S06: nothing pollutes a prototype', () => {
  const parsed = JSON.parse(
    '{"__proto__": {"x": 1}, "constructor": {"prototype": {"x": 1}}, "a.b": 2}',
  ) as JsonValue;

  test('dangerous keys are data like any other', () => {
    const scope = { trigger: { body: parsed } };
    expect(JSON.stringify(outcome('trigger.body', scope))).toBe(JSON.stringify(parsed));
    expect(outcome('trigger.body.__proto__.x', scope)).toBe(1);
    expect(outcome('trigger.body.constructor.prototype.x', scope)).toBe(1);
    expect(outcome('trigger.body["a.b"]', scope)).toBe(2);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  test.each([
    '{"__proto__": {"x": 1}}',
    '{"__" + "proto__": {"x": 1}}',
    'fromJson("{\\"__proto__\\": {\\"x\\": 1}}")',
    '{"constructor": {"prototype": {"x": 1}}}',
    '[trigger.body].map(b, {"__proto__": b, "d": timestamp(0)})[0]',
  ])('%s makes an own key', (source) => {
    const value = outcome(source, { trigger: { body: parsed } }) as Record<string, unknown>;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)[0]).toMatch(/^(__proto__|constructor)$/);
    expect(value['x']).toBeUndefined();
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  test('no setter of the host is called where there is one', () => {
    let calls = 0;
    const prototype = Object.defineProperty({}, '__proto__', {
      set() {
        calls += 1;
      },
    });
    const target = Object.create(prototype) as Record<string, unknown>;
    setOwn(target, '__proto__', { x: 1 });
    expect(calls).toBe(0);
    expect(Object.keys(target)).toEqual(['__proto__']);
  });

  test('templates keep such keys as data', () => {
    const template = JSON.parse(
      '{"__proto__": "${{ trigger.body }}", "a": {"__proto__": {"x": "$${{"}}}',
    ) as JsonValue;
    const value = rendered(template, { trigger: { body: { x: 1 } } }) as Record<string, unknown>;
    expect(JSON.stringify(value)).toBe('{"__proto__":{"x":1},"a":{"__proto__":{"x":"${{"}}}');
    expect(value['x']).toBeUndefined();
  });
});

describe('whatever the data', () => {
  const json = fc.jsonValue({ maxDepth: 5 });
  const sources = [
    'trigger.a.b',
    'trigger[0]',
    'trigger[steps]',
    'trigger + steps',
    'trigger - steps',
    'trigger < steps',
    'trigger == steps',
    'trigger in steps',
    'steps.map(x, trigger[x])',
    'trigger.exists(x, x == steps) || steps',
    'size(trigger) > size(steps) ? trigger : steps',
    'string(trigger) + string(steps)',
    'timestamp(trigger) - duration(steps)',
    'trigger.matches(steps)',
    'trigger.split(steps).join(trigger)',
    'trigger.replace(steps, trigger)',
    'trigger.substring(steps)',
    'trigger.format(steps)',
    'fromJson(toJson(trigger)) == trigger',
    'int(trigger) / int(steps)',
    'bytes(trigger) + bytes(steps)',
    'timestamp(trigger).getHours(steps)',
    'trigger.?a.?b.orValue(steps)',
    '{trigger: steps}',
    '-trigger',
    '!trigger',
    'type(trigger)',
  ].map((source) => {
    const compiled = compileExpression(source, { names });
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
    return compiled.value;
  });

  test('evaluation gives JSON or throws an ExpressionError', () => {
    fc.assert(
      fc.property(json, json, fc.constantFrom(...sources), (trigger, steps, expression) => {
        try {
          const value = expression.evaluate({ trigger, steps });
          expect(JSON.parse(JSON.stringify(value))).toEqual(normalized(value));
        } catch (error) {
          if (!(error instanceof ExpressionError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('any text compiles or has problems', () => {
    const token = fc.constantFrom(...TOKENS);
    const source = fc.oneof(
      fc.string(),
      fc.array(token, { maxLength: 30 }).map((tokens) => tokens.join('')),
    );
    fc.assert(
      fc.property(source, (text) => {
        const compiled = compileExpression(text, { names });
        if (!compiled.ok) {
          expect(compiled.problems.length).toBeGreaterThan(0);
          for (const { message, fix, offset } of compiled.problems) {
            expect(message).not.toBe('');
            expect(fix).not.toBe('');
            expect(offset).toBeGreaterThanOrEqual(0);
            expect(offset).toBeLessThanOrEqual(text.length);
          }
          return;
        }
        try {
          compiled.value.evaluate({ trigger: { a: 1 }, steps: [] });
        } catch (error) {
          if (!(error instanceof ExpressionError)) throw error;
        }
      }),
      { numRuns: 5000 },
    );
  });
});

function rendered(template: JsonValue, scope: Record<string, unknown>): JsonValue {
  const compiled = compileTemplate(template, { names });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  return compiled.value.render(scope);
}

/** JSON has no negative zero. */
const normalized = (value: JsonValue): JsonValue =>
  JSON.parse(JSON.stringify(value, (_key, member: unknown) => (member === 0 ? 0 : member))) as JsonValue;
