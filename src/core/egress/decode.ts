import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { errorCodeOf } from '../errors/app-error.ts';
import { retryableError, terminalError, type StepError } from '../step-error.ts';

export const ACCEPT_ENCODING = 'gzip, deflate, br, zstd';

/** Each coding multiplies what a few bytes can become, so there is no use for more. */
const MAX_CODINGS = 3;
/** RFC 9659: a zstd window in HTTP is at most 8 MB; the decoder would else reserve what the frame asks for. */
const ZSTD_WINDOW_LOG_MAX = 23;

type Inflate = (body: Buffer, maxBytes: number) => Promise<Buffer>;

const gunzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip);
const inflate = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflate);
const inflateRaw = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const brotli = promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliDecompress);
const zstd = promisify<zlib.InputType, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress);

const decodeGzip: Inflate = (body, maxOutputLength) => gunzip(body, { maxOutputLength });

const DECODERS: ReadonlyMap<string, Inflate> = new Map([
  ['gzip', decodeGzip],
  ['x-gzip', decodeGzip],
  // RFC 9110 means zlib, but servers send raw deflate under that name too; zlib's first nibble is 8.
  [
    'deflate',
    (body, maxOutputLength) =>
      (((body[0] ?? 0) & 0x0f) === 8 ? inflate : inflateRaw)(body, { maxOutputLength }),
  ],
  ['br', (body, maxOutputLength) => brotli(body, { maxOutputLength })],
  [
    'zstd',
    (body, maxOutputLength) =>
      zstd(body, { maxOutputLength, params: { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } }),
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

/**
 * Undoes the codings of a whole response body. No more than `maxBytes` are ever produced at once, so a bomb costs
 * no more than an honest response of that size.
 *
 * @throws StepError `response_too_large`; `connect_failed` (retryable) when the bytes are not what they claim to be
 */
export async function decodeBody(
  body: Buffer,
  codings: readonly string[],
  maxBytes: number,
  label: string,
): Promise<Buffer> {
  if (codings.length > MAX_CODINGS) throw undecodable(label, `it is encoded ${codings.length} times`);
  let decoded = body;
  for (const coding of codings) {
    const decode = DECODERS.get(coding);
    if (decode === undefined) throw undecodable(label, 'its encoding is unknown');
    try {
      decoded = await decode(decoded, maxBytes);
    } catch (cause) {
      if (errorCodeOf(cause) === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(label, maxBytes);
      throw undecodable(label, `it is not valid ${coding}`, cause);
    }
  }
  return decoded;
}

export const tooLarge = (label: string, maxBytes: number): StepError =>
  terminalError(
    'response_too_large',
    `The response of ${label} is larger than ${maxBytes} bytes; ask for less, or raise the step’s limit`,
  );

const undecodable = (label: string, why: string, cause?: unknown): StepError =>
  retryableError('connect_failed', `The response of ${label} cannot be decompressed: ${why}`, { cause });
