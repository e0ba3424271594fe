import { renderRespond } from '../../core/definition/steps/respond.ts';
import type { Executor } from './types.ts';

/** Says what the sender of a `respond: result` webhook is answered. */
export const runRespond: Executor<'respond'> = (step, scope) => {
  const response = renderRespond(step.body, scope);
  return { type: 'done', output: response, response };
};
