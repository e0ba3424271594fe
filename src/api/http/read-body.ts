import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { createGunzip, createInflate } from 'node:zlib';
import { appError, coerceError } from '../../core/errors/app-error.ts';

export interface ReadBodyOptions {
  /** Of the body after decompression. */
  readonly maxBytes: number;
}

/**
 * Reads a request's body, decompressed, under a cap on its inflated size.
 *
 * On refusal the rest of the request is discarded as it comes, so that the sender, which may still be writing, reads
 * the answer instead of a reset connection; the server's request time-out bounds that.
 *
 * @throws AppError `body_too_large`, `unsupported_content_encoding`, or `invalid_request` when the compressed bytes are
 *   broken or the sender goes away
 */
export async function readBody(req: IncomingMessage, options: ReadBodyOptions): Promise<Buffer> {
  const { maxBytes } = options;
  try {
    const declared = Number(req.headers['content-length'] ?? 0);
    if (declared > maxBytes) throw tooLarge(maxBytes);
    const encoding = (req.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
    if (encoding === 'identity' || encoding === '') return await collect(req, maxBytes);
    const inflater =
      encoding === 'gzip' || encoding === 'x-gzip'
        ? createGunzip()
        : encoding === 'deflate'
          ? createInflate()
          : undefined;
    if (inflater === undefined) {
      throw appError('unsupported_content_encoding', { args: [JSON.stringify(encoding.slice(0, 50))] });
    }
    // `pipe` forwards no errors: a sender that goes away must end the inflater, too.
    const abandon = (error: Error): void => void inflater.destroy(error);
    req.once('error', abandon);
    try {
      return await collect(req.pipe(inflater), maxBytes);
    } finally {
      req.unpipe(inflater).off('error', abandon);
      inflater.destroy();
    }
  } catch (raw) {
    req.resume();
    throw raw;
  }
}

async function collect(stream: Readable, maxBytes: number): Promise<Buffer> {
  if (stream.destroyed) throw unreadable(new Error('the request ended early'));
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  const onData = (chunk: Buffer): void => {
    size += chunk.length;
    if (size > maxBytes) reject(tooLarge(maxBytes));
    else chunks.push(chunk);
  };
  const onEnd = (): void => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)); // one: no copy
  const onError = (raw: unknown): void => reject(unreadable(raw));
  const onClose = (): void => {
    // A request that has ended closes, too, before the listeners below are gone.
    if (!stream.readableEnded) onError(new Error('the request ended early'));
  };
  stream.on('data', onData).once('end', onEnd).once('error', onError).once('close', onClose);
  try {
    return await promise;
  } finally {
    stream.off('data', onData).off('end', onEnd).off('close', onClose);
    // Destroying an inflater half-way may still report an error; it has been answered.
    stream.off('error', onError).on('error', () => undefined);
  }
}

const tooLarge = (maxBytes: number) => appError('body_too_large', { args: [maxBytes] });

const unreadable = (cause: unknown) =>
  appError('invalid_request', {
    args: [`The request body cannot be read: ${coerceError(cause).message}`],
    cause,
  });
