import type { HostPattern } from '../credentials/types.ts';
import type { Expression, ExpressionLimits, Scope } from '../expressions/types.ts';
import type { JsonObject, JsonValue } from '../json.ts';
import type { VerifyConfig } from '../triggers/verify/schemas.ts';

/**
 * The runtime form of a workflow: what the API and the worker run. {@link CompiledWorkflow} is made once per version by
 * `compileWorkflow` (compile.ts), is immutable, and holds no state of an execution.
 */

/** The step kinds of this release; each has its file in steps/. */
export const STEP_KINDS = ['http', 'code', 'transform', 'wait', 'respond', 'container', 'notebook'] as const;
export type StepKind = (typeof STEP_KINDS)[number];

/** An expression, a template or a constant, behind one call. */
export interface Value {
  /** True when it needs nothing of the scope. */
  readonly isConstant: boolean;
  /** Root names it reads. */
  readonly names: ReadonlySet<string>;
  /** Step ids it reads, so that only those outputs need loading. */
  readonly stepIds: ReadonlySet<string>;
  /** @throws ExpressionError as `Expression.evaluate`. */
  evaluate(scope: Scope, limits?: ExpressionLimits): JsonValue;
}

/** When a need is met: by success alone, or by any end of that step (failed and skipped included). */
export type NeedWhen = 'success' | 'always';

export interface CompiledNeed {
  /** Index into {@link CompiledWorkflow.steps}. */
  readonly index: number;
  readonly when: NeedWhen;
}

/** `exponential` is jittered when it is applied; `delays` repeats its last one. */
export type Backoff =
  | { readonly type: 'fixed'; readonly delayMs: number }
  | { readonly type: 'exponential'; readonly initialMs: number; readonly maxMs: number }
  | { readonly type: 'delays'; readonly delaysMs: readonly number[] };

export interface RetryPolicy {
  /** Tries in all, the first one included; 1 means no retry. */
  readonly attempts: number;
  readonly backoff: Backoff;
}

/** `forEach`: the body runs once for each element, with `item` and `index` in scope. */
export interface CompiledForEach {
  /** Evaluates to the list; anything else is `invalid_input`. Neither `item` nor `index` is in scope here. */
  readonly items: Value;
  /** How many elements are worked on at once. */
  readonly parallelism: number;
}

interface CompiledStepCommon {
  /** Position in document order; the index used by needs and dependents. */
  readonly index: number;
  readonly id: string;
  readonly name: string | undefined;
  readonly description: string | undefined;
  readonly needs: readonly CompiledNeed[];
  /** Indexes of the steps that need this one, ascending. */
  readonly dependents: readonly number[];
  /** Evaluated once, before `forEach`; a value other than `true` skips the step. */
  readonly if: Value | undefined;
  readonly forEach: CompiledForEach | undefined;
  /**
   * What is journaled as the step's input, and what code is called with (else `defaultInput` of default-input.ts);
   * evaluated per item under `forEach`.
   */
  readonly input: Value | undefined;
  readonly retry: RetryPolicy;
  /** Of one attempt. */
  readonly timeoutMs: number;
  readonly continueOnError: boolean;
  /** Never started a second time; `retry.attempts` is then 1. */
  readonly atMostOnce: boolean;
}

export interface CompiledHttp {
  readonly method: HttpMethod;
  /** The whole URL, or, with `relativeToCredential`, the path (from `/` on) below the credential's `baseUrl`. */
  readonly url: Value;
  readonly relativeToCredential: boolean;
  /** Always named in the document, never taken from data. */
  readonly credential: string | undefined;
  /** Evaluates to an object of strings, numbers, booleans; null leaves the header out. */
  readonly headers: Value | undefined;
  /** As `headers`; a list repeats the parameter. */
  readonly query: Value | undefined;
  /** A string is sent as it is, anything else as JSON. */
  readonly body: Value | undefined;
  /** Statuses ≥ 400 that are no failure; see `isOkStatus` in steps/http.ts. */
  readonly okStatus: readonly StatusRange[];
  readonly followRedirects: boolean;
  /** Undefined: the executor's default. */
  readonly maxResponseBytes: number | undefined;
  /** Hosts it may call, beside those of its credential; undefined: every public one. */
  readonly egress: readonly HostPattern[] | undefined;
}

export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
export type HttpMethod = (typeof HTTP_METHODS)[number];

/** Inclusive. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

export interface CompiledTransform {
  /** The step's output. */
  readonly value: Value;
}

/** Use `dueAt` of steps/wait.ts to turn it into a moment. */
export type CompiledWait =
  { readonly type: 'for'; readonly duration: Value } | { readonly type: 'until'; readonly moment: Value };

/** The first `respond` step that succeeds decides what a `respond: result` webhook answers. */
export interface CompiledRespond {
  /** Evaluates to an integer 200–599; see `renderRespond` in steps/respond.ts. */
  readonly status: Value;
  readonly headers: Value | undefined;
  readonly body: Value | undefined;
}

/** What a step that runs in a sandbox may use. */
export interface SandboxNeeds {
  /** Hosts that `ctx.fetch` may call, beside those of `credentials`. */
  readonly egress: readonly HostPattern[];
  /** Names of credentials that `ctx.fetch` may use. */
  readonly credentials: readonly string[];
  /** Names of `secret` credentials whose values the code gets in `ctx.secrets`. */
  readonly secrets: readonly string[];
  /** `execution`: a sandbox of its own for each attempt; `process` (Python): a process of its own. */
  readonly isolation: 'shared' | 'execution' | 'process';
  /** Cores; undefined: the default of the worker. */
  readonly cpus: number | undefined;
  readonly memoryBytes: number | undefined;
}

export type CodeLanguage = 'typescript' | 'javascript' | 'python';

export interface CompiledCode extends SandboxNeeds {
  /** Path of a file deployed with the workflow. */
  readonly file: string;
  readonly language: CodeLanguage;
}

export interface CompiledNotebook extends SandboxNeeds {
  readonly file: string;
}

export interface CompiledContainer extends SandboxNeeds {
  /** Reference of an OCI image, as written; never taken from data. */
  readonly image: string;
  /** Replaces the image's entrypoint; evaluates to a list, as `args`. */
  readonly command: Value | undefined;
  /** Replaces the image's command. */
  readonly args: Value | undefined;
  /** Evaluates to an object of variables. */
  readonly env: Value | undefined;
}

/** Compiled bodies by kind: the key of a step in the document, e.g. `http:`. */
export interface CompiledBodies {
  readonly http: CompiledHttp;
  readonly code: CompiledCode;
  readonly transform: CompiledTransform;
  readonly wait: CompiledWait;
  readonly respond: CompiledRespond;
  readonly container: CompiledContainer;
  readonly notebook: CompiledNotebook;
}

/** Discriminated by `kind`, so that `switch (step.kind)` narrows `step.body`. */
export type CompiledStep = {
  [K in StepKind]: CompiledStepCommon & { readonly kind: K; readonly body: CompiledBodies[K] };
}[StepKind];
export type CompiledStepOf<K extends StepKind> = Extract<CompiledStep, { readonly kind: K }>;

/** What recognises a repeated delivery of a webhook. */
export type CompiledDedupe =
  /** The id that the verify scheme's provider sends; none where it sends none. */
  | { readonly type: 'provider' }
  /** Lower-case header name; a delivery without it is not deduplicated. */
  | { readonly type: 'header'; readonly header: string }
  /** In scope: {@link WEBHOOK_NAMES}. Null or an error: not deduplicated. */
  | { readonly type: 'key'; readonly key: Expression }
  | { readonly type: 'off' };

export interface CompiledWebhookTrigger {
  readonly type: 'webhook';
  readonly name: string;
  /** With its defaults; see core/triggers/verify. */
  readonly verify: VerifyConfig;
  /** Accepts only when it is `true`. In scope: {@link WEBHOOK_NAMES}. */
  readonly filter: Expression | undefined;
  readonly respond: 'accepted' | 'result';
  /** With `respond: result`: how long the sender is kept waiting before it gets a 202; else 0. */
  readonly waitMs: number;
  readonly dedupe: CompiledDedupe;
}

export interface CompiledManualTrigger {
  readonly type: 'manual';
  readonly name: string;
}

export type CompiledTrigger = CompiledWebhookTrigger | CompiledManualTrigger;
export type TriggerType = CompiledTrigger['type'];

export interface CompiledWorkflow {
  readonly name: string;
  readonly description: string | undefined;
  readonly triggers: readonly CompiledTrigger[];
  /** In document order. */
  readonly steps: readonly CompiledStep[];
  readonly stepIndex: ReadonlyMap<string, number>;
  /** The execution's output; undefined: null. May read any step. */
  readonly output: Value | undefined;
  /** Of the execution; time spent waiting does not count. */
  readonly timeoutMs: number;
  /** `config` in scope. */
  readonly config: JsonObject;
  /** What a manual start's input must match; see `checkInput` in input-schema.ts. */
  readonly inputSchema: JsonObject | boolean | undefined;
}

/** Names in scope of steps and of `output`. */
export const STEP_NAMES = ['trigger', 'steps', 'execution', 'workflow', 'config'] as const;
/** Added for `input` and the body of a step with `forEach`. */
export const FOR_EACH_NAMES = ['item', 'index'] as const;
/** Names in scope of a webhook's `filter` and `dedupe.key`: there is no execution yet. */
export const WEBHOOK_NAMES = ['trigger', 'workflow', 'config', 'body', 'headers', 'query', 'method'] as const;
