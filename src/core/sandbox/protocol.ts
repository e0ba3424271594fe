import { z } from '../zod.ts';

/**
 * What worker and runner say to each other; src/core/sandbox/README.md tells the story. Every frame's header is one of
 * these. The worker checks each header it gets (a runner may be hostile); the runner trusts the worker.
 *
 * A runner answers `program` + its parts with `program_ready` or `program_failed`, and every `run` with exactly one
 * `result` or `failed`, after which it sends nothing more for that request.
 */

/** A runner that says another number is not used. */
export const PROTOCOL_VERSION = 1;

/** A piece of a body never exceeds this. */
export const MAX_CHUNK_BYTES = 65_536;
/** How many bytes of one body may be under way before the receiver has asked for more. */
export const BODY_WINDOW_BYTES = 262_144;
/** A log entry's text is cut off here. */
export const MAX_LOG_ENTRY_BYTES = 16_384;
/** What an entry counts against `maxLogBytes` besides its text, on both sides: empty lines are not free. */
export const LOG_ENTRY_COST_BYTES = 64;
/** Fetches of one run at a time; one more is answered with `fetch_failed`, code `egress_limit`. */
export const MAX_FETCHES = 32;

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const text = z.string();
/** Unguessable, made by the worker for each request; what carries another one is a breach of the protocol. */
const nonce = z.string().length(32);
const headerPairs = z
  .array(z.tuple([z.string(), z.string()]).readonly())
  .max(200)
  .readonly();

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * Why the runner says that a run or a program failed.
 *
 * - `code_error`: the author's code threw, or ended its slot (`exited`)
 * - `syntax_error`, `missing_export`, `unresolved_import`: the program cannot be run at all
 * - `invalid_output`: what it returned is no JSON; `output_too_large`: it is more than `maxOutputBytes`
 * - `out_of_memory`: the slot's own memory was used up; `resource_limit`: another limit inside
 * - `cancelled`: the worker asked for it, and the slot is gone or free again
 */
export const RUN_FAILURES = [
  'code_error',
  'syntax_error',
  'missing_export',
  'unresolved_import',
  'invalid_output',
  'output_too_large',
  'out_of_memory',
  'resource_limit',
  'cancelled',
] as const;
export type RunFailure = (typeof RUN_FAILURES)[number];

/** Payload of `failed` and `program_failed`: JSON of this. */
export const failureDetailSchema = z.object({
  /** The error's class, as far as it has one. */
  name: z.string().max(200),
  message: z.string().max(16_384),
  /** As the runtime wrote it: lines of the bundle, not of the author's files. */
  stack: z.string().max(65_536).optional(),
  /** The code of a refusal by the platform that the author's code did not catch, such as `egress_denied`. */
  platformCode: z.string().max(64).optional(),
  /** What the error itself says: false is never tried again (`ctx.TerminalError`). */
  retryable: z.boolean().optional(),
  /** Least delay before another attempt (`ctx.RetryableError`). */
  retryAfterMs: z.number().min(0).max(86_400_000).optional(),
});
export type FailureDetail = z.infer<typeof failureDetailSchema>;

/**
 * `name` of a `code_error` whose run ended with its process. The runner sees no more of it than its status: who killed it
 * from outside of the sandbox is for the worker to find out.
 */
export const PROCESS_ENDED = 'ProcessEnded';

/** From the runner. */
export const runnerHeaderSchema = z.discriminatedUnion('type', [
  /** The first frame of all. */
  z.strictObject({
    type: z.literal('ready'),
    protocol: count,
    runtime: z.string().max(100),
    /** Runs at a time. */
    slots: z.int().min(1).max(16),
    /** First line of the kernel's log and /proc/version, as evidence of gVisor. */
    kernel: z.string().max(500),
  }),
  z.strictObject({ type: z.literal('pong'), ping: count }),
  z.strictObject({ type: z.literal('program_ready'), program: z.string().max(128) }),
  /** Payload: {@link failureDetailSchema}. */
  z.strictObject({
    type: z.literal('program_failed'),
    program: z.string().max(128),
    failure: z.enum(RUN_FAILURES),
  }),
  /** No slot is free for it yet, as it was to be: one is started or cleaned. Once, and `started` follows. */
  z.strictObject({ type: z.literal('waiting'), nonce }),
  z.strictObject({ type: z.literal('started'), nonce }),
  /** Payload: the text, at most {@link MAX_LOG_ENTRY_BYTES}. */
  z.strictObject({
    type: z.literal('log'),
    nonce,
    level: z.enum(LOG_LEVELS),
    /** This line stands for entries that were left out. */
    truncated: z.literal(true).optional(),
  }),
  /** Payload: the output as JSON. */
  z.strictObject({
    type: z.literal('result'),
    nonce,
    /** The slot was replaced after it (it left a thread, a process, a patched global behind). */
    slotReplaced: z.literal(true).optional(),
  }),
  /** Payload: {@link failureDetailSchema}. */
  z.strictObject({
    type: z.literal('failed'),
    nonce,
    failure: z.enum(RUN_FAILURES),
    slotReplaced: z.literal(true).optional(),
  }),
  /** Asks the broker for a request; `fetch` counts up from 1 within the run. */
  z.strictObject({
    type: z.literal('fetch'),
    nonce,
    fetch: count,
    /** A URL, or `credential-name:/path`. */
    target: z.string().max(32_768),
    method: z.string().max(32),
    headers: headerPairs,
    hasBody: z.boolean(),
    redirect: z.enum(['follow', 'manual', 'error']),
  }),
  /** Payload: the next bytes of the request's body, at most {@link MAX_CHUNK_BYTES}. */
  z.strictObject({ type: z.literal('fetch_data'), nonce, fetch: count }),
  z.strictObject({ type: z.literal('fetch_end'), nonce, fetch: count }),
  /** The code has lost interest; nothing more is sent for this fetch. */
  z.strictObject({ type: z.literal('fetch_abort'), nonce, fetch: count }),
  /** So many more bytes of the response's body may be sent, beyond the first {@link BODY_WINDOW_BYTES}. */
  z.strictObject({
    type: z.literal('fetch_credit'),
    nonce,
    fetch: count,
    bytes: z.int().min(1).max(1_048_576),
  }),
]);
export type RunnerHeader = z.infer<typeof runnerHeaderSchema>;

/**
 * From a runner that dials the worker's gateway, until it is claimed; after `claimed` it is as if it had just started:
 * `ready` comes next.
 */
export const registrationHeaderSchema = z.discriminatedUnion('type', [
  /** The first frame of the connection. */
  z.strictObject({
    type: z.literal('register'),
    protocol: count,
    /** `image`: what it speaks is image-protocol.ts. */
    runtime: z.enum(['javascript', 'python', 'image']),
    /** The pod's projected service-account token, audience `millrace-runner`. */
    token: z.string().min(1).max(8_192),
    /** Somebody has claimed this pod before: it asks to be deleted. */
    isUsed: z.literal(true).optional(),
  }),
  z.strictObject({ type: z.literal('pong'), ping: count }),
  /** Answers `claim`: it is this worker's from now on. */
  z.strictObject({ type: z.literal('claimed') }),
  /** It is another worker's now, whether this one has asked for it or not. */
  z.strictObject({ type: z.literal('busy') }),
]);
export type RegistrationHeader = z.infer<typeof registrationHeaderSchema>;

/** From the gateway, until the runner is claimed. */
export const gatewayHeaderSchema = z.discriminatedUnion('type', [
  /** The `host:port` of every worker, and of this one; a runner keeps a connection to each. */
  z.strictObject({ type: z.literal('registered'), self: text, gateways: z.array(text).readonly() }),
  /** There are others now. */
  z.strictObject({ type: z.literal('gateways'), gateways: z.array(text).readonly() }),
  /** The connection is closed after it. */
  z.strictObject({ type: z.literal('refused'), reason: text }),
  z.strictObject({ type: z.literal('ping'), ping: count }),
  z.strictObject({ type: z.literal('claim') }),
]);
export type GatewayHeader = z.infer<typeof gatewayHeaderSchema>;

/** From the worker. */
export const workerHeaderSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ping'), ping: count }),
  /**
   * Begins a program, to be kept until the sandbox ends; `bytes` of it follow in `part` frames of the same id, in order.
   * They are JavaScript: one CommonJS-style script; or Python: JSON of {@link PythonProgram}.
   */
  z.strictObject({
    type: z.literal('program'),
    program: text,
    language: z.enum(['javascript', 'python']),
    /** Shown in stack traces. */
    entry: text,
    bytes: count,
    /** Folder inside the sandbox that Python imports from, besides the program itself. */
    packages: text.optional(),
  }),
  /**
   * Begins a run of a program that is ready; `bytes` of JSON of {@link RunPayload} follow in `part` frames with `of` =
   * the nonce. The runner starts it when the last has come.
   */
  z.strictObject({
    type: z.literal('run'),
    nonce,
    program: text,
    bytes: count,
    maxOutputBytes: count,
    maxLogBytes: count,
    /** Python: fork a process for this run alone. */
    isolateProcess: z.literal(true).optional(),
    /** What the whole sandbox may use, of which the runner gives each slot its part; else as it was started. */
    memoryBytes: count.optional(),
  }),
  /**
   * Where worker and sandbox have no folder in common: the payload goes to the end of this file, which is made, with its
   * folders, when it is not there. Said before the program that imports from it.
   */
  z.strictObject({ type: z.literal('file'), path: text }),
  /** Payload: the next bytes of a program or run. */
  z.strictObject({ type: z.literal('part'), of: text }),
  /** Abort `ctx.signal`; after `graceMs` the slot is ended by force. */
  z.strictObject({ type: z.literal('cancel'), nonce, graceMs: count }),
  z.strictObject({
    type: z.literal('fetch_head'),
    nonce,
    fetch: count,
    status: z.int().min(100).max(999),
    headers: headerPairs,
    /** After redirects, without what a credential added. */
    url: text,
    redirected: z.boolean(),
  }),
  z.strictObject({ type: z.literal('fetch_data'), nonce, fetch: count }),
  z.strictObject({ type: z.literal('fetch_end'), nonce, fetch: count }),
  /** Instead of a head, or in the middle of a body. */
  z.strictObject({ type: z.literal('fetch_failed'), nonce, fetch: count, code: text, message: text }),
  z.strictObject({ type: z.literal('fetch_credit'), nonce, fetch: count, bytes: z.int().min(1) }),
]);
export type WorkerHeader = z.infer<typeof workerHeaderSchema>;

/** The source of a Python program. */
export interface PythonProgram {
  /** Path of the file whose `run` is called. */
  readonly entry: string;
  /** Every module of the workflow, by path. */
  readonly files: Readonly<Record<string, string>>;
}

/** What a run is given; `ctx` of the author's code is made of `context`. */
export interface RunPayload {
  readonly input: unknown;
  readonly context: {
    readonly execution: Readonly<Record<string, unknown>>;
    readonly workflow: Readonly<Record<string, unknown>>;
    readonly step: { readonly id: string; readonly attempt: number; readonly item: number | null };
    readonly config: Readonly<Record<string, unknown>>;
    readonly secrets: Readonly<Record<string, string>>;
    readonly idempotencyKey: string;
  };
}
