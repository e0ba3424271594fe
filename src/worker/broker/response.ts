import type { ByteMask, Redactor } from '../../core/credentials/redact.ts';
import type { EgressStream } from '../../core/egress/types.ts';
import { FRAMING_HEADERS } from '../../core/http-headers.ts';
import type { BrokerResponse } from '../sandbox/types.ts';
import type { Call } from './call.ts';
import type { Usage } from './limits.ts';

interface ResponseContext {
  readonly call: Call;
  readonly usage: Usage;
  /** Of the credential that was used, if one was. */
  readonly redactor: Redactor | undefined;
  /** There is no body, whatever the headers say. */
  readonly isHead: boolean;
}

type Pieces = AsyncIterableIterator<Uint8Array, undefined>;

/**
 * A response as the code gets it: counted, and without the credential that was used for it, wherever the service
 * repeats it in headers or text.
 */
export function brokerResponse(stream: EgressStream, context: ResponseContext): BrokerResponse {
  const { redactor, isHead } = context;
  const mask = !isHead && isText(contentTypeOf(stream)) ? redactor?.bytes() : undefined;
  return {
    status: stream.status,
    headers: stream.headers
      // Its length is not known before it has been masked; those of the connection end with it.
      .filter(([name]) => (name === 'content-length' ? mask === undefined : !FRAMING_HEADERS.has(name)))
      .map(([name, value]) => [name, redactor?.text(value) ?? value] as const),
    url: redactor?.text(stream.url) ?? stream.url,
    redirected: stream.hops > 0,
    body: piecesOf(stream, mask, context),
  };
}

function piecesOf(
  stream: EgressStream,
  mask: ByteMask | undefined,
  { call, usage }: ResponseContext,
): Pieces {
  let isDone = false;
  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    if (isDone) return { done: true, value: undefined };
    try {
      call.signal.throwIfAborted();
      for (;;) {
        const { done, value } = await stream.body.next();
        call.signal.throwIfAborted();
        if (done === true) return finish();
        call.countReceived(value.length);
        usage.countReceived(value.length);
        const piece = mask === undefined ? value : mask.push(value);
        if (piece.length > 0) return { done: false, value: piece };
      }
    } catch (raw) {
      isDone = true;
      throw call.fail(raw);
    }
  };
  const finish = (): IteratorResult<Uint8Array, undefined> => {
    isDone = true;
    call.finish();
    const rest = mask?.end();
    return rest !== undefined && rest.length > 0
      ? { done: false, value: rest }
      : { done: true, value: undefined };
  };
  const pieces: Pieces = {
    next,
    return: () => {
      isDone = true;
      call.finish(); // which cancels the stream
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => pieces,
  };
  return pieces;
}

const contentTypeOf = ({ headers }: EgressStream): string =>
  (headers.find(([name]) => name === 'content-type')?.[1] ?? '').split(';', 1)[0]!.trim().toLowerCase(); // split gives one part

/** Text, as far as its type tells; what has none may be. */
const isText = (type: string): boolean =>
  type === '' ||
  type.startsWith('text/') ||
  /^(application\/(.+\+)?(json|xml|javascript|x-www-form-urlencoded|x-ndjson|graphql)|image\/svg\+xml)$/.test(
    type,
  );
