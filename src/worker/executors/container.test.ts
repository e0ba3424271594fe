import { Readable } from 'node:stream';
import { beforeEach, describe, expect, test } from 'vitest';
import type { CompiledStepOf, Value } from '../../core/definition/types.ts';
import type { JsonValue } from '../../core/json.ts';
import type { SandboxRules } from '../../core/tenants/sandbox-rules.ts';
import type { ImageFacts, ImageProcess, ImageRequest, SandboxExit } from '../sandbox/driver.ts';
import { createContainerExecutor } from './container.ts';
import type { AttemptContext } from './types.ts';

const IMAGE: ImageFacts = {
  id: 'step-1',
  entrypoint: ['of-the-image'],
  command: ['argument'],
  environment: { COLOR: 'blue', SHAPE: 'round' },
  folder: '/srv',
  userId: 65_532,
  groupId: 65_532,
};
const NO_RULES: SandboxRules = { isSingleUse: false, maxMemoryBytes: undefined, maxCpus: undefined };
const claimed: ImageRequest[] = [];
const started: { readonly process: ImageProcess; readonly input: string }[] = [];
let released = 0;
beforeEach(() => {
  claimed.length = 0;
  started.length = 0;
  released = 0;
});

const constant = (value: JsonValue): Value => ({ evaluate: () => value }) as unknown as Value; // all that is read of one

interface Written {
  readonly stdout?: string;
  readonly stderr?: string;
}

/** What a container writes, and how it ends; each further start ends as the last. */
function run(
  ends: readonly SandboxExit[],
  body: Readonly<Record<string, unknown>> = { command: constant(['tool']) },
  { stdout = '', stderr = '' }: Written = {},
  rules: SandboxRules = NO_RULES,
) {
  const execute = createContainerExecutor({
    containers: {
      claim: async (request) => {
        claimed.push(request);
        return {
          image: IMAGE,
          start: async (process, input) => {
            started.push({ process, input });
            return {
              id: 'step-1',
              stdout: Readable.from([Buffer.from(stdout)]),
              stderr: Readable.from([Buffer.from(stderr)]),
              exited: Promise.resolve(ends[Math.min(started.length, ends.length) - 1]!), // there is a last one
              kill: () => undefined,
            };
          },
          release: () => void released++,
        };
      },
    },
    readCredential: async () => undefined,
    readSandboxRules: async () => rules,
    limits: { memoryBytes: 268_435_456, cpus: 1, pids: 256 },
  });
  const step = {
    id: 'convert',
    input: constant({ a: 1 }),
    body: { image: 'example.com/tool:1', secrets: [], ...body },
  } as unknown as CompiledStepOf<'container'>; // all that is read of it
  const context = {
    tenantId: 't1',
    executionId: 'e',
    attempt: 2,
    idempotencyKey: 'e.convert',
    signal: new AbortController().signal,
    timeoutMs: 5000,
    clock: { pause: () => undefined, restart: () => undefined },
    log: () => undefined,
  } as unknown as AttemptContext; // all that is read of it
  return Promise.resolve(execute(step, {}, context));
}

const ended = (exitCode: number): SandboxExit => ({ reason: 'exited', detail: '', exitCode });

test('a container is claimed for as long as the step may take, and given back', async () => {
  expect(await run([ended(0)], undefined, { stdout: '{"b":2}\n' })).toEqual({
    type: 'done',
    output: { b: 2 },
  });
  expect(claimed).toMatchObject([
    { step: 'e.convert', image: 'example.com/tool:1', namesCommand: true, timeoutMs: 5000 },
  ]);
  expect(started).toMatchObject([{ process: { command: ['tool'], folder: '/srv' }, input: '{"a":1}' }]);
  expect(released).toBe(1);
});

test('what the step leaves open is the image’s', async () => {
  await run([ended(0)], { args: constant(['other']), env: constant({ SHAPE: 'square' }) });
  expect(claimed).toMatchObject([{ namesCommand: false }]);
  expect(started[0]!.process).toMatchObject({
    command: ['of-the-image', 'other'],
    environment: { COLOR: 'blue', SHAPE: 'square', HOME: '/tmp', MILLRACE_ATTEMPT: '2' },
  });
});

test('a container has no more than its tenant may have', async () => {
  await run([ended(0)], undefined, undefined, { ...NO_RULES, maxMemoryBytes: 134_217_728 });
  expect(claimed).toMatchObject([{ limits: { memoryBytes: 134_217_728, cpus: 1, pids: 256 } }]);
  const asks = { command: constant(['tool']), cpus: 2 };
  await expect(run([ended(0)], asks, undefined, { ...NO_RULES, maxCpus: 1 })).rejects.toMatchObject({
    code: 'resource_limit',
    retryable: false,
  });
  expect(claimed).toHaveLength(1);
});

describe('a container that', () => {
  test.each<[string, SandboxExit, object]>([
    [
      'ends with an exit code',
      ended(3),
      { code: 'code_error', retryable: true, message: 'The container ended with exit code 3: why' },
    ],
    [
      'cannot start its program, as a pod says it',
      { reason: 'exited', detail: '', programFailure: 'no such file or directory' },
      {
        code: 'code_error',
        retryable: false,
        message: expect.stringMatching(/`tool`: no such file or directory/),
      },
    ],
    [
      'cannot start its program, as runsc says it',
      { reason: 'exited', detail: '', startFailure: 'starting sandbox: error finding executable "tool"' },
      {
        code: 'code_error',
        retryable: false,
        message: expect.stringMatching(/`tool`: error finding executable/),
      },
    ],
    [
      'has used up its memory',
      { reason: 'out_of_memory', detail: '' },
      { code: 'out_of_memory', message: expect.stringMatching(/has 256Mi; use less, or raise `resources/) },
    ],
  ])('%s', async (_, exit, error) => {
    await expect(run([exit], undefined, { stderr: 'why\n' })).rejects.toMatchObject(error);
    expect(released).toBe(1);
  });

  test('is lost is replaced', async () => {
    const lost: SandboxExit = { reason: 'exited', detail: 'exit code 137' };
    expect(await run([lost, ended(0)], undefined, { stdout: '1' })).toEqual({ type: 'done', output: 1 });
    expect([claimed.length, released]).toEqual([2, 2]);
  });
});
