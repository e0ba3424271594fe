import type { FailureDetail } from '../../../core/sandbox/protocol.ts';
import type { Failure } from '../messages.ts';

/** Says that trying again is of no use: the step fails at once. */
export class TerminalError extends Error {
  override readonly name: string = 'TerminalError';
}

/** Says that trying again may help, and from when on. */
export class RetryableError extends Error {
  override readonly name: string = 'RetryableError';
  readonly retryAfter: number | undefined;

  /** @param options `retryAfter`: least delay before the next attempt, in seconds */
  constructor(message?: string, options: ErrorOptions & { readonly retryAfter?: number } = {}) {
    super(message, options);
    this.retryAfter = options.retryAfter;
  }
}

/** A fetch that the platform refused, or that failed; the same class as that of the standard, with a code. */
export class FetchError extends TypeError {
  override readonly name: string = 'FetchError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
    platformCodes.set(this, code);
  }
}

/** A module that is not there, or one of its functions. */
export class UnresolvedImportError extends Error {
  override readonly name: string = 'UnresolvedImportError';
  readonly code = 'ERR_UNRESOLVED_IMPORT';
}

/** Ends the evaluation of a program whose default export is missing. */
export class MissingExportError extends Error {
  override readonly name: string = 'MissingExportError';
}

/** Not read from the error itself, so that nothing but the platform gives platform codes. */
const platformCodes = new WeakMap<object, string>();
const MAX_CAUSES = 8;
const MAX_NAME = 200;
const MAX_MESSAGE = 16_384;
const MAX_STACK = 65_536;
const MAX_RETRY_AFTER_MS = 86_400_000;

/** What a run fails with when `thrown` was not caught. Never throws, whatever it was given. */
export function describeThrown(thrown: unknown, format: (value: unknown) => string): Failure {
  const detail = attempt(() => detailOf(thrown, format)) ?? {
    name: 'Error',
    message: 'What was thrown cannot be read.',
  };
  if (thrown instanceof UnresolvedImportError) return { failure: 'unresolved_import', detail };
  if (thrown instanceof MissingExportError) return { failure: 'missing_export', detail };
  if (thrown instanceof SyntaxError && isOfProgram(thrown)) return { failure: 'syntax_error', detail };
  return { failure: 'code_error', detail };
}

function detailOf(thrown: unknown, format: (value: unknown) => string): FailureDetail {
  if (!(thrown instanceof Error)) {
    return { name: 'Error', message: cut(`thrown: ${format(thrown)}`, MAX_MESSAGE) };
  }
  const name = text(() => thrown.name) ?? 'Error';
  const message = text(() => thrown.message) ?? '';
  const stack = text(() => thrown.stack);
  const platformCode = platformCodeOf(thrown);
  return {
    name: cut(name, MAX_NAME),
    message: cut(message, MAX_MESSAGE),
    ...(stack !== undefined && { stack: cut(ownFrames(stack), MAX_STACK) }),
    ...(platformCode !== undefined && { platformCode }),
    ...retryOf(thrown),
  };
}

function retryOf(error: Error): Pick<FailureDetail, 'retryable' | 'retryAfterMs'> {
  if (error instanceof TerminalError) return { retryable: false };
  if (!(error instanceof RetryableError)) return {};
  const seconds = attempt(() => Number(error.retryAfter));
  if (seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return { retryable: true };
  return { retryable: true, retryAfterMs: Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) };
}

/** Clients wrap what `fetch` throws: the cause of the cause counts, unless the author's own word stands before it. */
function platformCodeOf(error: Error): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < MAX_CAUSES && typeof current === 'object' && current !== null; depth++) {
    if (current instanceof TerminalError || current instanceof RetryableError) return undefined;
    const code = platformCodes.get(current);
    if (code !== undefined) return code;
    const { cause } = current as { readonly cause?: unknown };
    current = cause;
  }
  return undefined;
}

/** Set where the program is compiled: a SyntaxError of `JSON.parse` is an error like any other. */
const compileErrors = new WeakSet<object>();
const isOfProgram = (error: Error): boolean => compileErrors.has(error);

export function markCompileError(thrown: unknown): void {
  if (typeof thrown === 'object' && thrown !== null) compileErrors.add(thrown);
}

/** Leaves out the frames of runner and runtime. */
const ownFrames = (stack: string): string =>
  stack
    .split('\n')
    .filter((line) => !/^\s+at .*(?:\bext:|\bmillrace:|\bdata:text\/javascript|\bnode:)/.test(line))
    .join('\n');

const cut = (value: string, length: number): string =>
  value.length <= length ? value : `${value.slice(0, length - 1)}…`;

const text = (read: () => unknown): string | undefined => {
  const value = attempt(read);
  return typeof value === 'string' ? value : undefined;
};

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
