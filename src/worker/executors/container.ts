import { setTimeout as delay } from 'node:timers/promises';
import type { Redactor } from '../../core/credentials/redact.ts';
import {
  createRedactors,
  loadCredentials,
  secretsOf,
  type ReadCredential,
} from '../../core/credentials/secrets.ts';
import { defaultInput } from '../../core/definition/default-input.ts';
import {
  renderContainer,
  secretVariable,
  type RenderedContainer,
} from '../../core/definition/steps/container.ts';
import type { CompiledStepOf } from '../../core/definition/types.ts';
import type { Scope } from '../../core/expressions/types.ts';
import type { JsonValue } from '../../core/json.ts';
import { retryableError, terminalError } from '../../core/step-error.ts';
import { traced } from '../../core/telemetry/tracing.ts';
import type { ReadSandboxRules } from '../../core/tenants/sandbox-rules.ts';
import { MAX_OUTPUT_BYTES } from '../engine/limits.ts';
import type { Containers } from '../sandbox/containers.ts';
import type {
  ImageContainer,
  ImageFacts,
  ImagePlace,
  ImageProcess,
  SandboxExit,
  SandboxLimits,
} from '../sandbox/driver.ts';
import { SandboxLostError } from '../sandbox/types.ts';
import { createLineLog, type LineLog } from './container-log.ts';
import { parseContainerOutput } from './container-output.ts';
import { runUntilKept } from './lost-sandboxes.ts';
import { sandboxLimits } from './sandbox-limits.ts';
import type { AttemptContext, Executor } from './types.ts';

export interface ContainerExecutorDeps {
  readonly containers: Containers;
  readonly readCredential: ReadCredential;
  readonly readSandboxRules: ReadSandboxRules;
  /** Of a container whose step asks for nothing else. */
  readonly limits: SandboxLimits;
}

const MAX_LOG_BYTES = 1_048_576;
const MAX_INPUT_BYTES = 33_554_432;
/** One argument or variable, and all of them (Linux: execve(2)). */
const MAX_ARGUMENT_BYTES = 131_071;
const MAX_ARGUMENTS_BYTES = 1_048_576;
/** What floods its log is read slowly from here on: it waits, not this worker. */
const FREE_LOG_BYTES = 8 * 1_048_576;
const PAUSE_MS = 5;
/** What was written last is in the pipes when its writer has gone. */
const READ_ON_MS = 5000;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Runs a program of an image as a filter: the step's input is its stdin as JSON, its output what it writes to stdout, its
 * log what it writes to stderr, its success the exit code 0.
 */
export function createContainerExecutor(deps: ContainerExecutorDeps): Executor<'container'> {
  const redactorOf = createRedactors();
  return async (step, scope, context) => {
    context.clock.pause();
    const [secrets, rules] = await Promise.all([
      loadCredentials(deps.readCredential, context.tenantId, step.body.secrets),
      deps.readSandboxRules(context.tenantId),
    ]);
    const limits = sandboxLimits(step.body, deps.limits, rules);
    const attempt: Attempt = {
      deps,
      step,
      context,
      limits,
      rendered: renderContainer(step.body, scope),
      secrets: secretsOf(secrets),
      input: inputOf(step, scope, context),
      redactor: redactorOf([...secrets.values()]),
    };
    try {
      const output = await runUntilKept({ step, context, limits }, () => runOnce(attempt));
      return { type: 'done', output: attempt.redactor.json(output) };
    } finally {
      context.clock.pause();
    }
  };
}

interface Attempt {
  readonly deps: ContainerExecutorDeps;
  readonly step: CompiledStepOf<'container'>;
  readonly context: AttemptContext;
  readonly limits: SandboxLimits;
  readonly rendered: RenderedContainer;
  readonly secrets: Readonly<Record<string, string>>;
  readonly input: string;
  readonly redactor: Redactor;
}

async function runOnce(attempt: Attempt): Promise<JsonValue> {
  const { deps, step, context } = attempt;
  context.clock.pause();
  const place = await traced(context.span, 'sandbox.claim', {}, () =>
    deps.containers.claim({
      tenantId: context.tenantId,
      step: context.idempotencyKey,
      image: step.body.image,
      namesCommand: attempt.rendered.command !== undefined,
      limits: attempt.limits,
      timeoutMs: context.timeoutMs,
      signal: context.signal,
    }),
  );
  try {
    return await traced(context.span, 'sandbox.run', {}, () => runIn(place, attempt));
  } finally {
    place.release();
  }
}

async function runIn(place: ImagePlace, attempt: Attempt): Promise<JsonValue> {
  const { context, redactor } = attempt;
  const process = processOf(place.image, attempt);
  context.clock.restart();
  const container = await place.start(process, attempt.input);
  const stop = (): void => container.kill();
  context.signal.addEventListener('abort', stop, { once: true });
  if (context.signal.aborted) stop();
  const log = createLineLog(MAX_LOG_BYTES, redactor, (text, truncated) =>
    context.log(truncated ? 'warn' : 'info', text, truncated),
  );
  try {
    const output = readOutput(container);
    const reading = Promise.all([output.done, readLog(container, log)]);
    const exit = await container.exited;
    await Promise.race([reading, delay(READ_ON_MS, undefined, { ref: false })]);
    log.finish();
    context.signal.throwIfAborted();
    if (output.isTooLarge()) throw tooLargeOutput();
    checkExit(exit, attempt, process, log);
    return parseContainerOutput(output.bytes());
  } finally {
    context.signal.removeEventListener('abort', stop);
    container.stdout.destroy();
    container.stderr.destroy();
  }
}

const tooLargeOutput = () =>
  terminalError(
    'output_too_large',
    `The container wrote more than ${MAX_OUTPUT_BYTES} bytes to stdout, which is its output; write less, and to stderr ` +
      'what is for the log',
  );

/** Collects stdout as far as an output may go. Beyond that the container is of no use any more. */
function readOutput(container: ImageContainer): {
  readonly done: Promise<void>;
  readonly bytes: () => Buffer;
  readonly isTooLarge: () => boolean;
} {
  const chunks: Buffer[] = [];
  let size = 0;
  container.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_OUTPUT_BYTES) chunks.push(chunk);
    else container.kill();
  });
  return {
    done: new Promise((resolve) => container.stdout.once('close', resolve)),
    bytes: () => Buffer.concat(chunks),
    isTooLarge: () => size > MAX_OUTPUT_BYTES,
  };
}

function readLog({ stderr }: ImageContainer, log: LineLog): Promise<void> {
  let size = 0;
  stderr.on('data', (chunk: Buffer) => {
    log.write(chunk);
    size += chunk.length;
    if (size < FREE_LOG_BYTES) return;
    stderr.pause();
    setTimeout(() => stderr.resume(), PAUSE_MS);
  });
  return new Promise((resolve) => stderr.once('close', resolve));
}

/** @throws StepError, SandboxLostError; returns for a success */
function checkExit(exit: SandboxExit, { redactor }: Attempt, { command }: ImageProcess, log: LineLog): void {
  if (exit.exitCode === 0) return;
  const failure = exit.programFailure ?? programFailureOf(exit);
  if (failure !== undefined) {
    const reason = redactor.text(failure);
    throw terminalError(
      'code_error',
      `The image cannot run \`${redactor.text(command[0] ?? '')}\`: ${reason}. Set \`command\` to a program that is in it.`,
    );
  }
  if (exit.exitCode === undefined) throw new SandboxLostError(exit, true);
  const last = log.lastLines();
  throw retryableError(
    'code_error',
    `The container ended with exit code ${exit.exitCode}${last === '' ? '; it wrote nothing to stderr' : `: ${last}`}`,
  );
}

/** What keeps the program from being started, where it is not the sandbox around it, as runsc says it. */
const programFailureOf = ({ startFailure }: SandboxExit): string | undefined =>
  startFailure !== undefined &&
  /error finding executable|creating process: failed to load|failed to create process/.test(startFailure)
    ? startFailure.replace(/^.*starting sandbox: /, '')
    : undefined;

function inputOf(step: CompiledStepOf<'container'>, scope: Scope, { workflow }: AttemptContext): string {
  const input = step.input === undefined ? defaultInput(step, workflow, scope) : step.input.evaluate(scope);
  const text = JSON.stringify(input);
  const size = Buffer.byteLength(text);
  if (size <= MAX_INPUT_BYTES) return text;
  throw terminalError(
    'invalid_input',
    `The step's input takes ${size} bytes as JSON; a container is given at most ${MAX_INPUT_BYTES}. Pass a part of it with \`input:\`.`,
  );
}

/**
 * As Kubernetes reads them: `command` replaces the image's entrypoint and leaves out its command, `args` replaces its
 * command.
 */
function processOf(image: ImageFacts, { step, context, rendered, secrets }: Attempt): ImageProcess {
  const program = rendered.command ?? image.entrypoint;
  const args = rendered.args ?? (rendered.command === undefined ? image.command : []);
  const command = [...program, ...args];
  if (command.length === 0) {
    throw terminalError('invalid_input', 'The image names no program to run; write `command: [...]`');
  }
  const environment = {
    PATH: DEFAULT_PATH,
    HOME: '/tmp',
    ...image.environment,
    ...rendered.env,
    ...Object.fromEntries(Object.entries(secrets).map(([name, value]) => [secretVariable(name), value])),
    MILLRACE_EXECUTION_ID: context.executionId,
    MILLRACE_STEP_ID: step.id,
    MILLRACE_ATTEMPT: String(context.attempt),
    MILLRACE_IDEMPOTENCY_KEY: context.idempotencyKey,
  };
  checkArguments(command, environment);
  return { command, environment, folder: image.folder, userId: image.userId, groupId: image.groupId };
}

/** @throws StepError `invalid_input` for what no process can be given */
function checkArguments(command: readonly string[], environment: ImageProcess['environment']): void {
  const named = [
    ...command.map((text, index) => [`argument ${index}`, text] as const),
    ...Object.entries(environment).map(([name, value]) => [`variable ${name}`, `${name}=${value}`] as const),
  ];
  let total = 0;
  for (const [what, text] of named) {
    const size = Buffer.byteLength(text);
    total += size;
    if (size > MAX_ARGUMENT_BYTES) {
      throw terminalError(
        'invalid_input',
        `The container's ${what} has ${size} bytes; at most ${MAX_ARGUMENT_BYTES} are possible. Hand it over as the step's input, which is read from stdin.`,
      );
    }
    if (text.includes('\0')) throw terminalError('invalid_input', `The container's ${what} holds a NUL`);
  }
  if (total > MAX_ARGUMENTS_BYTES) {
    throw terminalError(
      'invalid_input',
      `The container's arguments and variables have ${total} bytes together; at most ${MAX_ARGUMENTS_BYTES} are possible. Hand them over as the step's input, which is read from stdin.`,
    );
  }
}
