import { ProtocolError } from '../../../core/sandbox/frames.ts';
import { BODY_WINDOW_BYTES, MAX_CHUNK_BYTES } from '../../../core/sandbox/protocol.ts';

/** Smaller pieces are put together: a window of single bytes would take a hundred times its size. */
const BLOCK_BYTES = 16_384;
/** Credit is given in portions of this, so that small pieces do not each cost a frame. */
const CREDIT_BYTES = BODY_WINDOW_BYTES / 4;

/** A request's body on its way from the runner to the broker. */
export interface IncomingBody {
  /** For one reader. Throws what {@link IncomingBody.fail} was given. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** @throws ProtocolError when it is more than was asked for, or comes after the end */
  push(bytes: Uint8Array): void;
  /** @throws ProtocolError when it has ended before */
  end(): void;
  /** Nothing more will come, and what is here is forgotten. */
  fail(error: Error): void;
}

/** @param onCredit asks the runner for so many more bytes */
export function createIncomingBody(onCredit: (bytes: number) => void): IncomingBody {
  let blocks: Uint8Array[] = [];
  let tailRoom = 0;
  let unasked = BODY_WINDOW_BYTES;
  let taken = 0;
  let hasEnded = false;
  let isDiscarded = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;

  const awaken = (): void => {
    wake?.();
    wake = undefined;
  };
  const append = (bytes: Uint8Array): void => {
    if (bytes.length >= BLOCK_BYTES) {
      blocks.push(bytes);
      tailRoom = 0;
    } else if (bytes.length <= tailRoom) {
      const tail = blocks.pop()!; // there is room in it
      const longer = new Uint8Array(tail.buffer, 0, tail.length + bytes.length);
      longer.set(bytes, tail.length);
      blocks.push(longer);
      tailRoom -= bytes.length;
    } else {
      const block = new Uint8Array(new ArrayBuffer(BLOCK_BYTES), 0, bytes.length);
      block.set(bytes);
      blocks.push(block);
      tailRoom = BLOCK_BYTES - bytes.length;
    }
  };
  const take = (): Uint8Array | undefined => {
    const block = blocks.shift();
    if (block === undefined) return undefined;
    if (blocks.length === 0) tailRoom = 0;
    taken += block.length;
    if (taken >= CREDIT_BYTES && !hasEnded) {
      unasked += taken;
      onCredit(taken);
      taken = 0;
    }
    return block;
  };
  const discard = (): void => {
    isDiscarded = true;
    blocks = [];
    tailRoom = 0;
  };

  async function* read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (;;) {
        if (failure !== undefined) throw failure;
        const block = take();
        if (block !== undefined) yield block;
        else if (hasEnded) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      discard();
    }
  }

  return {
    chunks: read(),
    push(bytes) {
      if (hasEnded) throw new ProtocolError('a body goes on after its end');
      if (bytes.length > MAX_CHUNK_BYTES) {
        throw new ProtocolError(`a piece of ${bytes.length} bytes is too large for a body`);
      }
      unasked -= bytes.length;
      if (unasked < 0) throw new ProtocolError('a body is sent faster than it was asked for');
      if (isDiscarded || bytes.length === 0) return;
      append(bytes);
      awaken();
    },
    end() {
      if (hasEnded) throw new ProtocolError('a body ends twice');
      hasEnded = true;
      awaken();
    },
    fail(error) {
      failure ??= error;
      discard();
      awaken();
    },
  };
}
