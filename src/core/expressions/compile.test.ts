import { describe, expect, test } from 'vitest';
import { compileExpression } from './compile.ts';
import { type Expression, ExpressionError, type ExpressionProblem } from './types.ts';

const names = ['trigger', 'steps', 'config'];

function compiled(source: string): Expression {
  const result = compileExpression(source, { names });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.value;
}

function problems(source: string): readonly ExpressionProblem[] {
  const result = compileExpression(source, { names });
  return result.ok ? [] : result.problems;
}

function failure(source: string, scope: Record<string, unknown>): ExpressionError {
  try {
    compiled(source).evaluate(scope);
  } catch (error) {
    if (error instanceof ExpressionError) return error;
    throw error;
  }
  throw new Error(`${source} did not fail`);
}

describe('what an expression reads', () => {
  test.each([
    ['trigger.body.a + config.b', ['trigger', 'config'], []],
    ['steps.a.output + steps["b-c"].output', ['steps'], ['a', 'b-c']],
    ['has(steps.a) && has(steps["b"])', ['steps'], ['a', 'b']],
    ['steps.?a.output.orValue(steps[?"b"])', ['steps'], ['a', 'b']],
    ['[1].map(steps, steps.a)', [], []],
    ['[1].map(x, steps.a.output[x])', ['steps'], ['a']],
    ['cel.bind(trigger, 1, trigger + 1)', [], []],
    ['1 + 2', [], []],
    ['{"trigger": "steps.a"}', [], []],
  ])('%s', (source, expectedNames, expectedSteps) => {
    const expression = compiled(source);
    expect([...expression.names]).toEqual(expectedNames);
    expect([...expression.stepIds]).toEqual(expectedSteps);
    expect(expression.source).toBe(source);
  });

  test('a variable of a macro hides a name only inside the macro', () => {
    const expression = compiled('[1].map(trigger, trigger + 1) + [trigger.n]');
    expect([...expression.names]).toEqual(['trigger']);
    expect(expression.evaluate({ trigger: { n: 5 } })).toEqual([2, 5]);
  });
});

describe('problems found when a workflow is saved', () => {
  const rows: readonly (readonly [source: string, offset: number, message: RegExp, fix: RegExp])[] = [
    ['', 0, /empty/, /write a CEL expression/],
    ['   ', 0, /empty/, /write/],
    ['tigger.body', 0, /no name `tigger`/, /config, steps, trigger/],
    ['1 + nope', 4, /no name `nope`/, /trigger/],
    ['steps.find-user.output', 11, /no name `user`/, /steps\["my-step"\]/],
    ['[1].map(x, y)', 11, /no name `y`/, /trigger/],
    ['x + [1].map(x, x)[0]', 0, /no name `x`/, /trigger/],
    ['trigger.body = 1', 13, /`=` does not belong/, /==/],
    ['trigger.body === 1', 15, /`=/, /==/],
    ['trigger.a and trigger.b', 10, /`and` does not belong/, /&&/],
    ['trigger.a or true', 10, /`or` does not belong/, /\|\|/],
    ['not trigger.a', 4, /`trigger` does not belong/, /write ! for/],
    ['trigger.a & true', 10, /`&` does not belong/, /&&/],
    ['`a`', 0, /does not belong/, /strings with/],
    ['${{ trigger.a }}', 0, /does not belong/, /names stand alone/],
    ['(1 + 2', 6, /expected "\)", got the end/, /brackets/],
    ['"abc', 0, /unterminated string/i, /quotes/],
    ['1 +', 3, /unexpected token: the end/, /brackets/],
    ['trigger.body.lower()', 0, /no function lower\(\)/, /lowerAscii\(\)/],
    ['size(1, 2)', 0, /cannot be called like this/, /size\(…\)/],
    ['startsWith(trigger.a, "b")', 0, /cannot be called like this/, /value\.startsWith\(…\)/],
    ['nope(1)', 0, /no function nope/, /size, split/],
    ['"a" + 1', 0, /`\+` does not work on a string and an int/, /string\(/],
    ['1 + 2 + "a"', 0, /on an int and a string/, /string\(/],
    ['"a" < 1', 0, /`<` does not work/, /double\(/],
    ['1 in "abc"', 0, /`in` does not work/, /contains/],
    ['!size(trigger.a)', 1, /boolean is needed here, not an int/, /compare it/],
    ['"a" && true', 0, /boolean is needed/, /compare/],
    ['1 ? 2 : 3', 0, /boolean is needed/, /compare/],
    ['trigger.?a && true', 9, /boolean is needed here, not an optional/, /orValue\(false\)/],
    ['-"a"', 0, /`-` does not work on a string/, /numbers/],
    ['"a".b', 4, /a string has no key `b`/, /objects/],
    ['"a"[0]', 0, /a string has no members/, /lists and objects/],
    ['"abc".size().map(x, x)', 0, /loop over lists and objects, not over an int/, /list/],
    ['[1].map(x.y, x)', 10, /invalid predicate iteration variable/, /brackets/],
    ['[1].filter(x, "a")', 14, /condition is a string, not a boolean/, /compare/],
    ['size(5)', 5, /size\(\) needs a string, bytes, a list or an object here/, /give it/],
    ['"a".startsWith(1)', 15, /startsWith\(\) needs a string here, not an int/, /string\(/],
    ['trigger.a.matches("(")', 18, /no RE2 pattern.*missing closing/, /mend/],
    ['trigger.a.matches("(?=x)")', 18, /no RE2 pattern/, /mend/],
    ['matches(trigger.a, "\\\\1")', 19, /no RE2 pattern/, /mend/],
    ['trigger.a.matches("\\\\pL{1000}\\\\pL{1000}")', 18, /too large/, /mend/],
    ['duration("soon")', 9, /needs a text like "1h30m"/, /mend/],
    ['timestamp("2026-02-31T00:00:00Z")', 10, /RFC 3339/, /mend/],
    ['timestamp("2026-01-01T00:00:00")', 10, /RFC 3339/, /mend/],
    ['{null: 1}', 1, /a key cannot be null/, /strings/],
    ['has(trigger)', 0, /has\(\) tests for a key/, /has\(trigger\.body\.key\)/],
    ['trigger.a.orValue(1).or(2).b.c("d")', 0, /no function c/, /size/],
    ['9223372036854775808', 0, /beyond 64 bits/, /fraction/],
    ['{get a() {}}', 5, /./, /brackets/],
    ['new Date()', 4, /does not belong/, /./],
    ['() => 1', 1, /unexpected token/, /./],
    [`[${'1,'.repeat(1001)}]`, 2001, /more than 1000 items in a list/, /split/],
    [`${'1+'.repeat(8000)}1`, 0, /more than 8000 names/, /split/],
    ['('.repeat(200), 100, /nested too deeply/, /cel\.bind/],
    ['!'.repeat(16_000), 0, /nested too deeply/, /cel\.bind/],
    [`1${'-1'.repeat(500)}`, 0, /nested too deeply/, /cel\.bind/],
    ['x'.repeat(20_000), 16_384, /20000 characters long; 16384 are allowed/, /split/],
  ];
  const titled = rows.map(([source, ...rest]) => [source.slice(0, 40), source, ...rest] as const);

  test.each(titled)('%j', (_title, source, offset, message, fix) => {
    const [first] = problems(source);
    expect(first).toMatchObject({
      message: expect.stringMatching(message) as string,
      fix: expect.stringMatching(fix) as string,
    });
    expect(first?.offset).toBe(offset);
  });

  test('all of them are listed, a name once, twenty at most', () => {
    expect(problems('[nope, 1 + "a", other, nope]').map(({ offset }) => offset)).toEqual([1, 7, 16]);
    expect(problems(`[${'1 + "a",'.repeat(30)}]`)).toHaveLength(20);
  });

  test('long chains of operators are no nesting', () => {
    expect(compiled(`0${'+1'.repeat(3000)}`).evaluate({})).toBe(3000);
    expect(compiled(`${'false||'.repeat(1500)}true`).evaluate({})).toBe(true);
  });
});

describe('failures of a run', () => {
  const scope = {
    trigger: { text: 'x'.repeat(500), n: 1, list: [1, 2], nothing: null, object: {}, bad: 'p'.repeat(500) },
  };

  test.each<[source: string, message: RegExp]>([
    [
      'trigger.coupon',
      /^`trigger\.coupon` is missing: `trigger` has no key `coupon`\. Test it with has\(trigger\.coupon\), or write trigger\.\?coupon\.orValue\(\.\.\.\)\.$/,
    ],
    ['trigger.nothing.x', /`trigger\.nothing` is null, which has no key `x`/],
    [
      'trigger["x-y"]',
      /has no key `x-y`\. Test it with has\(trigger\["x-y"\]\), or write trigger\[\?"x-y"\]/,
    ],
    ['trigger.list.length', /is a list: its length is size\(trigger\.list\)/],
    ['trigger.list[2]', /`trigger\.list\[2\]` is missing: the list has 2 items/],
    ['trigger.list[-1]', /`trigger\.list\[-1\]` is missing/],
    ['trigger.list["a"]', /`trigger\.list` is a list, which has no key `a`/],
    ['trigger.list[0.5]', /index must be a whole number/],
    ['trigger.list[trigger.text]', /index must be a whole number, got a string/],
    ['trigger.object[trigger.n]', /the object has no key `1`/],
    ['trigger.text[0]', /Use substring\(\) for strings/],
    [
      'trigger.text + trigger.n',
      /`\+` does not work on a string and a number\. Convert the number with string\(\.\.\.\)/,
    ],
    ['trigger.nothing + 1', /Test for null first/],
    ['trigger.n && true', /`trigger\.n` is a number\. Compare it/],
    ['trigger.list.map(x, trigger.n.y)', /`trigger\.n` is a number, which has no key/],
    ['trigger.list.filter(x, x)', /condition `x` is a number, not a boolean/],
    ['trigger.n.map(x, x)', /`trigger\.n` is a number/],
    ['trigger.?n.map(x, x)', /./],
    [
      'trigger.nothing.startsWith("a")',
      /startsWith\(\) needs a string: `trigger\.nothing` is null\. Test it first/,
    ],
    ['int(trigger.text)', /int\(\) needs a whole number/],
    ['trigger.?zip.value()', /the optional has no value/i],
    ['trigger.text.matches(trigger.bad + "(")', /no RE2 pattern/],
    ['steps.a', /`steps` has no value here/],
    ['9223372036854775807 + 1', /overflows 64 bits/],
    ['trigger.n * 1e308 * 10.0', /cannot hold Infinity/],
    ['double("nan")', /double\(\) needs a number/],
  ])('%s', (source, message) => {
    const result = compileExpression(source, { names });
    if (!result.ok) return expect(result.problems[0]?.message).toMatch(message);
    const error = failure(source, scope);
    expect(error.code).toBe('expression_error');
    expect(error.message).toMatch(message);
    return undefined;
  });

  test('no message carries more than 100 characters of a payload in one piece', () => {
    const sources = [
      'trigger.object[trigger.text]',
      'int(trigger.text)',
      'double(trigger.text)',
      'bool(trigger.text)',
      'timestamp(trigger.text)',
      'duration(trigger.text)',
      'fromJson(trigger.text)',
      '"a".matches("(" + trigger.text)',
      'timestamp(0).getHours(trigger.text)',
      'trigger.text - 1',
    ];
    for (const source of sources) {
      const { message } = failure(source, scope);
      expect(message, source).not.toMatch(/x{101}/);
    }
  });
});

describe('evaluation', () => {
  test('gives the same value for the same scope, and leaves the scope alone', () => {
    const scope = { trigger: { items: [{ n: 2 }, { n: 1 }] } };
    const before = structuredClone(scope);
    const expression = compiled('trigger.items.map(i, i.n * 2).filter(n, n > 2)');
    expect(expression.evaluate(scope)).toEqual([4]);
    expect(expression.evaluate(scope)).toEqual([4]);
    expect(scope).toEqual(before);
  });

  test('a failed run leaves nothing behind for the next', () => {
    const expression = compiled('trigger.items.map(i, i.n)');
    expect(() => expression.evaluate({ trigger: { items: [{ n: 1 }, {}] } })).toThrow(ExpressionError);
    expect(expression.evaluate({ trigger: { items: [{ n: 1 }] } })).toEqual([1]);
  });

  test('passes data through without copying it', () => {
    const body = { deep: [{ a: 1 }] };
    expect(compiled('trigger.body').evaluate({ trigger: { body } })).toBe(body);
  });

  test('reads only the branch it takes', () => {
    expect(compiled('true ? 1 : trigger.missing.key').evaluate({})).toBe(1);
    expect(compiled('optional.of(1).orValue(trigger.missing)').evaluate({})).toBe(1);
  });
});
