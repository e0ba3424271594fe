import type { CompiledWorkflow } from '../definition/types.ts';
import { appError } from '../errors/app-error.ts';
import { ExpressionError, type Expression, type Scope } from '../expressions/types.ts';
import type { TriggerValue } from './trigger.ts';

/** The names in scope of a webhook's `filter` and `dedupe.key`. */
export function webhookScope(
  workflow: Pick<CompiledWorkflow, 'name' | 'config'>,
  version: number,
  trigger: TriggerValue,
): Scope {
  const { body, headers, query, method } = trigger;
  return {
    trigger,
    workflow: { name: workflow.name, version },
    config: workflow.config,
    body,
    headers,
    query,
    method,
  };
}

/**
 * Why a filter keeps a delivery out; undefined when it lets it pass. Anything but `true` keeps it out, also an error
 * over a key that the data does not have.
 *
 * @throws AppError `filter_limit`
 */
export function filterReason(filter: Expression, scope: Scope): string | undefined {
  try {
    const passed = filter.evaluate(scope);
    if (passed === true) return undefined;
    return passed === false ? 'the filter is false' : 'the filter is neither true nor false';
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    if (error.code === 'expression_error') return error.message;
    throw appError('filter_limit', { args: [error.message] });
  }
}
