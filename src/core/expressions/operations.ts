import type { ASTNode } from '@marcbachmann/cel-js';
import { type Code, compileIn, problem, type Site, sourceOf } from './code.ts';
import { fail, FAILURE_COST, isAbsorbable } from './failure.ts';
import { type Frame, spend } from './frame.ts';
import { ANY, describeKinds, KIND, kindOf, type KindSet, NUMBER } from './kinds.ts';
import {
  BINARY_OPERATORS,
  type BinaryOp,
  operatorFix,
  operatorMismatch,
  resultKinds,
  toInt64,
} from './operators.ts';
import { Duration } from './values.ts';

export function compileConditional(
  site: Site,
  conditionNode: ASTNode,
  thenNode: ASTNode,
  elseNode: ASTNode,
): Code {
  const condition = compileBoolean(site, conditionNode);
  const [then, otherwise] = [compileIn(site, thenNode), compileIn(site, elseNode)];
  const [runThen, runElse] = [then.run, otherwise.run];
  return {
    kinds: then.kinds | otherwise.kinds,
    run(frame) {
      const value = condition.run(frame);
      if (value === true) return runThen(frame);
      return value === false ? runElse(frame) : notBoolean(condition, value);
    },
  };
}

interface BooleanOperand {
  readonly run: (frame: Frame) => unknown;
  readonly text: string;
}

function compileBoolean(site: Site, node: ASTNode): BooleanOperand {
  const { kinds, run } = compileIn(site, node);
  if ((kinds & KIND.bool) === 0) {
    problem(
      site,
      node,
      `A boolean is needed here, not ${describeKinds(kinds)}.`,
      booleanFix(kinds),
      KIND.bool,
    );
  }
  return { run, text: sourceOf(site, node) };
}

const booleanFix = (kinds: number): string =>
  (kinds & KIND.optional) !== 0
    ? 'Use .hasValue() or .orValue(false).'
    : 'Compare it, e.g. x != null or x != "".';

const notBoolean = ({ text }: BooleanOperand, value: unknown): never =>
  fail(`A boolean is needed: \`${text}\` is ${describeKinds(kindOf(value))}. ${booleanFix(kindOf(value))}`);

/**
 * `a || b || c`: true when any is, whatever fails in the others (CEL, "Logical operators"); `&&` the same for false.
 * Chains are one level, so that a long list of alternatives does not nest.
 */
export function compileLogic(site: Site, node: ASTNode, op: '||' | '&&'): Code {
  const operands = chainOf(node, op).map((operand) => compileBoolean(site, operand));
  const decisive = op === '||';
  return {
    kinds: KIND.bool,
    run(frame) {
      let error: Error | undefined;
      for (const operand of operands) {
        try {
          const value = operand.run(frame);
          if (value === decisive) return decisive;
          if (value !== !decisive) notBoolean(operand, value);
        } catch (raw) {
          if (!isAbsorbable(raw)) throw raw;
          spend(frame, FAILURE_COST);
          error ??= raw;
        }
      }
      if (error !== undefined) throw error;
      return !decisive;
    },
  };
}

/** The operands of a chain of one operator, which the parser nests to the left. */
function chainOf(node: ASTNode, op: '||' | '&&' | '+'): readonly ASTNode[] {
  const operands: ASTNode[] = [];
  let at = node;
  while (at.op === op) {
    operands.push(at.args[1]);
    at = at.args[0];
  }
  operands.push(at);
  return operands.reverse();
}

export function compileNot(site: Site, node: ASTNode, operandNode: ASTNode): Code {
  const operand = compileBoolean(site, operandNode);
  return {
    kinds: KIND.bool,
    run(frame) {
      const value = operand.run(frame);
      return typeof value === 'boolean' ? !value : notBoolean(operand, value);
    },
  };
}

const NEGATABLE = NUMBER | KIND.duration;

export function compileNegation(site: Site, node: ASTNode, operandNode: ASTNode): Code {
  const operand = compileIn(site, operandNode);
  if ((operand.kinds & NEGATABLE) === 0) {
    return problem(
      site,
      node,
      `\`-\` does not work on ${describeKinds(operand.kinds)}.`,
      'Only numbers and durations have a negative.',
      NUMBER,
    );
  }
  const { run } = operand;
  return { kinds: operand.kinds & NEGATABLE, run: (frame) => negate(run(frame)) };
}

function negate(value: unknown): unknown {
  if (typeof value === 'number') return -value;
  if (typeof value === 'bigint') return toInt64(-value);
  if (value instanceof Duration) return new Duration(-value.nanos);
  return fail(`\`-\` does not work on ${describeKinds(kindOf(value))}.`);
}

export function compileBinary(
  site: Site,
  node: ASTNode,
  op: BinaryOp,
  args: readonly [ASTNode, ASTNode],
): Code {
  const operands = (op === '+' ? chainOf(node, op) : args).map((operand) => compileIn(site, operand));
  const kinds = operands
    .map((operand) => operand.kinds)
    .reduce((left, right) => checkKinds(site, node, op, left, right));
  const { apply } = BINARY_OPERATORS[op];
  const text = sourceOf(site, node);
  const [first, ...rest] = operands.map((operand) => operand.run);
  // There are two operands at least.
  const [runFirst, runSecond] = [first!, rest[0]!];
  if (rest.length === 1) {
    return {
      kinds,
      run(frame) {
        const left = runFirst(frame);
        const right = runSecond(frame);
        return apply(frame, left, right) ?? mismatch(text, op, left, right);
      },
    };
  }
  return {
    kinds,
    run(frame) {
      let left = runFirst(frame);
      for (const run of rest) {
        const right = run(frame);
        left = apply(frame, left, right) ?? mismatch(text, op, left, right);
      }
      return left;
    },
  };
}

const mismatch = (text: string, op: BinaryOp, left: unknown, right: unknown): never =>
  fail(`\`${text}\`: ${operatorMismatch(op, left, right)}`);

/** The kinds that come out; a problem when these operands cannot be. */
function checkKinds(site: Site, node: ASTNode, op: BinaryOp, left: KindSet, right: KindSet): KindSet {
  const kinds = resultKinds(BINARY_OPERATORS[op], left, right);
  if (kinds !== 0) return kinds;
  const message = `\`${op}\` does not work on ${describeKinds(left)} and ${describeKinds(right)}.`;
  return problem(site, node, message, operatorFix(op, left, right), ANY).kinds;
}
