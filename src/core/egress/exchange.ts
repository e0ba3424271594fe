import type { Dispatcher } from 'undici';
import { errorCodeOf } from '../errors/app-error.ts';
import { retryableError, StepError, terminalError } from '../step-error.ts';
import type { Deadline } from './deadline.ts';
import { tooLarge } from './decode.ts';

export interface ExchangeRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer | undefined;
  /** Host and port, for messages. */
  readonly label: string;
  readonly maxResponseBytes: number;
  readonly connectTimeoutMs: number;
  /** Whether nobody will read the body of such a response. */
  readonly isBodyIgnored: (status: number, headers: Readonly<Record<string, string>>) => boolean;
}

export interface ExchangeResponse {
  readonly status: number;
  /** By lower-case name; repeated ones joined by `, `. */
  readonly headers: Record<string, string>;
  /** As received, content codings included; empty when it is ignored. */
  readonly body: Buffer;
  readonly firstByteAt: number;
}

/** An ignored body up to this size is read, which keeps the connection; beyond it the connection is dropped. */
const MAX_IGNORED_BYTES = 65_536;
const EMPTY = Buffer.alloc(0);

/** One request and its response over one connection, with no redirect, decoding or retry. */
export function exchange(
  dispatcher: Dispatcher,
  request: ExchangeRequest,
  deadline: Deadline,
): Promise<ExchangeResponse> {
  return new Promise((resolve, reject) => {
    if (deadline.failure !== undefined) {
      reject(deadline.failure);
      return;
    }
    let controller: Dispatcher.DispatchController | undefined;
    let response: Omit<ExchangeResponse, 'body'> | undefined;
    let isIgnored = false;
    let chunks: Buffer[] = [];
    let size = 0;
    const abort = (failure: StepError): void => {
      chunks = [];
      reject(failure);
      controller?.abort(failure);
    };
    const forget = deadline.onFailure(abort);
    const finish = (): void => {
      forget();
      if (response === undefined) reject(new Error('a response ended before it began'));
      else resolve({ ...response, body: concat(chunks, size) });
    };

    dispatcher.dispatch(
      {
        method: request.method,
        path: request.path,
        headers: flat(request.headers),
        body: request.body,
      },
      {
        onRequestStart: (started) => {
          controller = started;
          // It waited for a free connection until it was too late.
          if (deadline.failure !== undefined) started.abort(deadline.failure);
        },
        onResponseStart: (_, status, rawHeaders) => {
          if (status < 200) return; // informational: the response is still to come
          const headers = plainHeaders(rawHeaders);
          response = { status, headers, firstByteAt: performance.now() };
          isIgnored = request.isBodyIgnored(status, headers);
          const isBodiless = request.method === 'HEAD' || status === 304;
          const isOver = !isBodiless && Number(headers['content-length']) > request.maxResponseBytes;
          if (isOver && !isIgnored) abort(tooLarge(request.label, request.maxResponseBytes));
        },
        onResponseData: (_, chunk) => {
          size += chunk.length;
          if (!isIgnored) {
            if (size > request.maxResponseBytes) abort(tooLarge(request.label, request.maxResponseBytes));
            else chunks.push(chunk);
          } else if (size > MAX_IGNORED_BYTES) {
            finish();
            controller?.abort(new Error('the rest is not needed'));
          }
        },
        onResponseEnd: finish,
        onResponseError: (_, error) => {
          forget();
          reject(toStepError(error, request));
        },
      },
    );
  });
}

function concat(chunks: readonly Buffer[], size: number): Buffer {
  const [first] = chunks;
  if (first === undefined) return EMPTY;
  // Even a single chunk is copied: it is a view of all that the socket has read.
  return Buffer.concat(chunks, size);
}

const flat = (headers: ReadonlyMap<string, string>): string[] => [...headers].flat();

/** From entries, so that a header named `__proto__` is one like any other. */
const plainHeaders = (
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : (value ?? []).join(', '),
    ]),
  );

/** What failed while connecting, sending or reading, in the words of a step. */
function toStepError(raw: Error, { label, connectTimeoutMs }: ExchangeRequest): StepError {
  if (raw instanceof StepError) return raw;
  // Several addresses were tried; the first failure stands for all.
  const error = raw instanceof AggregateError && raw.errors[0] instanceof Error ? raw.errors[0] : raw;
  const code = errorCodeOf(error);
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    return retryableError(
      'connect_failed',
      `${label} did not accept a connection within ${connectTimeoutMs} ms`,
      {
        cause: raw,
      },
    );
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'HPE_HEADER_OVERFLOW') {
    return terminalError('response_too_large', `The response headers of ${label} are too large`, raw);
  }
  if (code === 'UND_ERR_INVALID_ARG') {
    return terminalError('invalid_input', `The request to ${label} cannot be sent: ${error.message}`, raw);
  }
  return retryableError(
    'connect_failed',
    `The request to ${label} failed: ${code ?? error.name}, ${error.message}`,
    {
      cause: raw,
    },
  );
}
