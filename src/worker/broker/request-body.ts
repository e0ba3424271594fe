import { startUpload, type StreamedBody } from '../../core/egress/outgoing-body.ts';

/** A body up to this is sent whole: with its length, and again where a redirect asks for it. */
const WHOLE_BYTES = 65_536;

/** A request's body on its way from the code. */
export interface RequestBody {
  /**
   * The body, once it is known whether it is short. A longer one is taken from the code as fast as it is sent.
   *
   * @throws what `onBytes` throws, or the source
   */
  readonly prepare: () => Promise<Buffer | StreamedBody>;
  /** Takes no more of it, and lets the code know. Idempotent. */
  readonly stop: () => void;
}

/**
 * @param announcedBytes its length as the code announced it, undefined when it did not
 * @param onBytes told of each piece before it goes on; may throw
 */
export function createRequestBody(
  source: AsyncIterable<Uint8Array>,
  announcedBytes: number | undefined,
  onBytes: (bytes: number) => void,
): RequestBody {
  const upload = startUpload(source);
  const pieces = upload.chunks[Symbol.asyncIterator]();
  const take = async (): Promise<Uint8Array | undefined> => {
    const { done, value } = await pieces.next();
    if (done === true) return undefined;
    onBytes(value.length);
    return value;
  };
  const prepare = async (): Promise<Buffer | StreamedBody> => {
    const first: Uint8Array[] = [];
    let bytes = 0;
    for (let piece = await take(); piece !== undefined; piece = await take()) {
      first.push(piece);
      bytes += piece.length;
      if (bytes > WHOLE_BYTES) return { chunks: followedBy(first, take), bytes: announcedBytes };
    }
    return Buffer.concat(first, bytes);
  };
  return { prepare, stop: upload.stop };
}

async function* followedBy(
  first: readonly Uint8Array[],
  take: () => Promise<Uint8Array | undefined>,
): AsyncGenerator<Uint8Array> {
  yield* first;
  for (let piece = await take(); piece !== undefined; piece = await take()) yield piece;
}
