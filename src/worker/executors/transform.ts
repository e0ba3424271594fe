import type { Executor } from './types.ts';

/** The value of the expression or template; data only, never evaluated again. */
export const runTransform: Executor<'transform'> = (step, scope) => ({
  type: 'done',
  output: step.body.value.evaluate(scope),
});
