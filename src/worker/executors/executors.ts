import { createCodeExecutor, type CodeExecutorDeps } from './code.ts';
import { createContainerExecutor, type ContainerExecutorDeps } from './container.ts';
import { createHttpExecutor, type HttpExecutorDeps } from './http.ts';
import { runRespond } from './respond.ts';
import { runTransform } from './transform.ts';
import type { Executors } from './types.ts';
import { runWait } from './wait.ts';

/** What runs each kind of step. */
export function createExecutors(
  deps: HttpExecutorDeps & CodeExecutorDeps & ContainerExecutorDeps,
): Executors {
  const runCode = createCodeExecutor(deps);
  return {
    http: createHttpExecutor(deps),
    respond: runRespond,
    transform: runTransform,
    wait: runWait,
    code: runCode,
    container: createContainerExecutor(deps),
    notebook: runCode,
  };
}
