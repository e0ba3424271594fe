import type { ASTNode } from '@marcbachmann/cel-js';
import { UnsignedInt } from '@marcbachmann/cel-js/evaluator';
import type { JsonValue } from '../json.ts';
import { compileField, compileIndex, compileOptional } from './access.ts';
import { compileCall, compileMethod } from './calls.ts';
import { type Code, type Compilation, compileIn, findVariable, problem, type Site } from './code.ts';
import { asClause, fail, toExpressionError } from './failure.ts';
import { createFrame, type Frame, listCost, spend } from './frame.ts';
import { toJsonValue } from './json-value.ts';
import { ANY, describeKinds, KIND, kindOf, NUMBER, TYPES } from './kinds.ts';
import {
  compileBinary,
  compileConditional,
  compileLogic,
  compileNegation,
  compileNot,
} from './operations.ts';
import { parseExpression, TOO_DEEP, TOO_DEEP_FIX } from './parse.ts';
import type { Compiled, CompileOptions, Expression } from './types.ts';
import { DEFAULT_LIMITS } from './types.ts';
import { mapKey, setOwn } from './values.ts';

/** Levels of one part in another; chains of `&&`, `||` and `+` are one level. */
const MAX_LEVELS = 150;

/** A compiled expression before it is given limits: what a template runs many of. */
export interface Program {
  readonly run: (frame: Frame) => unknown;
  readonly names: ReadonlySet<string>;
  readonly stepIds: ReadonlySet<string>;
}

/**
 * Compiles CEL (docs/expressions.md): syntax, names, functions, literal patterns and the kinds of operands are checked
 * now, so that what is left for a run to find is what the data decides.
 */
export function compileExpression(source: string, options: CompileOptions): Compiled<Expression> {
  const compiled = compileProgram(source, options);
  if (!compiled.ok) return compiled;
  const { run, names, stepIds } = compiled.value;
  return {
    ok: true,
    value: {
      source,
      names,
      stepIds,
      evaluate(scope, limits = DEFAULT_LIMITS): JsonValue {
        try {
          return toJsonValue(run(createFrame(scope, limits)), limits.maxOutputBytes);
        } catch (error) {
          throw toExpressionError(error);
        }
      },
    },
  };
}

/** {@link compileExpression} without the conversion and the limits around a run. */
export function compileProgram(source: string, options: CompileOptions): Compiled<Program> {
  const parsed = parseExpression(source);
  if (!parsed.ok) return { ok: false, problems: [parsed.problem] };
  const compilation: Compilation = {
    source,
    rootNames: new Set(options.names),
    names: new Set(),
    stepIds: new Set(),
    problems: [],
    compile(node, variables, depth) {
      return compileNode({ compilation: this, variables, depth }, node);
    },
  };
  const { run } = compilation.compile(parsed.ast, undefined, 0);
  const { problems, names, stepIds } = compilation;
  return problems.length > 0 ? { ok: false, problems } : { ok: true, value: { run, names, stepIds } };
}

function compileNode(site: Site, node: ASTNode): Code {
  if (site.depth > MAX_LEVELS) return problem(site, node, TOO_DEEP, TOO_DEEP_FIX, ANY);
  switch (node.op) {
    case 'value':
      return compileLiteral(site, node, node.args);
    case 'id':
      return compileName(site, node, node.args);
    case '.':
      return compileField(site, node, ...node.args);
    case '[]':
      return compileIndex(site, node, ...node.args);
    case '.?':
    case '[?]':
      return compileOptional(site, node.args[0], node.args[1]);
    case 'call':
      return compileCall(site, node, ...node.args);
    case 'rcall':
      return compileMethod(site, node, ...node.args);
    case 'list':
      return compileList(site, node.args);
    case 'map':
      return compileMapLiteral(site, node.args);
    case '?:':
      return compileConditional(site, ...node.args);
    case '||':
    case '&&':
      return compileLogic(site, node, node.op);
    case '!_':
      return compileNot(site, node, node.args);
    case '-_':
      return compileNegation(site, node, node.args);
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
    case 'in':
    case '+':
    case '-':
    case '*':
    case '/':
    case '%':
      return compileBinary(site, node, node.op, node.args);
    default:
      return node satisfies never;
  }
}

function compileLiteral(site: Site, node: ASTNode, literal: unknown): Code {
  // JSON has one sort of whole number: `5u` is read as 5.
  const value = literal instanceof UnsignedInt ? literal.value : literal;
  if (typeof value === 'bigint' && value >= 2n ** 63n) {
    return problem(
      site,
      node,
      'The number is beyond 64 bits.',
      'Write it with a fraction, e.g. 1e20.',
      KIND.int,
    );
  }
  return { kinds: kindOf(value), run: () => value };
}

function compileName(site: Site, node: ASTNode, name: string): Code {
  const variable = findVariable(site.variables, name);
  if (variable !== undefined) {
    const { slot, kinds } = variable;
    return { kinds, run: (frame) => frame.locals[slot] };
  }
  const { rootNames, names } = site.compilation;
  if (rootNames.has(name)) {
    names.add(name);
    return { kinds: ANY, run: (frame) => readRoot(frame, name) };
  }
  const type = TYPES.get(name);
  if (type !== undefined) return { kinds: KIND.type, run: () => type };
  return unknownName(site, node, name);
}

function readRoot({ scope }: Frame, name: string): unknown {
  const value = Object.hasOwn(scope, name) ? scope[name] : undefined;
  return value === undefined ? fail(`\`${name}\` has no value here.`) : value;
}

const UNKNOWN: Code = { kinds: ANY, run: () => undefined };

function unknownName(site: Site, node: ASTNode, name: string): Code {
  const { source, rootNames } = site.compilation;
  const known = [...rootNames].sort().join(', ') || 'none';
  const message = `There is no name \`${name}\` here.`;
  // A name is often written several times, e.g. where a variable was left out.
  if (site.compilation.problems.some((known) => known.message === asClause(message))) return UNKNOWN;
  // `steps.my-step` reads as a subtraction.
  const dashed = /[\w\])]\s*-\s*$/.test(source.slice(0, node.start));
  const hint = dashed ? ` Names with a dash are written in brackets: steps["my-step"].` : '';
  return problem(site, node, message, `Names in scope: ${known}.${hint}`, ANY);
}

function compileList(site: Site, items: readonly ASTNode[]): Code {
  const runs = items.map((item) => compileIn(site, item).run);
  const cost = listCost(runs.length);
  return {
    kinds: KIND.list,
    run(frame) {
      spend(frame, cost);
      return runs.map((run) => run(frame));
    },
  };
}

const KEYS = KIND.string | NUMBER | KIND.bool;

function compileMapLiteral(site: Site, entries: readonly (readonly [ASTNode, ASTNode])[]): Code {
  const pairs = entries.map(([keyNode, valueNode]) => {
    const key = compileIn(site, keyNode);
    if ((key.kinds & KEYS) === 0) {
      problem(
        site,
        keyNode,
        `A key cannot be ${describeKinds(key.kinds)}.`,
        'Keys are strings, as in JSON.',
        ANY,
      );
    }
    return { key: key.run, value: compileIn(site, valueNode).run };
  });
  const cost = listCost(2 * pairs.length);
  return {
    kinds: KIND.map,
    run(frame) {
      spend(frame, cost);
      const made: Record<string, unknown> = {};
      for (const { key, value } of pairs) setOwn(made, mapKey(key(frame)), value(frame));
      return made;
    },
  };
}
