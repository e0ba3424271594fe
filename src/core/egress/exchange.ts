import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { errorCodeOf } from '../errors/app-error.ts';
import { retryableError, StepError, terminalError } from '../step-error.ts';
import type { Deadline } from './deadline.ts';
import { createIncomingBody, type IncomingBody } from './incoming-body.ts';
import { isStreamed, startUpload, type StreamedBody, type Upload } from './outgoing-body.ts';

export interface ExchangeRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer | StreamedBody | undefined;
  /** Host and port, for messages. */
  readonly label: string;
  /** As received: what it becomes when decompressed is for the reader to limit. */
  readonly maxResponseBytes: number;
  /** The failure of a larger one. */
  readonly tooLarge: () => StepError;
  readonly connectTimeoutMs: number;
  /** Whether nobody will read the body of such a response. */
  readonly isBodyIgnored: (status: number, headers: Readonly<Record<string, string>>) => boolean;
}

export type RawHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A response whose body is still to come. */
export interface ExchangeResponse {
  readonly status: number;
  /** By lower-case name; repeated ones joined by `, `. */
  readonly headers: Record<string, string>;
  /** By lower-case name, repeated ones as lists. */
  readonly rawHeaders: RawHeaders;
  /** Empty when it is ignored. */
  readonly body: IncomingBody;
  readonly firstByteAt: number;
}

/** An ignored body up to this size is read, which keeps the connection; beyond it the connection is dropped. */
const MAX_IGNORED_BYTES = 65_536;

/**
 * One request and its response over one connection, with no redirect, decoding or retry. Resolves with the head; the
 * deadline goes on bounding the body.
 *
 * @param onOver called once, when nothing more is sent or received, also after a rejection
 */
export function exchange(
  dispatcher: Dispatcher,
  request: ExchangeRequest,
  deadline: Deadline,
  onOver?: () => void,
): Promise<ExchangeResponse> {
  return new Promise((resolve, reject) => {
    if (deadline.failure !== undefined) {
      reject(deadline.failure);
      onOver?.();
      return;
    }
    let controller: Dispatcher.DispatchController | undefined;
    const incoming = createIncomingBody({
      pause: () => controller?.pause(),
      resume: () => controller?.resume(),
      drop: () => controller?.abort(new Error('the rest is not needed')),
    });
    const upload = isStreamed(request.body) ? startUpload(request.body.chunks) : undefined;
    let ignored: ExchangeResponse | undefined;
    let size = 0;
    const over = (): void => {
      forget();
      upload?.stop();
      onOver?.();
    };
    const fail = (failure: StepError): void => {
      reject(failure);
      incoming.fail(failure);
    };
    const abort = (failure: StepError): void => {
      fail(failure);
      upload?.stop();
      controller?.abort(failure);
    };
    const forget = deadline.onFailure(abort);

    dispatcher.dispatch(
      {
        method: request.method,
        path: request.path,
        headers: flat(request.headers, request.body),
        body: bodyOf(request.body, upload),
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
          const response = {
            status,
            headers,
            rawHeaders,
            body: incoming.body,
            firstByteAt: performance.now(),
          };
          if (request.isBodyIgnored(status, headers)) {
            ignored = response; // resolved once it is read or given up, so that the next hop finds a free connection
            return;
          }
          const isBodiless = request.method === 'HEAD' || status === 304;
          const isAnnouncedOver = !isBodiless && Number(headers['content-length']) > request.maxResponseBytes;
          if (isAnnouncedOver) abort(request.tooLarge());
          else resolve(response);
        },
        onResponseData: (_, chunk) => {
          size += chunk.length;
          if (ignored !== undefined) {
            if (size > MAX_IGNORED_BYTES) {
              incoming.end();
              resolve(ignored);
              controller?.abort(new Error('the rest is not needed'));
            }
          } else if (size > request.maxResponseBytes) abort(request.tooLarge());
          else incoming.push(chunk);
        },
        onResponseEnd: () => {
          over();
          incoming.end();
          if (ignored !== undefined) resolve(ignored);
        },
        onResponseError: (_, error) => {
          over();
          fail(toStepError(error, request));
        },
      },
    );
  });
}

const bodyOf = (
  body: Buffer | StreamedBody | undefined,
  upload: Upload | undefined,
): Dispatcher.DispatchOptions['body'] =>
  upload === undefined ? (body as Buffer | undefined) : (upload.chunks as unknown as Readable); // undici's types leave out that it takes any async iterable

function flat(headers: ReadonlyMap<string, string>, body: Buffer | StreamedBody | undefined): string[] {
  const list: string[] = [];
  for (const [name, value] of headers) list.push(name, value);
  // Without it the body is sent chunked; of a Buffer the length is known.
  if (isStreamed(body) && body.bytes !== undefined) list.push('content-length', String(body.bytes));
  return list;
}

/** From entries, so that a header named `__proto__` is one like any other. */
const plainHeaders = (headers: RawHeaders): Record<string, string> =>
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
  if (code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH') {
    return terminalError(
      'invalid_input',
      `The body of the request to ${label} is not as long as its content-length says`,
      raw,
    );
  }
  return retryableError(
    'connect_failed',
    `The request to ${label} failed: ${code ?? error.name}, ${error.message}`,
    {
      cause: raw,
    },
  );
}
