import assert from 'node:assert/strict';
import { verifySchema } from '../triggers/verify/schemas.ts';
import type { z } from '../zod.ts';
import type { Step, Trigger, WorkflowDocument } from './document.ts';
import { MINUTE_MS, parseDuration, SECOND_MS } from './duration.ts';
import { KINDS } from './steps/kinds.ts';
import type { KindFields, StepKindSpec } from './steps/kind.ts';
import { DEFAULT_RESULT_WAIT_MS } from './triggers.ts';
import {
  FOR_EACH_NAMES,
  STEP_KINDS,
  STEP_NAMES,
  WEBHOOK_NAMES,
  type Backoff,
  type CompiledBodies,
  type CompiledDedupe,
  type CompiledForEach,
  type CompiledNeed,
  type CompiledStep,
  type CompiledTrigger,
  type CompiledWorkflow,
  type RetryPolicy,
  type StepKind,
  type Value,
} from './types.ts';
import { compiledExpression, constantValue, valueCompiler } from './values.ts';

export interface CompileOptions {
  /** Of one attempt of a step without `timeout`; 300 s. */
  readonly defaultStepTimeoutMs?: number;
  /** Of an execution of a workflow without `timeout`; 3600 s. */
  readonly defaultTimeoutMs?: number;
}

const DEFAULT_STEP_TIMEOUT_MS = 300 * SECOND_MS;
const DEFAULT_TIMEOUT_MS = 3600 * SECOND_MS;
const DEFAULT_ATTEMPTS = 3;
const DEFAULT_INITIAL_MS = 2 * SECOND_MS;
const DEFAULT_MAX_MS = MINUTE_MS / 2;
const DEFAULT_PARALLELISM = 10;

/**
 * Makes the runtime form of a document that `parseWorkflow` found valid, and fills in every default. It costs some 20 µs an
 * expression, so callers keep it per version.
 *
 * @throws Error for a document that is not valid in this release
 */
export function compileWorkflow(source: WorkflowDocument, options: CompileOptions = {}): CompiledWorkflow {
  // Constants reach every execution as they stand here.
  const document = deepFreeze(structuredClone(source));
  const stepIndex = new Map(document.steps.map(({ id }, index) => [id, index]));
  const needs = document.steps.map((step) => compileNeeds(step, stepIndex));
  const dependents: readonly number[][] = document.steps.map(() => []);
  for (const [dependent, list] of needs.entries())
    for (const { index } of list) dependents[index]?.push(dependent);
  return {
    name: document.name,
    description: document.description,
    triggers: Object.entries(document.triggers).map(([name, trigger]) => compileTrigger(name, trigger)),
    steps: document.steps.map((step, index) =>
      compileStep(step, { index, needs: needs[index] ?? [], dependents: dependents[index] ?? [], options }),
    ),
    stepIndex,
    output: document.output === undefined ? undefined : compileValue(document.output, STEP_NAMES),
    timeoutMs: milliseconds(document.timeout) ?? options.defaultTimeoutMs ?? DEFAULT_TIMEOUT_MS,
    config: document.config ?? {},
    inputSchema: document.inputSchema,
  };
}

const milliseconds = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : parseDuration(text);

/** A string is an expression, anything else a template: `output`, `transform`, `forEach`. */
function compileValue(value: unknown, names: readonly string[]): Value {
  const compiler = valueCompiler(names);
  return typeof value === 'string' ? compiler.expression(value) : compiler.template(value);
}

function compileNeeds(step: Step, stepIndex: ReadonlyMap<string, number>): readonly CompiledNeed[] {
  return (step.needs ?? []).map((need) => {
    const { step: id, when = 'success' } = typeof need === 'string' ? { step: need } : need;
    const index = stepIndex.get(id);
    assert(index !== undefined, `step ${step.id} needs ${id}, which is not there`);
    return { index, when };
  });
}

interface StepContext {
  readonly index: number;
  readonly needs: readonly CompiledNeed[];
  readonly dependents: readonly number[];
  readonly options: CompileOptions;
}

function compileStep(step: Step, { index, needs, dependents, options }: StepContext): CompiledStep {
  const itemNames = step.forEach === undefined ? STEP_NAMES : [...STEP_NAMES, ...FOR_EACH_NAMES];
  const atMostOnce = step.atMostOnce ?? false;
  const common = {
    index,
    id: step.id,
    name: step.name,
    description: step.description,
    needs,
    dependents,
    if: compileCondition(step.if),
    forEach: compileForEach(step),
    input: step.input === undefined ? undefined : valueCompiler(itemNames).template(step.input),
    retry: compileRetry(step.retry, atMostOnce),
    timeoutMs: milliseconds(step.timeout) ?? options.defaultStepTimeoutMs ?? DEFAULT_STEP_TIMEOUT_MS,
    continueOnError: step.continueOnError ?? false,
    atMostOnce,
  };
  const kind = STEP_KINDS.find((candidate) => Object.hasOwn(step, candidate));
  assert(kind !== undefined, `step ${step.id} has no kind of this release`);
  const body = compileBody(kind, step, itemNames);
  // `kind` and `body` come from the same entry of KINDS.
  return { ...common, kind, body } as CompiledStep;
}

function compileBody<K extends StepKind>(kind: K, step: Step, names: readonly string[]): CompiledBodies[K] {
  const spec = KINDS[kind] as unknown as Pick<StepKindSpec<K, z.ZodType, z.ZodRawShape>, 'compile'>;
  // A step of this kind: the document was found valid.
  return spec.compile(step as unknown as KindFields<K, z.ZodType, z.ZodRawShape>, valueCompiler(names));
}

function compileCondition(condition: Step['if']): Value | undefined {
  if (condition === undefined) return undefined;
  return typeof condition === 'boolean' ? constantValue(condition) : compileValue(condition, STEP_NAMES);
}

function compileForEach({ forEach, parallelism }: Step): CompiledForEach | undefined {
  if (forEach === undefined) return undefined;
  return { items: compileValue(forEach, STEP_NAMES), parallelism: parallelism ?? DEFAULT_PARALLELISM };
}

function compileRetry(retry: Step['retry'] = {}, atMostOnce: boolean): RetryPolicy {
  const backoff = compileBackoff(retry);
  const delays = backoff.type === 'delays' ? backoff.delaysMs.length + 1 : DEFAULT_ATTEMPTS;
  return { attempts: atMostOnce ? 1 : (retry.attempts ?? delays), backoff };
}

function compileBackoff({ backoff, initial, max }: NonNullable<Step['retry']>): Backoff {
  if (Array.isArray(backoff))
    return { type: 'delays', delaysMs: backoff.map((text) => milliseconds(text) ?? 0) };
  const initialMs = milliseconds(initial) ?? DEFAULT_INITIAL_MS;
  if (backoff === 'fixed') return { type: 'fixed', delayMs: initialMs };
  return { type: 'exponential', initialMs, maxMs: Math.max(initialMs, milliseconds(max) ?? DEFAULT_MAX_MS) };
}

function compileTrigger(name: string, trigger: Trigger): CompiledTrigger {
  if (!('webhook' in trigger)) return { type: 'manual', name };
  const { verify, filter, respond = 'accepted', wait, dedupe } = trigger.webhook;
  return {
    type: 'webhook',
    name,
    verify: verifySchema.parse(verify),
    filter: filter === undefined ? undefined : compiledExpression(filter, WEBHOOK_NAMES),
    respond,
    waitMs: respond === 'result' ? (milliseconds(wait) ?? DEFAULT_RESULT_WAIT_MS) : 0,
    dedupe: compileDedupe(dedupe),
  };
}

function compileDedupe(
  dedupe: Extract<Trigger, { readonly webhook: unknown }>['webhook']['dedupe'],
): CompiledDedupe {
  if (dedupe === undefined) return { type: 'provider' };
  if (dedupe === false) return { type: 'off' };
  if ('header' in dedupe) return { type: 'header', header: dedupe.header.toLowerCase() };
  return { type: 'key', key: compiledExpression(dedupe.key, WEBHOOK_NAMES) };
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}
