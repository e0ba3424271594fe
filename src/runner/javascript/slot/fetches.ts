import type { FetchSettle } from '../realm/host.ts';
import { toBuffer } from '../bytes.ts';
import { BODY_WINDOW_BYTES, MAX_FETCHES } from '../limits.ts';
import type { FetchAnswer, FetchQuestion } from '../messages.ts';
import { createIncomingBody, type IncomingBody } from './incoming-body.ts';
import { sendBody } from './outgoing-body.ts';

/** Answers without a body: a `Response` refuses even an empty one. */
const BODILESS = new Set([101, 103, 204, 205, 304]);

interface Fetch {
  readonly id: number;
  readonly settle: FetchSettle;
  readonly request: Request;
  /** Bytes of the request's body that may still be sent. */
  window: number;
  onCredit: (() => void) | undefined;
  /** Once the head of the response is there. */
  body: IncomingBody | undefined;
  isOver: boolean;
  readonly onAbort: () => void;
}

export interface RunFetches {
  /** @throws TypeError for what no request can be made of */
  begin: (input: unknown, init: RequestInit | undefined, settle: FetchSettle) => void;
  handle: (answer: FetchAnswer) => void;
  /** Aborts what is under way, and begins nothing more. */
  end(): void;
}

/** The fetches of one run. */
export function createRunFetches(
  run: number,
  post: (message: FetchQuestion, transfer?: ArrayBuffer[]) => void,
): RunFetches {
  const open = new Map<number, Fetch>();
  /** Beyond what may be under way at a time. */
  const waiting: (() => void)[] = [];
  let lastId = 0;
  let isOver = false;

  const beginWaiting = (): void => {
    while (open.size < MAX_FETCHES && waiting.length > 0) waiting.shift()?.();
  };
  /** @returns whether it was still under way */
  const close = (fetch: Fetch): boolean => {
    if (fetch.isOver) return false;
    fetch.isOver = true;
    open.delete(fetch.id);
    fetch.request.signal.removeEventListener('abort', fetch.onAbort);
    fetch.onCredit?.();
    beginWaiting();
    return true;
  };
  const abort = (fetch: Fetch, reason: unknown): void => {
    if (!close(fetch)) return;
    post({ type: 'fetch_abort', run, fetch: fetch.id });
    if (fetch.body === undefined) fetch.settle.reject(reason);
    else fetch.body.fail(reason);
  };
  const send = (target: string, request: Request, settle: FetchSettle): void => {
    if (isOver) return;
    if (request.signal.aborted) {
      settle.reject(request.signal.reason);
      return;
    }
    const fetch: Fetch = {
      id: ++lastId,
      settle,
      request,
      window: BODY_WINDOW_BYTES,
      onCredit: undefined,
      body: undefined,
      isOver: false,
      onAbort: () => abort(fetch, request.signal.reason),
    };
    open.set(fetch.id, fetch);
    request.signal.addEventListener('abort', fetch.onAbort);
    const { method, redirect, body } = request;
    const headers = [...request.headers];
    post({ type: 'fetch', run, fetch: fetch.id, target, method, headers, hasBody: body !== null, redirect });
    if (body === null) return;
    const about = { run, fetch: fetch.id };
    sendBody(body, fetch, (bytes) => post({ type: 'fetch_data', ...about, bytes: toBuffer(bytes) }))
      .then((isWhole) => {
        if (isWhole) post({ type: 'fetch_end', ...about });
      })
      .catch((error: unknown) => abort(fetch, error));
  };
  const onHead = (fetch: Fetch, head: FetchAnswer & { readonly type: 'fetch_head' }): void => {
    fetch.body = createIncomingBody({
      onCredit: (bytes) => {
        if (!fetch.isOver) post({ type: 'fetch_credit', run, fetch: fetch.id, bytes });
      },
      onCancel: (reason) => abort(fetch, reason),
    });
    fetch.settle.resolve(toResponse(head, fetch.body.stream));
  };

  return {
    begin(input, init, settle) {
      const isRequest = input instanceof Request;
      const target = isRequest ? input.url : String(input);
      // Targets need not be URLs (`crm:/customers`): the request is made for everything else that it says.
      const request = new Request(isRequest ? input : 'http://target/', init);
      if (isOver) {
        settle.reject(settle.toError('cancelled', 'The step has ended: nothing is fetched for it any more.'));
      } else if (open.size < MAX_FETCHES) send(target, request, settle);
      else waiting.push(() => send(target, request, settle));
    },
    handle(answer) {
      const fetch = open.get(answer.fetch);
      if (fetch === undefined) return;
      switch (answer.type) {
        case 'fetch_head':
          onHead(fetch, answer);
          break;
        case 'fetch_data':
          fetch.body?.push(new Uint8Array(answer.bytes));
          break;
        case 'fetch_end':
          if (close(fetch)) fetch.body?.end();
          break;
        case 'fetch_failed': {
          if (!close(fetch)) break;
          const error = fetch.settle.toError(answer.code, answer.message);
          if (fetch.body === undefined) fetch.settle.reject(error);
          else fetch.body.fail(error);
          break;
        }
        case 'fetch_credit':
          fetch.window += answer.bytes;
          fetch.onCredit?.();
          break;
        default:
          answer satisfies never;
      }
    },
    end() {
      isOver = true;
      waiting.length = 0;
      for (const fetch of open.values()) {
        const error = fetch.settle.toError('cancelled', 'The step has ended before its request did.');
        abort(fetch, error);
      }
    },
  };
}

type Head = FetchAnswer & { readonly type: 'fetch_head' };

function toResponse(head: Head, stream: ReadableStream<Uint8Array>): Response {
  const isUsual = head.status >= 200 && head.status <= 599;
  const response = new Response(BODILESS.has(head.status) ? null : stream, {
    status: isUsual ? head.status : 200,
    headers: head.headers.map(([name, value]) => [name, value]),
  });
  const own = {
    url: head.url,
    redirected: head.redirected,
    ...(!isUsual && { status: head.status, ok: false }),
  };
  for (const [name, value] of Object.entries(own)) {
    Object.defineProperty(response, name, { value, configurable: true });
  }
  return response;
}
