import type { Redactor } from '../../core/credentials/redact.ts';
import {
  createRedactors,
  loadCredentials,
  secretsOf,
  type ReadCredential,
} from '../../core/credentials/secrets.ts';
import type { Credential } from '../../core/credentials/types.ts';
import { defaultInput } from '../../core/definition/default-input.ts';
import type { CompiledStepOf } from '../../core/definition/types.ts';
import type { Scope } from '../../core/expressions/types.ts';
import type { JsonObject } from '../../core/json.ts';
import type { FailureDetail, RunFailure, RunPayload } from '../../core/sandbox/protocol.ts';
import { StepError, retryableError, terminalError } from '../../core/step-error.ts';
import { traced, type Span } from '../../core/telemetry/tracing.ts';
import type { ReadSandboxRules } from '../../core/tenants/sandbox-rules.ts';
import type { Broker, Grant } from '../broker/broker.ts';
import { MAX_OUTPUT_BYTES } from '../engine/limits.ts';
import type { SandboxLimits } from '../sandbox/driver.ts';
import type { Program, RunEnd, RunRequest, SandboxPool } from '../sandbox/types.ts';
import { outOfMemory, runUntilKept } from './lost-sandboxes.ts';
import { sandboxLimits } from './sandbox-limits.ts';
import type { AttemptContext, Executor } from './types.ts';

/** A step's file, ready to be run. */
export interface LoadedProgram {
  readonly program: Program;
  /** Turns the runtime's stack into lines of the author's files. */
  readonly mapStack: (stack: string) => string;
}

export interface CodeExecutorDeps {
  readonly pool: SandboxPool;
  readonly broker: Broker;
  /** Rejects with a StepError when the version holds no such program. */
  readonly loadProgram: (workflowId: string, version: number, file: string) => Promise<LoadedProgram>;
  readonly readCredential: ReadCredential;
  readonly readSandboxRules: ReadSandboxRules;
  /** Of a sandbox whose step asks for nothing else. */
  readonly limits: SandboxLimits;
}

const MAX_LOG_BYTES = 1_048_576;

/** Runs a file of the workflow in a sandbox that has nothing of the platform in reach. */
export function createCodeExecutor(deps: CodeExecutorDeps): Executor<'code'> & Executor<'notebook'> {
  const redactorOf = createRedactors();
  return async (
    step: CompiledStepOf<'code'> | CompiledStepOf<'notebook'>,
    scope: Scope,
    context: AttemptContext,
  ) => {
    const { body } = step;
    const { tenantId, clock } = context;
    clock.pause();
    const [{ program, mapStack }, secrets, credentials, rules] = await Promise.all([
      deps.loadProgram(context.workflowId, context.version, body.file),
      loadCredentials(deps.readCredential, tenantId, body.secrets),
      loadCredentials(deps.readCredential, tenantId, body.credentials),
      deps.readSandboxRules(tenantId),
    ]);
    const redactor = redactorOf([...secrets.values(), ...credentials.values()]);
    const payload = makePayload(step, scope, context, secretsOf(secrets));
    const refusals = new Map<string, StepError>();
    const limits = sandboxLimits(body, deps.limits, rules);
    const isSingleUse = rules.isSingleUse || body.isolation === 'execution';
    const settings = { deps, step, context, program, limits, isSingleUse };
    const attempt = { ...settings, payload, credentials, redactor, refusals };
    try {
      const end = await runUntilKept({ step, context, limits }, (isSuspect) => runOnce(attempt, isSuspect));
      if (end.type === 'failed') throw failureOf(attempt, end.failure, end.detail, mapStack);
      return { type: 'done', output: redactor.json(end.output) };
    } finally {
      clock.pause();
    }
  };
}

interface Attempt {
  readonly deps: CodeExecutorDeps;
  readonly step: CompiledStepOf<'code'> | CompiledStepOf<'notebook'>;
  readonly context: AttemptContext;
  readonly program: Program;
  readonly limits: SandboxLimits;
  readonly isSingleUse: boolean;
  readonly payload: RunPayload;
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly redactor: Redactor;
  /** How requests of the code failed, by code: a failure that it did not catch is the step's own. */
  readonly refusals: Map<string, StepError>;
}

async function runOnce(attempt: Attempt, isSuspect: boolean): Promise<RunEnd> {
  const { deps, context, program } = attempt;
  context.clock.pause();
  const options = { attributes: { 'sandbox.runtime': program.runtime } };
  const slot = await traced(context.span, 'sandbox.claim', options, async (span) => {
    const claimed = await deps.pool.claim({
      tenantId: context.tenantId,
      workflowId: context.workflowId,
      version: context.version,
      runtime: program.runtime,
      limits: attempt.limits,
      singleUse: attempt.isSingleUse,
      alone: isSuspect,
      signal: context.signal,
      traceId: span?.traceId,
    });
    span?.set({ 'sandbox.claim': claimed.isHit ? 'hit' : 'miss' });
    return claimed;
  });
  let grant: Grant | undefined;
  try {
    context.clock.restart();
    return await traced(context.span, 'sandbox.run', options, async (span) => {
      grant = grantFor(attempt, span);
      const end = await slot.run(runRequest(attempt, grant, span));
      if (end.type === 'failed') span?.fail(end.failure);
      return end;
    });
  } finally {
    grant?.close();
    slot.release();
  }
}

function grantFor({ deps, step, context, credentials, redactor }: Attempt, span: Span | undefined): Grant {
  return deps.broker.grant({
    rules: step.body.egress,
    credentials,
    redactor,
    traceparent: context.traceparent,
    span,
    signal: context.signal,
    timeoutMs: context.timeoutMs,
    log: (level, message) => context.log(level, message),
  });
}

function runRequest(attempt: Attempt, grant: Grant, span: Span | undefined): RunRequest {
  const { program, limits, payload, step, context, redactor, refusals } = attempt;
  return {
    program,
    payload,
    maxOutputBytes: MAX_OUTPUT_BYTES,
    maxLogBytes: MAX_LOG_BYTES,
    memoryBytes: limits.memoryBytes,
    isolateProcess: step.body.isolation === 'process',
    signal: context.signal,
    onWaiting: (isWaiting) => (isWaiting ? context.clock.pause() : context.clock.restart()),
    onLog: (level, text, truncated) => {
      span?.event('log', { level });
      context.log(level, redactor.text(text), truncated);
    },
    fetch: async (request) => {
      try {
        return await grant.fetch(request);
      } catch (error) {
        if (error instanceof StepError) refusals.set(error.code, error);
        throw error;
      }
    },
  };
}

function makePayload(
  step: CompiledStepOf<'code'> | CompiledStepOf<'notebook'>,
  scope: Scope,
  context: AttemptContext,
  secrets: Readonly<Record<string, string>>,
): RunPayload {
  const { workflow } = context;
  return {
    input: step.input === undefined ? defaultInput(step, workflow, scope) : step.input.evaluate(scope),
    context: {
      execution: scope['execution'] as JsonObject, // buildScope makes it
      workflow: scope['workflow'] as JsonObject,
      step: { id: step.id, attempt: context.attempt, item: context.item ?? null },
      config: workflow.config,
      secrets,
      idempotencyKey: context.idempotencyKey,
    },
  };
}

/** What a run's failure means for its step. The log gets the stack, in the author's own lines. */
function failureOf(
  { context, limits, redactor, refusals }: Attempt,
  failure: RunFailure,
  detail: FailureDetail,
  mapStack: (stack: string) => string,
): StepError {
  const stack = detail.stack === undefined ? undefined : redactor.text(mapStack(detail.stack));
  const message = redactor.text(detail.message);
  if (stack !== undefined && stack !== '') context.log('error', stack);
  switch (failure) {
    case 'code_error':
      return (
        refusals.get(detail.platformCode ?? '') ??
        codeError(detail, redactor.text(detail.name), message, stack)
      );
    case 'out_of_memory':
      return outOfMemory(limits, message);
    case 'resource_limit':
      return retryableError('resource_limit', message);
    case 'cancelled':
      return retryableError('timeout', message); // the engine has ended the attempt already
    case 'syntax_error':
    case 'missing_export':
    case 'unresolved_import':
    case 'invalid_output':
    case 'output_too_large':
      return terminalError(failure, message);
    default:
      return failure satisfies never;
  }
}

function codeError(
  detail: FailureDetail,
  name: string,
  message: string,
  stack: string | undefined,
): StepError {
  const place = stack === undefined ? undefined : firstPlace(stack);
  return new StepError('code_error', `${name}: ${message}${place === undefined ? '' : ` (${place})`}`, {
    retryable: detail.retryable ?? true,
    ...(detail.retryAfterMs === undefined ? {} : { retryAfterMs: detail.retryAfterMs }),
  });
}

/** `steps/score.ts:12:7`, or `report.ipynb#cell-3:1`, of the innermost frame. */
const firstPlace = (stack: string): string | undefined =>
  /[^\s("]+\.\w+(?:#cell-\d+)?:\d+(?::\d+)?/.exec(stack)?.[0];
