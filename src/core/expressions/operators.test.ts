import { describe, expect, test } from 'vitest';
import { compileExpression } from './compile.ts';
import { createFrame } from './frame.ts';
import { KIND, kindOf } from './kinds.ts';
import { BINARY_OPERATORS, type BinaryOp, resultKinds } from './operators.ts';
import { DEFAULT_LIMITS, ExpressionError } from './types.ts';
import { CelType, Duration, Optional } from './values.ts';

/** One value of each kind, so chosen that no operator fails for its value. */
const SAMPLES: Readonly<Record<keyof typeof KIND, unknown>> = {
  null: null,
  bool: true,
  int: 2n,
  double: 1.5,
  string: 'a',
  bytes: new Uint8Array([1]),
  list: [1],
  map: { a: 1 },
  timestamp: new Date(0),
  duration: new Duration(1n),
  type: new CelType('int'),
  optional: Optional.of(1),
};

test('every kind has its sample', () => {
  for (const [name, sample] of Object.entries(SAMPLES)) {
    expect(kindOf(sample)).toBe(KIND[name as keyof typeof KIND]);
  }
});

describe('the check at save and the run take the same operands', () => {
  const frame = createFrame({}, DEFAULT_LIMITS);
  const samples = Object.values(SAMPLES);

  test.each(Object.keys(BINARY_OPERATORS) as BinaryOp[])('%s', (op) => {
    const operator = BINARY_OPERATORS[op];
    for (const left of samples) {
      for (const right of samples) {
        const kinds = resultKinds(operator, kindOf(left), kindOf(right));
        const label = `${kindOf(left)} ${op} ${kindOf(right)}`;
        let result: unknown;
        try {
          result = operator.apply(frame, left, right);
        } catch (error) {
          // A key that cannot be one.
          if (!(error instanceof ExpressionError)) throw error;
        }
        if (result === undefined) expect(kinds, label).toBe(0);
        else expect(kinds & kindOf(result), label).toBe(kindOf(result));
      }
    }
  });
});

describe('numbers of JSON and of CEL together', () => {
  const scope = { n: 21, half: 0.5, big: 2 ** 53 - 1, list: [10, 20, 30], zero: 0, minus: -7 };
  const names = Object.keys(scope);

  function evaluate(source: string): unknown {
    const compiled = compileExpression(source, { names });
    if (!compiled.ok) return compiled.problems[0]?.message;
    try {
      return compiled.value.evaluate(scope);
    } catch (error) {
      if (error instanceof ExpressionError) return error.code;
      throw error;
    }
  }

  test.each<[source: string, value: unknown]>([
    ['n * 2', 42],
    ['2 * n', 42],
    ['n / 2', 10.5],
    ['n % 2', 1],
    ['minus % 4', -3],
    ['minus / 2', -3.5],
    ['-7 / 2', -3],
    ['n + 1 == 22', true],
    ['n == 21 && 21 == n && n != 22', true],
    ['n > 20 && 20 < n && n >= 21 && 21 <= n', true],
    ['n in [20, 21]', true],
    ['20 in list', true],
    ['list[n - 20]', 20],
    ['list[1]', 20],
    ['list[half]', 'expression_error'],
    ['size(list) * n', 63],
    ['size(list) > 2', true],
    ['size(list) / 2', 1],
    ['size(list) / 2.0', 1.5],
    ['string(21.0) + string(n) + string(half)', '21210.5'],
    ['big', 9_007_199_254_740_991],
    ['9007199254740991', 9_007_199_254_740_991],
    ['9007199254740992', 'expression_error'],
    ['-9007199254740992', 'expression_error'],
    ['string(9007199254740993)', '9007199254740993'],
    ['9007199254740993 == 9007199254740992.0', false],
    ['n / 0', 'expression_error'],
    ['zero / 0', 'expression_error'],
    ['n / 0 > 1', true],
    ['21 / 0', 'expression_error'],
    ['n % 0', 'expression_error'],
    ['zero * -1', 0],
    ['1e300 * n', 1e300 * 21],
    ['1e308 * 10', 'expression_error'],
    ['[n, 1.0, 2]', [21, 1, 2]],
    ['{"a": n / 7}', { a: 3 }],
    ['5u + 1', 6],
    ['uint(n) == 21', true],
    ['uint(-1)', 'expression_error'],
    ['int(n) / 2', 10],
    ['int(half)', 0],
    ['double(7) / 2', 3.5],
  ])('%s', (source, value) => {
    expect(evaluate(source)).toStrictEqual(value);
  });
});
