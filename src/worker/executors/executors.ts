import { terminalError } from '../../core/step-error.ts';
import { createCodeExecutor, type CodeExecutorDeps } from './code.ts';
import { createHttpExecutor, type HttpExecutorDeps } from './http.ts';
import { runRespond } from './respond.ts';
import { runTransform } from './transform.ts';
import type { Executors } from './types.ts';
import { runWait } from './wait.ts';

/** What runs each kind of step. */
export function createExecutors(deps: HttpExecutorDeps & CodeExecutorDeps): Executors {
  const runCode = createCodeExecutor(deps);
  return {
    http: createHttpExecutor(deps),
    respond: runRespond,
    transform: runTransform,
    wait: runWait,
    code: runCode,
    container: unavailable,
    notebook: runCode,
  };
}

/** Nothing here starts sandboxes, and code of authors runs nowhere else. */
function unavailable(): never {
  throw terminalError(
    'no_sandbox',
    'This worker has no sandbox to run the step in; start one that has, then retry the execution',
  );
}
