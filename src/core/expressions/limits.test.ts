import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../json.ts';
import { compileExpression } from './compile.ts';
import { toExpressionError } from './failure.ts';
import { compileTemplate } from './template.ts';
import { DEFAULT_LIMITS, ExpressionError, type ExpressionLimits } from './types.ts';

const names = ['a', 'b', 'long', 'small', 'many', 'mixed', 'patterns', 'bits', 'deep'];

/** Flat strings, as JSON.parse makes them. */
const flat = (text: string): string => JSON.parse(JSON.stringify(text)) as string;

/** Pseudo-random, so that an automaton meets a new state at each character. */
function randomBits(length: number): string {
  let state = 1;
  const bits = Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return ((state >>> 16) & 1) === 1 ? 'a' : 'b';
  });
  return flat(bits.join(''));
}

let nested: JsonValue = 1;
for (let i = 0; i < 5000; i++) nested = [nested];

/** What a sender can put into 1 MiB at worst. */
const scope = {
  a: flat('a'.repeat(700_000)),
  b: flat(`${'a'.repeat(150_000)}b${'a'.repeat(150_000)}`),
  long: flat('x'.repeat(1_000_000)),
  small: Array.from({ length: 300 }, (_, i) => i),
  many: Array.from({ length: 500_000 }, () => 0),
  mixed: flat('aA'.repeat(500_000)),
  patterns: Array.from({ length: 2000 }, (_, i) => `(?:(?:a?){30}){33}x${i}`),
  bits: randomBits(1_000_000),
  deep: nested,
};

function run(source: string, limits?: ExpressionLimits): JsonValue {
  const compiled = compileExpression(source, { names });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  return compiled.value.evaluate(scope, limits);
}

function codeOf(action: () => unknown): string {
  try {
    action();
    return 'none';
  } catch (error) {
    if (error instanceof ExpressionError) return error.code;
    throw error;
  }
}

/** Nested calls, `depth` of them. */
const nest = (depth: number, wrap: (inner: string) => string, start: string): string =>
  Array.from({ length: depth }).reduce<string>((inner) => wrap(inner), start);

describe('what takes too long or too much is stopped', () => {
  test.each([
    'small.map(x, small.map(y, small.map(z, x * y * z)))',
    'small.exists(x, small.exists(y, small.exists(z, z.missing)))',
    'small.all(x, small.exists(y, small.exists(z, z.missing) || true) || false)',
    'small.exists_one(x, small.exists_one(y, small.exists_one(z, z == 1)))',
    'small.filter(x, small.filter(y, small.filter(z, z > 1) == small) == small)',
    'many.exists(x, x.missing)',
    'many.exists(x, x.missing) || true',
    'true && many.map(x, x + 1).size() > 0 || true',
    'many.exists(x, x in many && x > 0)',
    'many.map(x, many == many)',
    '[long].map(a1, a1 + a1).map(b1, b1 + b1).map(c, c + c).map(d, d + d).map(e, e + e).size()',
    'small.map(x, long + long).size()',
    'small.map(x, long + "b" == long + "c")',
    'small.map(x, many + many).size()',
    'a.contains(b)',
    'a.indexOf(b)',
    'a.lastIndexOf(b)',
    'a.split(b)',
    'a.replace(b, "")',
    'small.map(x, long.contains("xxxxxxxxxxb"))',
    'long.replace("x", long)',
    'long.split("")',
    'long.reverse()',
    'small.map(x, mixed.lowerAscii()).size()',
    'bits.matches("[ab]*a[ab]{20}[cd]")',
    'bits.substring(0, 60000).matches("([a-b]?){100}[ab]{100}[cd]")',
    'patterns.exists(p, "a".matches(p))',
    'many.map(x, toJson(small)).size()',
    'many.map(x, "%s%s".format([small, small])).size()',
    'many.map(x, timestamp(0).getHours("Europe/Berlin")).size()',
    `many.map(x, [${'1,'.repeat(900)}1]).size()`,
    `many.map(x, {${Array.from({ length: 500 }, (_, i) => `"k${i}": x`).join(',')}}).size()`,
    nest(30, (inner) => `toJson(${inner})`, '"\\""'),
    nest(18, (inner) => `[${inner}].map(v, [v, v, v, v])[0]`, '"x"'),
    'deep == [deep][0]',
    '[long, long]',
    'long + long',
  ])('%s', (source) => {
    const start = performance.now();
    expect(codeOf(() => run(source))).toBe('expression_limit');
    // Alone it takes 170 ms at most; the machine has other work while tests run. Unlimited, most take seconds.
    expect(performance.now() - start).toBeLessThan(2000);
  });

  test('the clock stops what the steps allow', () => {
    const limits = { ...DEFAULT_LIMITS, timeMs: 20, maxSteps: Number.MAX_SAFE_INTEGER };
    const start = performance.now();
    expect(() => run('small.map(x, small.map(y, small.map(z, x * y * z)))', limits)).toThrow(/20 ms/);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  test('the steps stop at the same place on every machine', () => {
    const source = 'small.map(x, string(x)).join(",").size()';
    // A loop of 300 turns, 300 items joined to 1,089 characters, and those characters counted.
    const [enough] = Array.from({ length: 1000 }, (_, steps) => steps).filter(
      (maxSteps) => codeOf(() => run(source, { ...DEFAULT_LIMITS, maxSteps })) === 'none',
    );
    expect(enough).toBe(1 + 300 + (300 + 35) + 18);
  });

  test('a pattern costs the same when it is known already', () => {
    const steps = (): number =>
      Array.from({ length: 40 }, (_, i) => i * 100).findIndex(
        (maxSteps) =>
          codeOf(() => run('"a".matches(patterns[7])', { ...DEFAULT_LIMITS, maxSteps })) === 'none',
      );
    expect(steps()).toBe(steps());
    expect(steps()).toBeGreaterThan(10);
  });

  test('no operator absorbs a limit', () => {
    const tooLarge = '"%s".format([[long, long]]) == ""';
    for (const source of [
      `${tooLarge} || true`,
      `!(${tooLarge} && false)`,
      `[1, 2].exists(x, x == 2 || ${tooLarge})`,
    ]) {
      expect(
        codeOf(() => run(source)),
        source,
      ).toBe('expression_limit');
    }
  });

  test('comparing does not follow values to any depth', () => {
    expect(() => run('deep == [deep][0]')).toThrow(/nested too deeply to be compared/);
  });

  test('data that nests deeper than a result may is an error', () => {
    expect(codeOf(() => run('deep'))).toBe('expression_error');
  });

  test('bounds of the machine itself count as limits', () => {
    expect(toExpressionError(new RangeError('Maximum call stack size exceeded')).code).toBe(
      'expression_limit',
    );
    expect(toExpressionError(new TypeError('a bug')).code).toBe('expression_error');
  });
});

describe('ordinary work is not', () => {
  test.each<[source: string, value: JsonValue]>([
    ['size(long)', 1_000_000],
    ['long.startsWith("x") && long.endsWith("x")', true],
    ['long.contains("y")', false],
    ['long.matches("^x+y")', false],
    ['size(long.split("y"))', 1],
    ['long == long', true],
    ['size(many)', 500_000],
    ['size(many.filter(x, x == 0)) > 0 || true', true],
    ['size(bits.substring(0, 50000).replace("a", "-").split("-")) > 1', true],
    ['size(small.map(x, small.map(y, x * y)))', 300],
  ])('%s', (source, value) => {
    const limits = source.includes('many.filter') ? { ...DEFAULT_LIMITS, maxSteps: 1_000_000 } : undefined;
    expect(run(source, limits)).toBe(value);
  });

  test('a list of 20,000 items is filtered, mapped and joined', () => {
    const items = Array.from({ length: 20_000 }, (_, i) => ({ id: i, name: `n${i}` }));
    const compiled = compileExpression('a.filter(i, i.id % 2 == 0).map(i, i.name).join(",").size()', {
      names,
    });
    expect(compiled.ok && compiled.value.evaluate({ a: items })).toBe(64_444);
  });
});

describe('the size of a result', () => {
  test('is exact', () => {
    const value = [long(10), { é: '"\n\u0001😀', n: [1.5, true, null, {}] }, []];
    const bytes = Buffer.byteLength(JSON.stringify(value));
    const compiled = compileExpression('a', { names });
    const withBytes = (maxOutputBytes: number) => () =>
      compiled.ok && compiled.value.evaluate({ a: value }, { ...DEFAULT_LIMITS, maxOutputBytes });
    expect(codeOf(withBytes(bytes))).toBe('none');
    expect(codeOf(withBytes(bytes - 1))).toBe('expression_limit');
  });

  test('of a template is that of the whole', () => {
    const template = { k: 'x${{ a }}é', l: ['${{ a }}', 'fixed', { m: '${{ b }}' }], e: {}, f: [] };
    const compiled = compileTemplate(template, { names });
    const render = (maxOutputBytes = DEFAULT_LIMITS.maxOutputBytes): JsonValue =>
      compiled.ok && compiled.value.render({ a: 'ü"', b: [1, 2] }, { ...DEFAULT_LIMITS, maxOutputBytes });
    const bytes = Buffer.byteLength(JSON.stringify(render()));
    expect(codeOf(() => render(bytes))).toBe('none');
    expect(codeOf(() => render(bytes - 1))).toBe('expression_limit');
  });

  test('of the text of a template is bounded while it grows', () => {
    const compiled = compileTemplate('${{ long }}'.repeat(1000), { names });
    expect(codeOf(() => compiled.ok && compiled.value.render(scope))).toBe('expression_limit');
  });

  test('the steps of a template are those of all its expressions', () => {
    const compiled = compileTemplate(
      Array.from({ length: 100 }, () => '${{ small.map(x, x) }}'),
      { names },
    );
    const render = (maxSteps: number) => () =>
      compiled.ok && compiled.value.render(scope, { ...DEFAULT_LIMITS, maxSteps });
    expect(codeOf(render(40_000))).toBe('none');
    expect(codeOf(render(20_000))).toBe('expression_limit');
  });
});

const long = (length: number): string => 'x'.repeat(length);
