import { ExpressionError } from './types.ts';

/** Longest piece of an author's text or of data that a message quotes. */
const MAX_QUOTE = 100;

/** Ends the evaluation because the data cannot answer it. */
export function fail(message: string): never {
  throw new ExpressionError('expression_error', message);
}

/** Ends the evaluation because it would cost more than it may. No operator absorbs this, unlike {@link fail}. */
export function failLimit(message: string): never {
  throw new ExpressionError('expression_limit', message);
}

/** True for a failure that `||`, `&&`, `exists` and `all` may absorb, as CEL says; limits are never absorbed. */
export const isAbsorbable = (raw: unknown): raw is ExpressionError =>
  raw instanceof ExpressionError && raw.code === 'expression_error';

/**
 * Price of an absorbed failure: an error takes 4 µs and more with its stack, and a loop can absorb one for each item.
 */
export const FAILURE_COST = 10;

/** `text`, cut so that a message cannot carry a payload away. */
export const shorten = (text: string, max = MAX_QUOTE): string =>
  text.length <= max ? text : `${text.slice(0, max - 1)}…`;

/**
 * What leaves `evaluate` and `render`, whatever was thrown inside: callers rely on {@link ExpressionError} being
 * the only kind. A `RangeError` is the machine's own bound (stack, string or integer size).
 */
export function toExpressionError(raw: unknown): ExpressionError {
  if (raw instanceof ExpressionError) return raw;
  if (raw instanceof RangeError) {
    return new ExpressionError('expression_limit', 'The values are nested too deeply or grow too large.', {
      cause: raw,
    });
  }
  return new ExpressionError('expression_error', 'The expression could not be evaluated.', { cause: raw });
}

/** A sentence as the list of a workflow's problems wants it: a clause, without capital and full stop. */
export const asClause = (sentence: string): string =>
  sentence.replace(/^[A-Z](?=[a-z ])/, (letter) => letter.toLowerCase()).replace(/\.$/, '');
