import { compileExpression } from '../expressions/compile.ts';
import { compileTemplate } from '../expressions/template.ts';
import type { Compiled, Expression, Scope } from '../expressions/types.ts';
import type { JsonValue } from '../json.ts';
import type { ValueCompiler } from './steps/kind.ts';
import type { Value } from './types.ts';

/** Compiles what was found valid before; throws where it is not, which is a bug or a document of another release. */
export function valueCompiler(names: readonly string[]): ValueCompiler {
  return {
    expression: (source) => valueOfExpression(compiledExpression(source, names)),
    template: (json) => {
      const template = must(compileTemplate(json as JsonValue, { names }), json);
      return {
        isConstant: template.isConstant,
        names: template.names,
        stepIds: template.stepIds,
        evaluate: (scope, limits) => template.render(scope, limits),
      };
    },
  };
}

export const compiledExpression = (source: string, names: readonly string[]): Expression =>
  must(compileExpression(source, { names }), source);

const valueOfExpression = (expression: Expression): Value => ({
  isConstant: expression.names.size === 0,
  names: expression.names,
  stepIds: expression.stepIds,
  evaluate: (scope: Scope, limits) => expression.evaluate(scope, limits),
});

const NONE: ReadonlySet<string> = new Set();
export const constantValue = (value: JsonValue): Value => ({
  isConstant: true,
  names: NONE,
  stepIds: NONE,
  evaluate: () => value,
});

function must<T>(compiled: Compiled<T>, source: unknown): T {
  if (compiled.ok) return compiled.value;
  const [problem] = compiled.problems;
  throw new Error(
    `A stored workflow no longer compiles: ${JSON.stringify(source)}: ${problem?.message ?? ''}`,
  );
}
