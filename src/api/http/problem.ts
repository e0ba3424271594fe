import type { ServerResponse } from 'node:http';
import { AppError, appError, coerceError, errorCodeOf, type Problem } from '../../core/errors/app-error.ts';
import { ERRORS, type ErrorCode, type ErrorKind } from '../../core/errors/registry.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

const STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unprocessable: 422,
  too_large: 413,
  unsupported_media: 415,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  gone: 410,
  conflict: 409,
  limited: 429,
  unavailable: 503,
  internal: 500,
};

const TITLE_OF_KIND: Readonly<Record<ErrorKind, string>> = {
  invalid: 'Invalid request',
  unprocessable: 'Unprocessable content',
  too_large: 'Content too large',
  unsupported_media: 'Unsupported media type',
  unauthenticated: 'Unauthenticated',
  forbidden: 'Forbidden',
  not_found: 'Not found',
  gone: 'Gone',
  conflict: 'Conflict',
  limited: 'Too many requests',
  unavailable: 'Unavailable',
  internal: 'Internal error',
};

// HTTP has finer words for these than their kind.
const BY_CODE: Partial<Record<ErrorCode, { readonly status: number; readonly title: string }>> = {
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  request_timeout: { status: 408, title: 'Request timeout' },
  headers_too_large: { status: 431, title: 'Request header fields too large' },
};

/** Seconds for `Retry-After` where the error names none: 429 and 503 always carry the header. */
const DEFAULT_RETRY_AFTER_S = 5;

/** RFC 9457. `code` is the stable name; `type` is the same as a URI. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly requestId: string;
  readonly errors?: readonly Problem[];
  readonly [extension: string]: unknown;
}

export interface ProblemReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly document: ProblemDocument;
}

/** The HTTP status that an error code is answered with. */
export function statusOf(code: ErrorCode): number {
  return BY_CODE[code]?.status ?? STATUS_OF_KIND[ERRORS[code].kind];
}

/** How `error` is answered; what only we should read (causes, details of 5xx) is left out. */
export function problemReply(error: AppError, requestId: string): ProblemReply {
  const status = statusOf(error.code);
  const headers: Record<string, string> = { 'content-type': PROBLEM_MEDIA_TYPE };
  if (status === 429 || status === 503) {
    headers['retry-after'] = String(Math.ceil(error.retryAfterS ?? DEFAULT_RETRY_AFTER_S));
  }
  if (status === 401) headers['www-authenticate'] = 'Bearer realm="millrace"';
  const document: ProblemDocument = {
    ...error.extensions,
    type: `urn:millrace:problem:${error.code}`,
    title: BY_CODE[error.code]?.title ?? TITLE_OF_KIND[error.kind],
    status,
    detail: detailOf(error, status),
    code: error.code,
    requestId,
    ...(error.problems.length > 0 && { errors: error.problems }),
  };
  return { status, headers, document };
}

/** Of a 5xx only the registry's own words are told, never arguments: those may come from a cause. */
function detailOf(error: AppError, status: number): string {
  if (status < 500) return error.message;
  const template: string = ERRORS[error.code].message;
  if (!template.includes('%s')) return template;
  const retryAfterS = Math.ceil(error.retryAfterS ?? DEFAULT_RETRY_AFTER_S);
  return status === 503
    ? ERRORS.unavailable.message.replace('%s', String(retryAfterS))
    : ERRORS.internal.message;
}

/** Answers with a problem document; does nothing more than end the connection when the head is already sent. */
export function sendProblem(res: ServerResponse, error: AppError, requestId: string): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const { status, headers, document } = problemReply(error, requestId);
  const body = JSON.stringify(document);
  res.writeHead(status, {
    ...headers,
    'cache-control': 'no-store',
    'content-length': Buffer.byteLength(body),
  });
  res.end(body);
}

/** Whatever a handler threw, as the error to answer with. What nobody foresaw is `internal`, with the cause kept. */
export function toAppError(raw: unknown): AppError {
  if (raw instanceof AppError) return raw;
  const cause = coerceError(raw);
  if (isOutage(cause)) return appError('unavailable', { args: [DEFAULT_RETRY_AFTER_S], cause });
  const status = 'status' in cause ? cause.status : undefined;
  // Express refuses a path with a malformed percent-encoding this way.
  if (status === 400 && cause instanceof URIError) {
    return appError('invalid_request', {
      args: ['The path holds a malformed percent-encoding; encode it as UTF-8'],
      cause,
    });
  }
  return appError('internal', { cause });
}

const CONNECTION_ERRORS: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT', // of a Unix socket
]);
// SQLSTATE classes: connection exception, insufficient resources, operator intervention, read-only transaction;
// then transactions that may be tried again.
const OUTAGE_STATES = /^(?:08...|53...|57P0.|57014|25006|40001|40003|40P01)$/;
// pg and pg-pool give these no code; they are constants of their sources.
const OUTAGE_MESSAGES: ReadonlySet<string> = new Set([
  'timeout exceeded when trying to connect',
  'Query read timeout',
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Cannot use a pool after calling end on the pool',
]);

/** Whether PostgreSQL (or the way to it) is what failed, so that trying again later may succeed. */
export function isOutage(error: Error): boolean {
  const code = errorCodeOf(error);
  if (code !== undefined) return CONNECTION_ERRORS.has(code) || OUTAGE_STATES.test(code);
  if (error instanceof AggregateError) return error.errors.some((inner) => isOutage(coerceError(inner)));
  return OUTAGE_MESSAGES.has(error.message);
}
