import { ERRORS, type ErrorCode, type ErrorKind } from './registry.ts';

/** One problem among several, as `errors[]` of a problem document lists them. */
export interface Problem {
  /** Where it is, as a dotted path into the document, e.g. `steps[2].http.url`. */
  readonly path: string;
  /** 1-based position in the YAML source, where there is one. */
  readonly line?: number;
  readonly column?: number;
  readonly code?: string;
  readonly message: string;
  /** What to write instead. */
  readonly fix: string;
}

export interface AppErrorOptions {
  readonly args?: readonly (string | number)[];
  /** Several problems at once; sent to callers. */
  readonly problems?: readonly Problem[];
  /** Extra members of the problem document; sent to callers. */
  readonly extensions?: Readonly<Record<string, unknown>>;
  /** Seconds for `Retry-After`. */
  readonly retryAfterS?: number;
  readonly cause?: unknown;
}

/** A failure that a caller caused or can react to. Bugs are plain errors (`node:assert`). */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly problems: readonly Problem[];
  readonly extensions: Readonly<Record<string, unknown>>;
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.kind = ERRORS[code].kind;
    this.problems = options.problems ?? [];
    this.extensions = options.extensions ?? {};
    this.retryAfterS = options.retryAfterS;
  }
}

/** Builds the error registered under `code`; `args` fill the placeholders of its message. */
export function appError(code: ErrorCode, options: AppErrorOptions = {}): AppError {
  const args = [...(options.args ?? [])];
  const message = ERRORS[code].message.replaceAll('%s', () => String(args.shift() ?? ''));
  return new AppError(code, message, options);
}

/** Whatever was thrown, as an `Error`. */
export function coerceError(raw: unknown): Error {
  return raw instanceof Error ? raw : new Error(String(raw), { cause: raw });
}

/** The `code` of a Node, pg or Redis error, if it has one. */
export function errorCodeOf(raw: unknown): string | undefined {
  if (typeof raw !== 'object' || raw === null || !('code' in raw)) return undefined;
  return typeof raw.code === 'string' ? raw.code : undefined;
}
