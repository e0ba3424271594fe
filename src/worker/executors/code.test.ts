import { expect, test } from 'vitest';
import type { CompiledStepOf } from '../../core/definition/types.ts';
import type { JsonValue } from '../../core/json.ts';
import type { RunRequest, SandboxPool } from '../sandbox/types.ts';
import { fakeProgram } from '../sandbox/fake-sandbox.fixture.ts';
import { createCodeExecutor, type CodeExecutorDeps } from './code.ts';
import type { AttemptContext } from './types.ts';

/** Runs a step whose code is `run`, and tells what was done with the clock of its attempt meanwhile. */
async function clockDuring(run: (request: RunRequest) => Promise<JsonValue>) {
  const calls: string[] = [];
  const slot = {
    isHit: true,
    run: async (request: RunRequest) => {
      calls.push('run');
      return { type: 'result', output: await run(request) } as const;
    },
    release: () => void calls.push('release'),
  };
  const execute = createCodeExecutor({
    pool: { claim: async () => slot } as unknown as SandboxPool, // all that is asked of it
    broker: { grant: () => ({ close: () => undefined }) } as unknown as CodeExecutorDeps['broker'],
    loadProgram: async () => ({ program: fakeProgram(), mapStack: (stack) => stack }),
    readCredential: async () => undefined,
    readSandboxRules: async () => ({ isSingleUse: false, maxMemoryBytes: undefined, maxCpus: undefined }),
    limits: { memoryBytes: 1, cpus: 1, pids: 1 },
  });
  const step = {
    id: 'a',
    kind: 'code',
    body: { file: 'a.js', secrets: [], credentials: [] },
    input: { evaluate: () => null },
  } as unknown as CompiledStepOf<'code'>;
  const context = {
    workflow: { config: {} },
    attempt: 1,
    signal: new AbortController().signal,
    clock: { pause: () => void calls.push('pause'), restart: () => void calls.push('restart') },
    log: () => undefined,
  } as unknown as AttemptContext;
  const { output } = (await execute(step, { execution: {}, workflow: {} }, context)) as {
    readonly output: JsonValue;
  };
  return { calls, output };
}

test('the time of an attempt is that of its code: not of what is read before, the claim, or the wait for a slot', async () => {
  const { calls, output } = await clockDuring(async ({ onWaiting }) => {
    onWaiting?.(true);
    onWaiting?.(false);
    return 7;
  });
  expect(output).toBe(7);
  expect(calls).toEqual(['pause', 'pause', 'restart', 'run', 'pause', 'restart', 'release', 'pause']);
});
