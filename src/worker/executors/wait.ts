import { dueAt } from '../../core/definition/steps/wait.ts';
import type { Executor } from './types.ts';

/** Sets when the step goes on; the engine ends it then, in whichever worker that is. */
export const runWait: Executor<'wait'> = (step, scope, context) => ({
  type: 'wait',
  dueAtMs: dueAt(step.body, scope, context.nowMs),
});
