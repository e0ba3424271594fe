import type { FrameWriter } from './writer.ts';

/** Small enough that a runner that reads at all shows it in time. */
const PART_BYTES = 262_144;

/** Sends the bytes that a `program` or `run` frame announced. */
export function sendParts(writer: FrameWriter, of: string, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    writer.send({ type: 'part', of }, bytes.subarray(at, at + PART_BYTES));
  }
}
