/** A request's body that is sent as it is made. It can be sent once, so no redirect can ask for it again. */
export interface StreamedBody {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Its length when it is known; sending fails when it turns out to be another. Undefined: sent chunked. */
  readonly bytes: number | undefined;
}

export const isStreamed = (body: Buffer | StreamedBody | undefined): body is StreamedBody =>
  body !== undefined && !Buffer.isBuffer(body);

/** A streamed body that can be called off while it waits for its producer. */
export interface Upload {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Nobody takes any more of it: ends the producer. Idempotent. */
  readonly stop: () => void;
}

/** The producer is asked for the next piece only when the one before is on its way. */
export function startUpload(chunks: AsyncIterable<Uint8Array>): Upload {
  const source = chunks[Symbol.asyncIterator]();
  let isStopped = false;
  let giveUp: (() => void) | undefined;
  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    giveUp?.();
    // A generator that waits answers this only later, or fails: nobody is left to be told.
    source.return?.().catch(() => {});
  };
  const next = (): Promise<IteratorResult<Uint8Array, unknown>> =>
    new Promise((resolve, reject) => {
      giveUp = () => reject(new Error('the request is over'));
      if (isStopped) giveUp();
      else source.next().then(resolve, reject);
    });
  const finish = (): Promise<IteratorResult<Uint8Array, unknown>> => {
    stop();
    return Promise.resolve({ done: true, value: undefined });
  };
  return { chunks: { [Symbol.asyncIterator]: () => ({ next, return: finish }) }, stop };
}
