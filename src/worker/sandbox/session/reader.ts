import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFrameDecoder, type Frame } from '../../../core/sandbox/frames.ts';

/** What is decoded at once. */
const SLICE_BYTES = 65_536;
/** About a millisecond of work; others get their turn after it, whatever a runner floods us with. */
const FRAMES_PER_TURN = 256;

/**
 * Hands on every frame of the stream, until it ends. What is not read stays with the sender.
 *
 * @throws ProtocolError for bytes that are no frames; what `onFrame` throws; the stream's own error
 */
export async function readFrames(channel: Duplex, onFrame: (frame: Frame) => void): Promise<void> {
  const decoder = createFrameDecoder();
  let handled = 0;
  for await (const chunk of channel as AsyncIterable<Uint8Array>) {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      for (const frame of decoder.push(chunk.subarray(at, at + SLICE_BYTES))) {
        onFrame(frame);
        if (++handled % FRAMES_PER_TURN === 0) await nextTurn();
      }
    }
  }
}
