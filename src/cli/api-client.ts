import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { coerceError, errorCodeOf } from '../core/errors/app-error.ts';
import { z } from '../core/zod.ts';
import { CliError } from './cli-error.ts';
import { ApiError } from './problems.ts';
import { problemDocumentShape } from './shapes.ts';
import type { Target } from './target.ts';

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  /** A body that is sent as it is, with its media type. */
  readonly text?: { readonly type: string; readonly content: string };
  /** Until the answer is complete; null waits for ever. */
  readonly timeoutMs?: number | null;
}

export interface ApiClient {
  /**
   * The answer of a success, which must have `shape`.
   *
   * @throws ApiError for a refusal, CliError when nothing answers or the answer is another
   */
  request<S extends z.ZodType>(
    shape: S,
    method: string,
    path: string,
    options?: RequestOptions,
  ): Promise<{ readonly status: number; readonly body: z.output<S> }>;
  /** The lines of a streamed answer as they come, for as long as they come. */
  lines(path: string, options?: Pick<RequestOptions, 'query'>): AsyncGenerator<string>;
}

const TIMEOUT_MS = 30_000;

/** The API at `target`; it never follows a redirect, which would carry the key elsewhere. */
export function createApiClient(target: Target): ApiClient {
  const send = async (method: string, path: string, options: RequestOptions = {}): Promise<Response> => {
    const url = new URL(`${target.url}/api/v1${path}`);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const type = options.text?.type ?? (options.body === undefined ? undefined : 'application/json');
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      signal: options.timeoutMs === null ? null : AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS),
      headers: {
        authorization: `Bearer ${target.apiKey}`,
        ...(type !== undefined && { 'content-type': type }),
      },
      body: options.text?.content ?? (options.body === undefined ? null : JSON.stringify(options.body)),
    }).catch((raw: unknown) => {
      throw unreachable(target, coerceError(raw));
    });
    if (!response.ok) throw refusal(response.status, await response.text(), target);
    return response;
  };
  return {
    async request(shape, method, path, options) {
      const response = await send(method, path, options);
      const parsed = shape.safeParse(parseJson(await response.text()));
      if (parsed.success) return { status: response.status, body: parsed.data };
      throw new CliError(
        `${target.url} answered ${method} ${path} in a way that this release does not understand: ${z.prettifyError(parsed.error)}`,
      );
    },
    async *lines(path, options) {
      const response = await send('GET', path, { ...options, timeoutMs: null });
      if (response.body === null) return;
      try {
        yield* createInterface({ input: Readable.fromWeb(response.body), crlfDelay: Infinity });
      } catch (raw) {
        throw unreachable(target, coerceError(raw));
      }
    },
  };
}

function refusal(status: number, text: string, target: Target): ApiError {
  const document = problemDocumentShape.safeParse(parseJson(text)).data ?? {};
  const message = document.detail ?? document.title ?? `The API answered ${status}`;
  const isOurs = document.code !== undefined;
  return new ApiError(
    isOurs ? message : `${target.url} does not look like a Millrace API: it answered ${status}`,
    status,
    document,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unreachable(target: Target, error: Error): CliError {
  if (error.name === 'TimeoutError')
    return new CliError(`${target.url} did not answer in time.`, { cause: error });
  const reason = errorCodeOf(error.cause) ?? coerceError(error.cause ?? error).message;
  return new CliError(`Nothing answers at ${target.url} (${reason}). Is it running, and is the URL right?`, {
    cause: error,
  });
}
