import type { JsonValue } from '../json.ts';

/** The names an expression may use, with their values; plain JSON, never evaluated again. */
export type Scope = Readonly<Record<string, unknown>>;

/** What one evaluation may cost. Defaults: {@link DEFAULT_LIMITS}. */
export interface ExpressionLimits {
  /** Wall time in milliseconds. */
  readonly timeMs: number;
  /** Steps of loops and calls, each about a microsecond, so that the bound does not depend on the machine's speed. */
  readonly maxSteps: number;
  /** Size of the result, as JSON, in bytes. */
  readonly maxOutputBytes: number;
}

export const DEFAULT_LIMITS: ExpressionLimits = { timeMs: 250, maxSteps: 200_000, maxOutputBytes: 1_048_576 };

/** A compiled CEL expression. Pure: the same scope gives the same value. */
export interface Expression {
  readonly source: string;
  /** Root identifiers it reads, e.g. `trigger`, `steps`. */
  readonly names: ReadonlySet<string>;
  /** Step ids it reads as `steps.<id>` or `steps["<id>"]`. */
  readonly stepIds: ReadonlySet<string>;
  /**
   * The value as JSON; it may share parts with the scope.
   *
   * @throws ExpressionError `expression_error` for what the data cannot answer (missing key, wrong types, an
   *   integer beyond ±(2^53−1)), `expression_limit` when a limit was met.
   */
  evaluate(scope: Scope, limits?: ExpressionLimits): JsonValue;
}

/** A JSON value whose strings may hold `${{ }}`, compiled. A string that is exactly one `${{ }}` keeps its type. */
export interface Template {
  /** True when nothing in it is evaluated; `render` then returns the value as it is (`$${{` unescaped). */
  readonly isConstant: boolean;
  readonly names: ReadonlySet<string>;
  readonly stepIds: ReadonlySet<string>;
  /** @throws ExpressionError as {@link Expression.evaluate}. */
  render(scope: Scope, limits?: ExpressionLimits): JsonValue;
}

/** What is wrong with an expression's text, found when a workflow is saved. */
export interface ExpressionProblem {
  readonly message: string;
  readonly fix: string;
  /** 0-based offset into the string that was compiled. */
  readonly offset: number;
  /** Of a template: the keys and indices that lead to that string; empty when the template is the string itself. */
  readonly path?: readonly (string | number)[];
}

export type Compiled<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly ExpressionProblem[] };

export interface CompileOptions {
  /** Root names in scope; any other is an `unknown name` problem that lists these. */
  readonly names: readonly string[];
}

/** How an evaluation fails. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
  readonly code: 'expression_error' | 'expression_limit';
  constructor(code: 'expression_error' | 'expression_limit', message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
