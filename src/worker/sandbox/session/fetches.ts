import { coerceError } from '../../../core/errors/app-error.ts';
import { ProtocolError } from '../../../core/sandbox/frames.ts';
import {
  BODY_WINDOW_BYTES,
  MAX_CHUNK_BYTES,
  MAX_FETCHES,
  type RunnerHeader,
} from '../../../core/sandbox/protocol.ts';
import { retryableError, StepError, terminalError } from '../../../core/step-error.ts';
import type { BrokerResponse, RunRequest } from '../types.ts';
import { createIncomingBody, type IncomingBody } from './incoming-body.ts';
import type { FrameWriter } from './writer.ts';

export type FetchHeader = Extract<RunnerHeader, { readonly fetch: number }>;
type Begin = Extract<RunnerHeader, { readonly type: 'fetch' }>;

/** What the author's code sees of a failure; the rest is for nobody. */
const MAX_MESSAGE_LENGTH = 2048;
/** As the schemas of the protocol have it. */
const MAX_HEADER_PAIRS = 200;
/** In characters, of two bytes at most: the frame's header has room for them. */
const MAX_HEADERS_LENGTH = 49_152;

/** One fetch, from its first frame until the broker is done with it. */
interface Fetch {
  readonly id: number;
  readonly controller: AbortController;
  readonly body: IncomingBody | undefined;
  /** Bytes of the response that the runner has room for. */
  window: number;
  onCredit: (() => void) | undefined;
}

export interface RunFetches {
  /** @throws ProtocolError for what no honest runner sends */
  handle(header: FetchHeader, payload: Uint8Array): void;
  /** Aborts all that is under way: grants end with their run. */
  end(): void;
}

/** The `ctx.fetch` requests of one run. */
export function createRunFetches(deps: {
  readonly nonce: string;
  readonly fetch: RunRequest['fetch'];
  readonly writer: FrameWriter;
  /** Told of what is nobody's fault but ours. */
  readonly onError: (error: Error) => void;
}): RunFetches {
  const { nonce, writer } = deps;
  const open = new Map<number, Fetch>();
  let lastId = 0;

  const begin = (header: Begin): void => {
    if (header.fetch !== lastId + 1) {
      throw new ProtocolError(`fetch ${header.fetch} begins after fetch ${lastId}`);
    }
    lastId = header.fetch;
    if (open.size >= MAX_FETCHES) {
      refuse(writer, { nonce, fetch: lastId }, tooMany());
      return;
    }
    const id = lastId;
    const fetch: Fetch = {
      id,
      controller: new AbortController(),
      body: header.hasBody
        ? createIncomingBody((bytes) => writer.send({ type: 'fetch_credit', nonce, fetch: id, bytes }))
        : undefined,
      window: BODY_WINDOW_BYTES,
      onCredit: undefined,
    };
    open.set(id, fetch);
    void answer(deps, fetch, header).finally(() => open.delete(id));
  };

  return {
    handle(header, payload) {
      if (header.type === 'fetch') {
        begin(header);
        return;
      }
      if (header.fetch < 1 || header.fetch > lastId) {
        throw new ProtocolError(`fetch ${header.fetch} has not begun`);
      }
      const fetch = open.get(header.fetch);
      // Answered or refused a moment ago, which the runner cannot know yet.
      if (fetch === undefined) return;
      switch (header.type) {
        case 'fetch_data':
          bodyOf(fetch).push(payload);
          break;
        case 'fetch_end':
          bodyOf(fetch).end();
          break;
        case 'fetch_abort':
          stop(fetch, 'the code has aborted the request');
          break;
        case 'fetch_credit':
          fetch.window = Math.min(fetch.window + header.bytes, Number.MAX_SAFE_INTEGER);
          fetch.onCredit?.();
          break;
        default:
          header satisfies never;
      }
    },
    end() {
      for (const fetch of open.values()) stop(fetch, 'the run has ended');
    },
  };
}

function bodyOf(fetch: Fetch): IncomingBody {
  if (fetch.body === undefined) throw new ProtocolError(`fetch ${fetch.id} was said to have no body`);
  return fetch.body;
}

function stop(fetch: Fetch, reason: string): void {
  const error = terminalError('cancelled', reason);
  fetch.controller.abort(error);
  fetch.body?.fail(error);
  fetch.onCredit?.();
}

/** Asks the broker and sends what it says. Never rejects. */
async function answer(
  deps: Parameters<typeof createRunFetches>[0],
  fetch: Fetch,
  header: Begin,
): Promise<void> {
  const { nonce, writer } = deps;
  const { signal } = fetch.controller;
  const about = { nonce, fetch: fetch.id };
  try {
    const response = await deps.fetch({
      target: header.target,
      method: header.method,
      headers: header.headers,
      body: fetch.body?.chunks,
      redirect: header.redirect,
      signal,
    });
    if (signal.aborted) return;
    await writer.room();
    if (signal.aborted) return;
    writer.send({ type: 'fetch_head', ...about, ...headOf(response) });
    for await (const bytes of response.body) {
      if (!(await sendBody(writer, fetch, about, bytes))) return;
    }
    if (!signal.aborted) writer.send({ type: 'fetch_end', ...about });
  } catch (raw) {
    const error = coerceError(raw);
    if (!(error instanceof StepError)) deps.onError(error);
    if (!signal.aborted) refuse(writer, about, error);
  } finally {
    fetch.body?.fail(terminalError('cancelled', 'the request is over'));
  }
}

/** @returns false when the request was aborted meanwhile */
async function sendBody(
  writer: FrameWriter,
  fetch: Fetch,
  about: { readonly nonce: string; readonly fetch: number },
  bytes: Uint8Array,
): Promise<boolean> {
  const { signal } = fetch.controller;
  for (let at = 0; at < bytes.length && !signal.aborted;) {
    if (fetch.window === 0) {
      await new Promise<void>((resolve) => (fetch.onCredit = resolve));
      fetch.onCredit = undefined;
      continue;
    }
    await writer.room();
    if (signal.aborted) break;
    const piece = bytes.subarray(at, at + Math.min(fetch.window, MAX_CHUNK_BYTES));
    fetch.window -= piece.length;
    at += piece.length;
    writer.send({ type: 'fetch_data', ...about }, piece);
  }
  return !signal.aborted;
}

function headOf(response: BrokerResponse): Pick<BrokerResponse, 'status' | 'headers' | 'url' | 'redirected'> {
  const { status, headers, url, redirected } = response;
  const length = headers.reduce((sum, [name, value]) => sum + name.length + value.length, url.length);
  if (headers.length > MAX_HEADER_PAIRS || length > MAX_HEADERS_LENGTH) {
    throw retryableError(
      'response_too_large',
      `The response has ${headers.length} headers of ${length} characters; at most ${MAX_HEADER_PAIRS} of ` +
        `${MAX_HEADERS_LENGTH} together are handed to a step.`,
    );
  }
  return { status, headers, url, redirected };
}

function refuse(
  writer: FrameWriter,
  about: { readonly nonce: string; readonly fetch: number },
  error: Error,
): void {
  const [code, message] =
    error instanceof StepError
      ? [error.code, error.message.slice(0, MAX_MESSAGE_LENGTH)]
      : ['internal_error', 'The request failed inside the platform.'];
  writer.send({ type: 'fetch_failed', ...about, code, message });
}

const tooMany = (): StepError =>
  terminalError(
    'egress_limit',
    `A step may have ${MAX_FETCHES} requests under way at a time. Await some before the next is sent.`,
  );
