import { pipeline, type Transform } from 'node:stream';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { errorCodeOf } from '../errors/app-error.ts';
import { retryableError, StepError, terminalError } from '../step-error.ts';

export const ACCEPT_ENCODING = 'gzip, deflate, br, zstd';

/** Each coding multiplies what a few bytes can become, so there is no use for more. */
const MAX_CODINGS = 3;
/** RFC 9659: a zstd window in HTTP is at most 8 MB; the decoder would else reserve what the frame asks for. */
const ZSTD_WINDOW_LOG_MAX = 23;

interface Decoder {
  readonly whole: (body: Buffer, maxOutputLength: number) => Promise<Buffer>;
  /** @param first the first bytes that it will be given */
  readonly stream: (first: Buffer) => Transform;
}

const gunzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip);
const inflate = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflate);
const inflateRaw = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const brotli = promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliDecompress);
const zstd = promisify<zlib.InputType, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress);

const GZIP: Decoder = {
  whole: (body, maxOutputLength) => gunzip(body, { maxOutputLength }),
  stream: () => zlib.createGunzip(),
};
const ZSTD_PARAMS = { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX };
// RFC 9110 means zlib, but servers send raw deflate under that name too; zlib's first nibble is 8.
const isZlib = (first: Buffer): boolean => ((first[0] ?? 0) & 0x0f) === 8;

const DECODERS: ReadonlyMap<string, Decoder> = new Map<string, Decoder>([
  ['gzip', GZIP],
  ['x-gzip', GZIP],
  [
    'deflate',
    {
      whole: (body, maxOutputLength) => (isZlib(body) ? inflate : inflateRaw)(body, { maxOutputLength }),
      stream: (first) => (isZlib(first) ? zlib.createInflate() : zlib.createInflateRaw()),
    },
  ],
  [
    'br',
    {
      whole: (body, maxOutputLength) => brotli(body, { maxOutputLength }),
      stream: () => zlib.createBrotliDecompress(),
    },
  ],
  [
    'zstd',
    {
      whole: (body, maxOutputLength) => zstd(body, { maxOutputLength, params: ZSTD_PARAMS }),
      stream: () => zlib.createZstdDecompress({ params: ZSTD_PARAMS }),
    },
  ],
]);

/** The codings of a `content-encoding`, in the order to undo them; undefined when one is unknown here. */
export function codingsOf(contentEncoding: string | undefined): readonly string[] | undefined {
  const codings = (contentEncoding ?? '')
    .split(',')
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== '' && coding !== 'identity');
  return codings.every((coding) => DECODERS.has(coding)) ? codings.toReversed() : undefined;
}

/** How large a body may become, and the failure of one that becomes larger. */
export interface BodyLimit {
  /** Of what answered, for messages. */
  readonly label: string;
  readonly maxBytes: number;
  readonly tooLarge: () => StepError;
}

/**
 * Undoes the codings of a whole response body. No more than `maxBytes` are ever produced at once, so a bomb costs
 * no more than an honest response of that size.
 *
 * @throws StepError `limit.tooLarge`; `connect_failed` (retryable) when the bytes are not what they claim to be
 */
export async function decodeBody(
  body: Buffer,
  codings: readonly string[],
  limit: BodyLimit,
): Promise<Buffer> {
  let decoded = body;
  for (const [coding, { whole }] of decodersOf(codings, limit)) {
    try {
      decoded = await whole(decoded, limit.maxBytes);
    } catch (cause) {
      if (errorCodeOf(cause) === 'ERR_BUFFER_TOO_LARGE') throw limit.tooLarge();
      throw undecodable(limit.label, `it is not valid ${coding}`, cause);
    }
  }
  return decoded;
}

/**
 * As {@link decodeBody}, but piece by piece, at the reader's pace. The source is not ended when the reader leaves early:
 * whoever made it does that.
 */
export function decodeStream(
  body: AsyncIterator<Buffer, undefined>,
  codings: readonly string[],
  limit: BodyLimit,
): AsyncIterator<Buffer, undefined> {
  return decodersOf(codings, limit).reduce(
    (source, [coding, decoder]) => undo(source, coding, decoder, limit),
    body,
  );
}

async function* undo(
  source: AsyncIterator<Buffer, undefined>,
  coding: string,
  decoder: Decoder,
  limit: BodyLimit,
): AsyncGenerator<Buffer, undefined> {
  const first = await source.next();
  if (first.done === true) return; // as of a whole body: nothing is nothing in any coding
  const decoded = decoder.stream(first.value);
  // Its own failure, or the source's, destroys the decoder and is met below.
  pipeline(withFirst(first.value, source), decoded, () => {});
  let size = 0;
  try {
    for await (const chunk of decoded as AsyncIterable<Buffer>) {
      size += chunk.length;
      // Each layer counts, not only the last: a bomb may hide in the middle.
      if (size > limit.maxBytes) throw limit.tooLarge();
      yield chunk;
    }
  } catch (cause) {
    throw cause instanceof StepError ? cause : undecodable(limit.label, `it is not valid ${coding}`, cause);
  }
}

async function* withFirst(
  first: Buffer,
  source: AsyncIterator<Buffer, undefined>,
): AsyncGenerator<Buffer, undefined> {
  yield first;
  for (let next = await source.next(); next.done !== true; next = await source.next()) yield next.value;
}

function decodersOf(
  codings: readonly string[],
  { label }: BodyLimit,
): readonly (readonly [coding: string, decoder: Decoder])[] {
  if (codings.length > MAX_CODINGS) throw undecodable(label, `it is encoded ${codings.length} times`);
  return codings.map((coding) => {
    const decoder = DECODERS.get(coding);
    if (decoder === undefined) throw undecodable(label, 'its encoding is unknown');
    return [coding, decoder];
  });
}

/** The ordinary `tooLarge` of a step. */
export const responseTooLarge = (label: string, maxBytes: number): StepError =>
  terminalError(
    'response_too_large',
    `The response of ${label} is larger than ${maxBytes} bytes; ask for less, or raise the step’s limit`,
  );

const undecodable = (label: string, why: string, cause?: unknown): StepError =>
  retryableError('connect_failed', `The response of ${label} cannot be decompressed: ${why}`, { cause });
