import { createHttpExecutor, type HttpExecutorDeps } from './http.ts';
import { runRespond } from './respond.ts';
import { runTransform } from './transform.ts';
import type { Executors } from './types.ts';
import { runWait } from './wait.ts';

/** What runs each kind of step. */
export const createExecutors = (deps: HttpExecutorDeps): Executors => ({
  http: createHttpExecutor(deps),
  respond: runRespond,
  transform: runTransform,
  wait: runWait,
});
