import type { Scope } from '../expressions/types.ts';
import { isRecord, type JsonValue } from '../json.ts';
import type { CompiledStep, CompiledWorkflow } from './types.ts';

/**
 * What code is called with when its step has no `input` (DESIGN section 5): under `forEach` the element; else without
 * needs the trigger, with one need its output, with several their outputs by step id. The output of a step that failed or
 * was skipped is null.
 *
 * @param scope that of the step; every step that it needs has ended
 */
export function defaultInput(
  step: Pick<CompiledStep, 'forEach' | 'needs'>,
  workflow: Pick<CompiledWorkflow, 'steps'>,
  scope: Scope,
): JsonValue {
  if (step.forEach !== undefined) return (scope.item ?? null) as JsonValue; // an element of a JSON list
  const parents = step.needs.map(({ index }) => workflow.steps[index]!.id); // needs point into the same list
  const [first, ...others] = parents;
  if (first === undefined) return (scope.trigger ?? null) as JsonValue; // as it was delivered
  if (others.length === 0) return outputOf(first, scope);
  return Object.fromEntries(parents.map((id) => [id, outputOf(id, scope)]));
}

function outputOf(id: string, { steps }: Scope): JsonValue {
  const step = isRecord(steps) && Object.hasOwn(steps, id) ? steps[id] : undefined;
  return ((isRecord(step) ? step.output : undefined) ?? null) as JsonValue; // outputs are JSON
}
