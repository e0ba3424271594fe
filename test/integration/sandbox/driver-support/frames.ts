import type { Readable } from 'node:stream';
import { createFrameDecoder, type Frame } from '../../../../src/core/sandbox/frames.ts';

/** The frames of a stream, as they come. */
export function decodeFrames(stream: Readable): { next(): Promise<Frame> } {
  const decoder = createFrameDecoder();
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>; // without an encoding, chunks are buffers
  const frames: Frame[] = [];
  return {
    async next() {
      for (;;) {
        const frame = frames.shift();
        if (frame !== undefined) return frame;
        const { value, done } = await chunks.next();
        if (done === true) throw new Error('the stream ended');
        frames.push(...decoder.push(value));
      }
    },
  };
}
