import type { ASTNode } from '@marcbachmann/cel-js';
import { type Code, compileIn, problem, type Site, sourceOf, withVariable } from './code.ts';
import { fail, FAILURE_COST, isAbsorbable } from './failure.ts';
import { type Frame, listCost, spend } from './frame.ts';
import { ANY, describeKinds, isPlainObject, KIND, kindOf } from './kinds.ts';
import { Optional } from './values.ts';

type Run = (frame: Frame) => unknown;

/** The macro `name` with these arguments, or undefined when there is none and it must be a function. */
export function compileMacro(
  site: Site,
  node: ASTNode,
  name: string,
  receiver: ASTNode,
  args: readonly ASTNode[],
): Code | undefined {
  const [first, second, third] = args;
  if (first === undefined) return undefined;
  if (second === undefined) {
    if (name === 'orValue' || name === 'or') return compileOr(site, receiver, first, name);
    return undefined;
  }
  if (third !== undefined)
    return name === 'map' ? compileMap(site, node, receiver, first, second, third) : undefined;
  switch (name) {
    case 'map':
      return compileMap(site, node, receiver, first, undefined, second);
    case 'filter':
      return compileFilter(site, node, receiver, first, second);
    case 'all':
    case 'exists':
      return compileQuantifier(site, node, receiver, first, second, name === 'exists');
    case 'exists_one':
      return compileExistsOne(site, node, receiver, first, second);
    case 'optMap':
    case 'optFlatMap':
      return compileOptMap(site, node, receiver, first, second, name === 'optFlatMap');
    default:
      return undefined;
  }
}

interface Loop {
  readonly inner: Site;
  readonly slot: number;
  items(frame: Frame): readonly unknown[];
}

/** The list or the keys of the object that a macro runs over, and its variable. */
function compileLoop(site: Site, node: ASTNode, receiver: ASTNode, variable: ASTNode): Loop | Code {
  const range = compileIn(site, receiver);
  if (variable.op !== 'id') return noVariable(site, variable);
  if ((range.kinds & (KIND.list | KIND.map)) === 0) {
    return problem(
      site,
      node,
      `Macros loop over lists and objects, not over ${describeKinds(range.kinds)}.`,
      RANGE_FIX,
      ANY,
    );
  }
  const variables = withVariable(site.variables, variable.args, ANY);
  const { run } = range;
  const of = sourceOf(site, receiver);
  return {
    inner: { ...site, variables },
    slot: variables.slot,
    items: (frame) => itemsOf(frame, run(frame), of),
  };
}

const RANGE_FIX = 'Use a list, or an object, whose keys are looped over.';

const noVariable = (site: Site, node: ASTNode): Code =>
  problem(
    site,
    node,
    'The first argument of a macro names its variable.',
    'Write list.map(item, item.name).',
    ANY,
  );

const isCode = (loop: Loop | Code): loop is Code => 'run' in loop;

function itemsOf(frame: Frame, range: unknown, of: string): readonly unknown[] {
  spend(frame, 1);
  if (Array.isArray(range)) return range;
  if (typeof range === 'object' && range !== null && isPlainObject(range)) {
    const keys = Object.keys(range);
    spend(frame, listCost(keys.length));
    return keys;
  }
  const got = describeKinds(kindOf(range));
  return fail(
    `Macros loop over lists and objects: \`${of}\` is ${got}.${range instanceof Optional ? ' Write .orValue([]) first.' : ''}`,
  );
}

/** A condition with its text, for when its value is no boolean. */
interface Condition {
  readonly run: Run;
  readonly text: string;
}

function compileCondition(site: Site, node: ASTNode): Condition {
  const code = compileIn(site, node);
  if ((code.kinds & KIND.bool) === 0) {
    problem(
      site,
      node,
      `The condition is ${describeKinds(code.kinds)}, not a boolean.`,
      'Compare it, e.g. x > 0.',
      KIND.bool,
    );
  }
  return { run: code.run, text: sourceOf(site, node) };
}

const notBoolean = (condition: Condition, value: unknown): never =>
  fail(
    `The condition \`${condition.text}\` is ${describeKinds(kindOf(value))}, not a boolean: compare it, e.g. with ==.`,
  );

function holds(condition: Condition, frame: Frame): boolean {
  const value = condition.run(frame);
  return typeof value === 'boolean' ? value : notBoolean(condition, value);
}

function compileMap(
  site: Site,
  node: ASTNode,
  receiver: ASTNode,
  variable: ASTNode,
  predicate: ASTNode | undefined,
  transform: ASTNode,
): Code {
  const loop = compileLoop(site, node, receiver, variable);
  if (isCode(loop)) return loop;
  const { slot, inner } = loop;
  const condition = predicate === undefined ? undefined : compileCondition(inner, predicate);
  const change = compileIn(inner, transform).run;
  return {
    kinds: KIND.list,
    run(frame) {
      const made: unknown[] = [];
      for (const item of loop.items(frame)) {
        spend(frame, 1);
        frame.locals[slot] = item;
        if (condition === undefined || holds(condition, frame)) made.push(change(frame));
      }
      return made;
    },
  };
}

function compileFilter(
  site: Site,
  node: ASTNode,
  receiver: ASTNode,
  variable: ASTNode,
  predicate: ASTNode,
): Code {
  const loop = compileLoop(site, node, receiver, variable);
  if (isCode(loop)) return loop;
  const { slot, inner } = loop;
  const condition = compileCondition(inner, predicate);
  return {
    kinds: KIND.list,
    run(frame) {
      const kept: unknown[] = [];
      for (const item of loop.items(frame)) {
        spend(frame, 1);
        frame.locals[slot] = item;
        if (holds(condition, frame)) kept.push(item);
      }
      return kept;
    },
  };
}

/**
 * `exists` is an `||` over all items, `all` an `&&`: an item that decides makes the errors of the others not matter.
 * Limits are no such errors.
 */
function compileQuantifier(
  site: Site,
  node: ASTNode,
  receiver: ASTNode,
  variable: ASTNode,
  predicate: ASTNode,
  decisive: boolean,
): Code {
  const loop = compileLoop(site, node, receiver, variable);
  if (isCode(loop)) return loop;
  const { slot, inner } = loop;
  const condition = compileCondition(inner, predicate);
  return {
    kinds: KIND.bool,
    run(frame) {
      let error: Error | undefined;
      for (const item of loop.items(frame)) {
        spend(frame, 1);
        frame.locals[slot] = item;
        try {
          if (holds(condition, frame) === decisive) return decisive;
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

function compileExistsOne(
  site: Site,
  node: ASTNode,
  receiver: ASTNode,
  variable: ASTNode,
  predicate: ASTNode,
): Code {
  const loop = compileLoop(site, node, receiver, variable);
  if (isCode(loop)) return loop;
  const { slot, inner } = loop;
  const condition = compileCondition(inner, predicate);
  return {
    kinds: KIND.bool,
    run(frame) {
      let count = 0;
      for (const item of loop.items(frame)) {
        spend(frame, 1);
        frame.locals[slot] = item;
        if (holds(condition, frame)) count += 1;
      }
      return count === 1;
    },
  };
}

/** `cel.bind(name, value, body)`: evaluates `value` once. */
export function compileBind(site: Site, variable: ASTNode, valueNode: ASTNode, body: ASTNode): Code {
  const value = compileIn(site, valueNode);
  if (variable.op !== 'id') return noVariable(site, variable);
  const variables = withVariable(site.variables, variable.args, value.kinds);
  const result = compileIn(site, body, variables);
  const { slot } = variables;
  const [runValue, runResult] = [value.run, result.run];
  return {
    kinds: result.kinds,
    run(frame) {
      frame.locals[slot] = runValue(frame);
      return runResult(frame);
    },
  };
}

/** `optional.orValue(value)` and `optional.or(optional)`, which evaluate their argument only when it is needed. */
function compileOr(site: Site, receiver: ASTNode, argument: ASTNode, name: 'or' | 'orValue'): Code {
  const left = compileOptionalReceiver(site, receiver, name);
  const other = compileIn(site, argument);
  const otherRun = other.run;
  return {
    kinds: name === 'or' ? KIND.optional : ANY,
    run(frame) {
      const optional = left(frame);
      if (optional.present) return name === 'or' ? optional : optional.value;
      return name === 'or' ? asOptional(otherRun(frame), 'The argument of or()') : otherRun(frame);
    },
  };
}

/** `optional.optMap(x, f(x))`, and `optFlatMap`, whose `f` gives an optional itself. */
function compileOptMap(
  site: Site,
  node: ASTNode,
  receiver: ASTNode,
  variable: ASTNode,
  body: ASTNode,
  flat: boolean,
): Code {
  const left = compileOptionalReceiver(site, receiver, flat ? 'optFlatMap' : 'optMap');
  if (variable.op !== 'id') return noVariable(site, node);
  const variables = withVariable(site.variables, variable.args, ANY);
  const result = compileIn(site, body, variables).run;
  const { slot } = variables;
  return {
    kinds: KIND.optional,
    run(frame) {
      const optional = left(frame);
      if (!optional.present) return Optional.none;
      frame.locals[slot] = optional.value;
      const value = result(frame);
      return flat ? asOptional(value, 'The result of optFlatMap()') : Optional.of(value);
    },
  };
}

function compileOptionalReceiver(site: Site, receiver: ASTNode, name: string): (frame: Frame) => Optional {
  const code = compileIn(site, receiver);
  if ((code.kinds & KIND.optional) === 0) {
    problem(
      site,
      receiver,
      `${name}() is for optionals, not for ${describeKinds(code.kinds)}.`,
      OPTIONAL_FIX,
      ANY,
    );
  }
  const { run } = code;
  const text = sourceOf(site, receiver);
  return (frame) => asOptional(run(frame), `\`${text}\``);
}

const OPTIONAL_FIX = 'Read the key with .?: trigger.body.?key.orValue(...).';

const asOptional = (value: unknown, what: string): Optional =>
  value instanceof Optional
    ? value
    : fail(`${what} is ${describeKinds(kindOf(value))}, not an optional. ${OPTIONAL_FIX}`);
