/** The body of a response, as received, content codings included. Either `whole` or `read` is used, once. */
export interface IncomingBody {
  /** All of it, as fast as it comes. */
  readonly whole: () => Promise<Buffer>;
  /** Piece by piece, no faster than it is read; `next` is to be called one at a time. Leaving early drops the rest. */
  readonly read: () => AsyncIterableIterator<Buffer>;
  /** The rest is not wanted: ends the connection, and whoever is reading. */
  readonly drop: () => void;
}

/** The connection that a body comes from. */
export interface BodySource {
  readonly pause: () => void;
  readonly resume: () => void;
  readonly drop: () => void;
}

/** What the connection tells a body. */
export interface IncomingBodyFeed {
  readonly body: IncomingBody;
  readonly push: (chunk: Buffer) => void;
  readonly end: () => void;
  /** What was received and not read yet is lost with it. */
  readonly fail: (error: Error) => void;
}

/** Beyond this the connection is paused, until half of it has been read. */
const HIGH_WATER_BYTES = 131_072;
const EMPTY = Buffer.alloc(0);

export function createIncomingBody(source: BodySource): IncomingBodyFeed {
  let chunks: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  let isWhole = false;
  let isPaused = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;

  const flow = (): void => {
    if (!isPaused) return;
    isPaused = false;
    source.resume();
  };
  const finish = (error?: Error): void => {
    if (isOver) return;
    isOver = true;
    failure = error;
    if (error !== undefined) chunks = [];
    wake?.();
  };
  const drop = (): void => {
    chunks = [];
    finish();
    source.drop();
  };
  const takeAll = (): Buffer => {
    // Even a single chunk is copied: it is a view of all that the socket has read.
    const all = chunks.length === 0 ? EMPTY : Buffer.concat(chunks, bytes);
    chunks = [];
    return all;
  };
  const next = (): Promise<IteratorResult<Buffer, undefined>> => {
    const chunk = chunks.shift();
    if (chunk !== undefined) {
      bytes -= chunk.length;
      if (bytes <= HIGH_WATER_BYTES / 2) flow();
      return Promise.resolve({ done: false, value: chunk });
    }
    if (failure !== undefined) return Promise.reject(failure);
    if (isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      wake = () => {
        wake = undefined;
        resolve(next());
      };
    });
  };
  const iterator: AsyncIterableIterator<Buffer> = {
    next,
    return: () => {
      drop();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => iterator,
  };

  return {
    body: {
      whole: () => {
        isWhole = true;
        flow();
        return new Promise((resolve, reject) => {
          const settle = (): void => (failure === undefined ? resolve(takeAll()) : reject(failure));
          if (isOver) settle();
          else wake = settle;
        });
      },
      read: () => iterator,
      drop,
    },
    push: (chunk) => {
      if (isOver) return;
      chunks.push(chunk);
      bytes += chunk.length;
      if (isWhole) return;
      if (bytes > HIGH_WATER_BYTES && !isPaused) {
        isPaused = true;
        source.pause();
      }
      wake?.();
    },
    end: () => finish(),
    fail: finish,
  };
}
