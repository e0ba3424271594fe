import type { Duplex } from 'node:stream';
import { coerceError } from '../../../core/errors/app-error.ts';
import { createFrameDecoder, ProtocolError, type Frame } from '../../../core/sandbox/frames.ts';

/** Enough for a token; who has not shown one is not worth more memory. */
const MAX_FRAME_BYTES = 16_384;
const PREFIX_BYTES = 8;
const LENGTH_BYTES = 4;

/**
 * Hands on frame by frame, and takes not one byte more from the stream than those frames have: what follows a hand-over
 * is still there for whoever reads the stream next.
 *
 * @returns stops listening
 */
export function listenToFrames(
  stream: Duplex,
  onFrame: (frame: Frame) => void,
  onError: (error: Error) => void,
): () => void {
  let isListening = true;
  let prefix: Buffer | undefined;

  const stop = (): void => {
    isListening = false;
    stream.off('readable', onReadable);
  };
  const next = (): Frame | undefined => {
    prefix ??= (stream.read(PREFIX_BYTES) as Buffer | null) ?? undefined;
    if (prefix === undefined) return undefined;
    if (prefix.length < PREFIX_BYTES) throw new ProtocolError('the stream ends within a frame');
    const missing = prefix.readUInt32BE(0) - LENGTH_BYTES;
    if (missing < 1 || missing > MAX_FRAME_BYTES) throw new ProtocolError('a frame of an unlikely size');
    const rest = stream.read(missing) as Buffer | null;
    if (rest === null) return undefined;
    const frames = createFrameDecoder().push(Buffer.concat([prefix, rest]));
    prefix = undefined;
    if (frames[0] === undefined) throw new ProtocolError('the stream ends within a frame');
    return frames[0];
  };
  const onReadable = (): void => {
    try {
      for (let frame = next(); frame !== undefined; frame = isListening ? next() : undefined) onFrame(frame);
    } catch (raw) {
      stop();
      onError(coerceError(raw));
    }
  };
  stream.on('readable', onReadable);
  return stop;
}
