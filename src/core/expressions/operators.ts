import { compare, isEqual, isMember } from './equality.ts';
import { fail } from './failure.ts';
import { type Frame, listCost, makeCost, spend } from './frame.ts';
import { ANY, describeKinds, KIND, kindOf, type KindSet, NUMBER } from './kinds.ts';
import { addDuration, makeDuration, millisecondsBetween } from './time.ts';
import { Duration } from './values.ts';

/** Left, right, result. */
export type Signature = readonly [KindSet, KindSet, KindSet];

export interface BinaryOperator {
  /** What it takes; the check at save and the message at run both read this. */
  readonly signatures: readonly Signature[];
  /** Undefined when it does not take these two. */
  readonly apply: (frame: Frame, left: unknown, right: unknown) => unknown;
}

const { bool, int, double, string, bytes, list, map, timestamp, duration } = KIND;

const MAX_INT = 2n ** 63n - 1n;
const MIN_INT = -(2n ** 63n);

/** @throws ExpressionError when `value` leaves the 64 bits of CEL's int. */
export const toInt64 = (value: bigint): bigint =>
  value > MAX_INT || value < MIN_INT ? fail('An int overflows 64 bits.') : value;

type NumberMaths = (left: number, right: number) => number;
type IntMaths = (left: bigint, right: bigint) => bigint;

/** Two ints give an int; any double makes both double: JSON numbers enter as double, literals like `2` as int. */
function arithmetic(
  left: unknown,
  right: unknown,
  numbers: NumberMaths,
  ints: IntMaths,
): number | bigint | undefined {
  if (typeof left === 'bigint') {
    if (typeof right === 'bigint') return toInt64(ints(left, right));
    return typeof right === 'number' ? numbers(Number(left), right) : undefined;
  }
  if (typeof left !== 'number') return undefined;
  if (typeof right === 'number') return numbers(left, right);
  return typeof right === 'bigint' ? numbers(left, Number(right)) : undefined;
}

const ARITHMETIC: readonly Signature[] = [
  [int, int, int],
  [NUMBER, double, double],
  [double, NUMBER, double],
];

const numeric = (numbers: NumberMaths, ints: IntMaths): BinaryOperator => ({
  signatures: ARITHMETIC,
  apply: (_frame, left, right) => arithmetic(left, right, numbers, ints),
});

const nonZero = (divisor: bigint): bigint =>
  divisor === 0n ? fail('An int cannot be divided by zero.') : divisor;

function add(frame: Frame, left: unknown, right: unknown): unknown {
  if (typeof left === 'string' && typeof right === 'string') {
    spend(frame, makeCost(left.length + right.length));
    return left + right;
  }
  const sum = arithmetic(
    left,
    right,
    (a, b) => a + b,
    (a, b) => a + b,
  );
  if (sum !== undefined) return sum;
  if (Array.isArray(left) && Array.isArray(right)) {
    spend(frame, listCost(left.length + right.length));
    return [...(left as readonly unknown[]), ...(right as readonly unknown[])];
  }
  if (left instanceof Uint8Array && right instanceof Uint8Array) {
    spend(frame, makeCost(left.length + right.length));
    return new Uint8Array(Buffer.concat([left, right]));
  }
  if (right instanceof Duration) {
    if (left instanceof Duration) return makeDuration(left.nanos + right.nanos);
    return left instanceof Date ? addDuration(left, right.nanos) : undefined;
  }
  return left instanceof Duration && right instanceof Date ? addDuration(right, left.nanos) : undefined;
}

function subtract(left: unknown, right: unknown): unknown {
  if (left instanceof Date) {
    if (right instanceof Date) return makeDuration(millisecondsBetween(left, right) * 1_000_000n);
    return right instanceof Duration ? addDuration(left, -right.nanos) : undefined;
  }
  if (left instanceof Duration && right instanceof Duration) return makeDuration(left.nanos - right.nanos);
  return arithmetic(
    left,
    right,
    (a, b) => a - b,
    (a, b) => a - b,
  );
}

const ordering = (holds: (order: number) => boolean): BinaryOperator => ({
  signatures: [
    [NUMBER, NUMBER, bool],
    [string, string, bool],
    [bool, bool, bool],
    [timestamp, timestamp, bool],
    [duration, duration, bool],
    [bytes, bytes, bool],
  ],
  apply(frame, left, right) {
    const order = compare(frame, left, right);
    return order === undefined ? undefined : holds(order);
  },
});

export type BinaryOp = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | '+' | '-' | '*' | '/' | '%';

export const BINARY_OPERATORS: Readonly<Record<BinaryOp, BinaryOperator>> = {
  '+': {
    signatures: [
      ...ARITHMETIC,
      [string, string, string],
      [list, list, list],
      [bytes, bytes, bytes],
      [timestamp, duration, timestamp],
      [duration, timestamp, timestamp],
      [duration, duration, duration],
    ],
    apply: add,
  },
  '-': {
    signatures: [
      ...ARITHMETIC,
      [timestamp, timestamp, duration],
      [timestamp, duration, timestamp],
      [duration, duration, duration],
    ],
    apply: (_frame, left, right) => subtract(left, right),
  },
  '*': numeric(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  '/': numeric(
    (a, b) => a / b,
    (a, b) => a / nonZero(b),
  ),
  '%': numeric(
    (a, b) => a % b,
    (a, b) => a % nonZero(b),
  ),
  '<': ordering((order) => order < 0),
  '<=': ordering((order) => order <= 0),
  '>': ordering((order) => order > 0),
  '>=': ordering((order) => order >= 0),
  '==': { signatures: [[ANY, ANY, bool]], apply: isEqual },
  '!=': { signatures: [[ANY, ANY, bool]], apply: (frame, left, right) => !isEqual(frame, left, right) },
  in: {
    signatures: [
      [ANY, list, bool],
      [string | NUMBER | bool, map, bool],
    ],
    apply: isMember,
  },
};

/** The kinds that may come out, 0 when no combination of these operands is taken. */
export function resultKinds(operator: BinaryOperator, left: KindSet, right: KindSet): KindSet {
  let kinds = 0;
  for (const [l, r, result] of operator.signatures)
    if ((left & l) !== 0 && (right & r) !== 0) kinds |= result;
  return kinds;
}

/** What to write instead of `left op right` for operands that `op` does not take. */
export function operatorFix(op: string, left: KindSet, right: KindSet): string {
  const both = left | right;
  if ((both & KIND.optional) !== 0) return 'Unwrap the optional first, with .orValue(...).';
  if ((both & KIND.null) !== 0) return 'Test for null first: x != null ? … : ….';
  if (op === 'in')
    return right === KIND.string ? 'Use text.contains(part).' : 'The right side must be a list or an object.';
  if ((both & KIND.string) !== 0 && (both & NUMBER) !== 0) {
    return op === '+'
      ? 'Convert the number with string(...).'
      : 'Convert the string with double(...) or int(...).';
  }
  if ((both & KIND.string) !== 0 && (both & (timestamp | duration)) !== 0) {
    return 'Convert the string with timestamp(...) or duration(...).';
  }
  if (op === '+' && (both & KIND.string) !== 0)
    return 'Convert the other side with string(...) or toJson(...).';
  return 'Convert one of them, or compare with ==.';
}

/** Message for operands found at run. */
export const operatorMismatch = (op: string, left: unknown, right: unknown): string => {
  const [l, r] = [kindOf(left), kindOf(right)];
  return `\`${op}\` does not work on ${describeKinds(l)} and ${describeKinds(r)}. ${operatorFix(op, l, r)}`;
};
