import { type ASTNode, Environment, ParseError } from '@marcbachmann/cel-js';
import { asClause, shorten } from './failure.ts';
import type { ExpressionProblem } from './types.ts';

/** Longest expression, in UTF-16 units: a filter is a line, a transform a page. */
export const MAX_SOURCE_LENGTH = 16_384;

const LIMITS = {
  maxAstNodes: 8000,
  maxDepth: 100,
  maxListElements: 1000,
  maxMapEntries: 1000,
  maxCallArguments: 8,
};

const LIMIT_WORDS: Readonly<Record<string, string>> = {
  maxAstNodes: `${LIMITS.maxAstNodes} names, values and operators in the expression`,
  maxListElements: `${LIMITS.maxListElements} items in a list`,
  maxMapEntries: `${LIMITS.maxMapEntries} entries in an object`,
  maxCallArguments: `${LIMITS.maxCallArguments} arguments in a call`,
};

/**
 * Reads CEL. Only the parser of the library is used: its evaluator cannot be given a limit on what comprehensions,
 * concatenations and searches cost (docs/decisions/expression-evaluator.md).
 */
const environment = new Environment({
  unlistedVariablesAreDyn: true,
  homogeneousAggregateLiterals: false,
  enableOptionalTypes: true,
  limits: LIMITS,
});

export type Parsed =
  { readonly ok: true; readonly ast: ASTNode } | { readonly ok: false; readonly problem: ExpressionProblem };

/** The syntax tree of `source`, or the first place at which it is no CEL. */
export function parseExpression(source: string): Parsed {
  if (source.trim() === '') {
    return refuse(
      0,
      'The expression is empty.',
      'Write a CEL expression, e.g. trigger.body.type == "order".',
    );
  }
  if (source.length > MAX_SOURCE_LENGTH) {
    return refuse(
      MAX_SOURCE_LENGTH,
      `The expression is ${source.length} characters long; ${MAX_SOURCE_LENGTH} are allowed.`,
      'Split it over several transform steps.',
    );
  }
  try {
    return { ok: true, ast: environment.parse(source).ast };
  } catch (error) {
    if (error instanceof ParseError) return refuseSyntax(source, error);
    // The parser recurses on `!` and `-` without counting its depth.
    if (error instanceof RangeError) return refuse(0, TOO_DEEP, TOO_DEEP_FIX);
    throw error;
  }
}

export const TOO_DEEP = 'The expression is nested too deeply.';
export const TOO_DEEP_FIX =
  'Split it over several transform steps, or name parts with cel.bind(name, value, …).';

const refuse = (offset: number, message: string, fix: string): Parsed => ({
  ok: false,
  problem: { message: asClause(message), fix: asClause(fix), offset },
});

function refuseSyntax(source: string, error: ParseError): Parsed {
  const offset = Math.min(error.range?.start ?? 0, source.length);
  const limit = /^Exceeded (\w+)/.exec(error.summary)?.[1];
  if (limit === 'maxDepth') return refuse(offset, TOO_DEEP, TOO_DEEP_FIX);
  if (limit !== undefined) {
    return refuse(offset, `There are more than ${LIMIT_WORDS[limit] ?? limit}.`, 'Split the expression.');
  }
  return refuse(offset, `${messageOf(source, offset, error)}.`, syntaxFix(source, offset));
}

/** The parser names the last character of what it did not expect; authors look for the word. */
function messageOf(source: string, offset: number, error: ParseError): string {
  const word = /^(?:\w+|[^\s\w]+)/.exec(source.slice(offset))?.[0];
  if (error.code !== 'unexpected_character' || word === undefined) return nameTokens(error.summary);
  return `\`${shorten(word, 40)}\` does not belong here`;
}

/** How the parser's names for tokens are written. */
const TOKENS: Readonly<Record<string, string>> = {
  EOF: 'the end',
  LPAREN: '"("',
  RPAREN: '")"',
  LBRACKET: '"["',
  RBRACKET: '"]"',
  LBRACE: '"{"',
  RBRACE: '"}"',
  DOT: '"."',
  COMMA: '","',
  COLON: '":"',
  QUESTION: '"?"',
  IDENTIFIER: 'a name',
  STRING: 'a string',
  BYTES: 'bytes',
  NUMBER: 'a number',
  BOOLEAN: 'true or false',
  NULL: 'null',
  IN: '"in"',
  PLUS: '"+"',
  MINUS: '"-"',
  MULTIPLY: '"*"',
  DIVIDE: '"/"',
  MODULO: '"%"',
  EQ: '"=="',
  NE: '"!="',
  LT: '"<"',
  LE: '"<="',
  GT: '">"',
  GE: '">="',
  AND: '"&&"',
  OR: '"||"',
  NOT: '"!"',
};

const nameTokens = (summary: string): string =>
  shorten(
    summary.replace(/\b[A-Z]{2,}\b/g, (token) => TOKENS[token] ?? token),
    200,
  );

/** Operators as other languages write them, at the place where the parser stopped. */
const HABITS: readonly (readonly [pattern: RegExp, fix: string])[] = [
  [/^===?/, 'Compare with == (one pair of signs).'],
  [/^=/, 'Compare with ==; CEL has no assignment.'],
  [/^and\b/i, 'Write && for "and".'],
  [/^or\b/i, 'Write || for "or".'],
  [/^&/, 'Write && for "and".'],
  [/^\|/, 'Write || for "or".'],
  [/^`/, 'Write strings with " or \'; interpolation belongs outside, in ${{ }}.'],
  [/^\$/, 'Inside an expression, names stand alone: write trigger.body, not ${{ trigger.body }}.'],
  [/^;/, 'An expression is one value: leave out the ";".'],
];

function syntaxFix(source: string, offset: number): string {
  // The parser stops at a sign, or after the word before it.
  for (const start of [offset, offset - 1]) {
    const rest = source.slice(Math.max(0, start)).trimStart();
    const habit = HABITS.find(([pattern]) => pattern.test(rest));
    if (habit !== undefined) return habit[1];
  }
  if (/\bnot\s+$/i.test(source.slice(0, offset))) return 'Write ! for "not".';
  return 'Check brackets, quotes and operators against docs/expressions.md.';
}
