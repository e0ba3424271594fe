import { MAX_CHUNK_BYTES } from '../limits.ts';

/** How far the receiver lets a body come. */
export interface BodyWindow {
  window: number;
  onCredit: (() => void) | undefined;
  readonly isOver: boolean;
}

/**
 * Sends a request's body in pieces, as the window allows.
 *
 * @returns whether all of it was sent
 * @throws what reading it throws
 */
export async function sendBody(
  body: ReadableStream<Uint8Array>,
  limit: BodyWindow,
  send: (bytes: Uint8Array) => void,
): Promise<boolean> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (limit.isOver) break;
    if (done) return true;
    if (!(value instanceof Uint8Array)) throw new TypeError('a body is a stream of Uint8Array');
    if (!(await sendChunk(value, limit, send))) break;
  }
  // What becomes of it is nobody's concern any more.
  reader.cancel().catch(() => undefined);
  return false;
}

async function sendChunk(
  chunk: Uint8Array,
  limit: BodyWindow,
  send: (bytes: Uint8Array) => void,
): Promise<boolean> {
  for (let at = 0; at < chunk.length && !limit.isOver;) {
    if (limit.window === 0) {
      await new Promise<void>((resolve) => (limit.onCredit = resolve));
      limit.onCredit = undefined;
      continue;
    }
    const length = Math.min(limit.window, MAX_CHUNK_BYTES, chunk.length - at);
    send(chunk.slice(at, at + length));
    limit.window -= length;
    at += length;
  }
  return !limit.isOver;
}
