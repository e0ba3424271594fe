import { Environment } from '@marcbachmann/cel-js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileExpression } from './compile.ts';
import { toJsonValue } from './json-value.ts';

/**
 * The library's own evaluator beside ours, on what both define: its tests follow CEL's conformance suite. What differs
 * on purpose is in docs/expressions.md.
 */
const reference = new Environment({
  unlistedVariablesAreDyn: true,
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
});

const scope = {
  s: 'hello',
  n: 4,
  f: 2.5,
  t: true,
  z: null,
  l: [1, 2, 3],
  m: { a: 1, b: { c: 'x' } },
  users: [
    { name: 'Ann', age: 30, admin: true },
    { name: 'Bob', age: 20 },
  ],
};
const names = Object.keys(scope);

const FAILED = 'failed';

function ours(source: string): unknown {
  const compiled = compileExpression(source, { names });
  if (!compiled.ok) return FAILED;
  try {
    return compiled.value.evaluate(scope);
  } catch {
    return FAILED;
  }
}

function theirs(source: string): unknown {
  try {
    return toJsonValue(reference.evaluate(source, scope));
  } catch {
    return FAILED;
  }
}

describe('agrees with the library on', () => {
  test.each([
    '1 + 2 * 3 - 4',
    '(1 + 2) * 3',
    '7 / 2',
    '-7 / 2',
    '7 % 3',
    '-7 % 3',
    '1 / 0',
    '1 % 0',
    '1.0 / 4.0',
    '9223372036854775807 + 1',
    '-9223372036854775807 - 2',
    '0x1F + 1',
    '1e3',
    '1.5e-3',
    '-n',
    '--n',
    '!t',
    '!!t',
    '1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3',
    '1 < 1.5',
    '"a" < "b"',
    '"a" + "b" + "c"',
    '[1] + [2]',
    'b"ab" + b"c" == b"abc"',
    'b"\\xff"[0]',
    '"\\u00e9\\n\\t\\x41\\101"',
    'r"\\n"',
    '"""a\nb"""',
    "'it\\'s'",
    's == "hello" ? 1 : 2',
    't || z.x',
    'z.x || t',
    'z.x || false',
    'z.x && false',
    'false && z.x',
    'z.x && true',
    '1 || true',
    't && 1',
    'l[0]',
    'l[n]',
    'm.a',
    'm["a"]',
    'm.b.c',
    'm.nope',
    'm.b.nope.c',
    'z.a',
    's.a',
    'm.?a.orValue(5)',
    'm.?nope.orValue(5)',
    'm.?nope.x.y.orValue(5)',
    'm[?"a"].orValue(5)',
    'l[?0].orValue(5)',
    'm.?a.hasValue()',
    'm.?nope.hasValue()',
    'm.?nope.value()',
    'm.?a.value()',
    'm.?nope.or(m.?a).value()',
    'optional.of(1).value()',
    'optional.none().hasValue()',
    'has(m.a)',
    'has(m.nope)',
    'has(m.b.c)',
    'has(m.nope.c)',
    '1 in l',
    '9 in l',
    '"a" in m',
    '"nope" in m',
    '[1, 2] in [[1, 2]]',
    '[1, "a", null] == [1, "a", null]',
    '{"a": 1, "b": [2]} == {"b": [2], "a": 1}',
    '{"a": 1} == {"a": 2}',
    '{"a": 1} == {"b": 1}',
    '{"a": {"b": 1}}',
    'z == null',
    'm == null',
    's == n',
    'n != "4"',
    'l.map(x, x + x)',
    'l.map(x, x > 1.0, x * x)',
    'l.filter(x, x > 1.0)',
    'l.all(x, x > 0.0)',
    'l.exists(x, x > 2.0)',
    'l.exists_one(x, x > 2.0)',
    'l.exists_one(x, x > 1.0)',
    'users.exists(u, u.admin)',
    'users.exists(u, u.nope == 1)',
    'users.all(u, u.admin)',
    'users.all(u, u.age > 25.0)',
    'users.map(u, u.name)',
    'users.filter(u, has(u.admin)).map(u, u.name).join("-")',
    'm.map(k, k)',
    'm.exists(k, k == "b")',
    'l.map(x, l.map(y, x * y))',
    'l.map(x, l.filter(x, x > 1.0))',
    '1.map(x, x)',
    's.map(x, x)',
    'cel.bind(x, n + n, x * x)',
    'size(s) + size(l) + size(m) + s.size()',
    'size(5)',
    's.contains("ell") && s.startsWith("he") && s.endsWith("lo")',
    's.matches("^h.*o$")',
    's.matches("x")',
    's.indexOf("l")',
    's.indexOf("l", 3)',
    's.indexOf("zz")',
    's.lastIndexOf("l")',
    's.substring(1)',
    's.substring(1, 3)',
    's.substring(3, 1)',
    's.substring(9)',
    's.upperAscii().lowerAscii()',
    '"  a ".trim()',
    '"a,b,c".split(",")',
    '"a,b,c".split(",", 2)',
    '"a,b,c".split(",", 0)',
    '["a", "b"].join()',
    '["a", "b"].join(", ")',
    '["a", 1].join()',
    'string(1) + string(1.5) + string(true) + string("x") + string(b"y")',
    'string(n)',
    'int("42") + int(4.9) + int(-4.9)',
    'int("x")',
    'double("1.5") + double(1)',
    'double("x")',
    'bool("true") && !bool("f")',
    'bool("x")',
    'bytes("é").size()',
    'b"abc".hex() + b"abc".base64()',
    'type(1) == int && type(1.0) == double && type("") == string && type([]) == list',
    'type({}) == map && type(null) == null_type && type(true) == bool && type(b"") == bytes',
    'type(type(1)) == type',
    'type(timestamp("2026-01-01T00:00:00Z")) == google.protobuf.Timestamp',
    'timestamp("2026-01-01T00:00:00Z")',
    'timestamp("2026-01-01T00:00:00.5+02:00")',
    'timestamp("nope")',
    'timestamp(1767225600) == timestamp("2026-01-01T00:00:00Z")',
    'timestamp("2026-01-02T03:04:05.678Z").getFullYear()',
    'timestamp("2026-03-02T03:04:05.678Z").getMonth()',
    'timestamp("2026-01-02T03:04:05.678Z").getDate()',
    'timestamp("2026-01-02T03:04:05.678Z").getDayOfMonth()',
    'timestamp("2026-01-02T03:04:05.678Z").getDayOfWeek()',
    'timestamp("2026-01-02T03:04:05.678Z").getHours()',
    'timestamp("2026-01-02T03:04:05.678Z").getMinutes()',
    'timestamp("2026-01-02T03:04:05.678Z").getSeconds()',
    'timestamp("2026-01-02T03:04:05.678Z").getMilliseconds()',
    'timestamp("2026-07-01T23:30:00Z").getHours("Europe/Berlin")',
    'timestamp("2026-07-01T23:30:00Z").getDate("Asia/Tokyo")',
    'timestamp("2026-07-01T23:30:00Z").getMonth("America/New_York")',
    'timestamp("2026-01-02T00:00:00Z") - timestamp("2026-01-01T00:00:00Z") == duration("24h")',
    'timestamp("2026-01-01T00:00:00Z") + duration("90m") > timestamp("2026-01-01T01:00:00Z")',
    'timestamp("2026-01-01T00:00:00Z") - duration("1s") < timestamp("2026-01-01T00:00:00Z")',
    'duration("1h30m").getMinutes()',
    'duration("1h30m").getHours()',
    'duration("90s").getSeconds()',
    'duration("1500ms").getMilliseconds()',
    'duration("1h") + duration("30m") == duration("90m")',
    'duration("1.5h") > duration("1h")',
    'duration("x")',
  ])('%s', (source) => {
    expect(ours(source)).toEqual(theirs(source));
  });

  test('arithmetic, comparisons and conditions of any shape', () => {
    const { number, condition } = fc.letrec<{ number: string; condition: string }>((tie) => ({
      number: fc.oneof(
        { maxDepth: 4 },
        fc.integer({ min: -50, max: 50 }).map(String),
        fc.constantFrom('size(s)', 'size(l)', '9223372036854775800'),
        fc
          .tuple(tie('number'), fc.constantFrom('+', '-', '*', '/', '%'), tie('number'))
          .map(([left, op, right]) => `(${left} ${op} ${right})`),
        fc.tuple(tie('condition'), tie('number'), tie('number')).map(([c, a, b]) => `(${c} ? ${a} : ${b})`),
      ),
      condition: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('t', 'true', 'false', 'has(m.a)', 'm.nope', '(1 / 0 > 1)'),
        fc
          .tuple(tie('number'), fc.constantFrom('==', '!=', '<', '<=', '>', '>='), tie('number'))
          .map(([left, op, right]) => `(${left} ${op} ${right})`),
        fc
          .tuple(tie('condition'), fc.constantFrom('&&', '||'), tie('condition'))
          .map(([left, op, right]) => `(${left} ${op} ${right})`),
        tie('condition').map((inner) => `!${inner}`),
        fc
          .tuple(fc.constantFrom('all', 'exists', 'exists_one'), tie('condition'))
          .map(([macro, inner]) => `l.${macro}(x, x > 1.0 || ${inner})`),
      ),
    }));
    fc.assert(
      fc.property(fc.oneof(number, condition), (source) => {
        expect(ours(source)).toEqual(theirs(source));
      }),
      { numRuns: 2000 },
    );
  });
});
