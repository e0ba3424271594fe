import { encodeFrame } from '../../core/sandbox/frames.ts';
import type { RunnerHeader } from '../../core/sandbox/protocol.ts';

/** What is written at once, from this thread: another one would have to be woken for it, and wake this one again. */
const MAX_SYNC_BYTES = 16_384;

interface Output {
  /** Waits until the other side reads, when much of what was written before is unread. */
  writeSync(bytes: Uint8Array): number;
  write(bytes: Uint8Array): Promise<number>;
}

export type SendFrame = (header: RunnerHeader, payload?: Uint8Array) => void;

/**
 * Sends frames in order, all that have come up to then with one write. What waits is bounded by what the slots may have
 * under way: their logs, their windows of bodies.
 *
 * @param onError the other side is gone
 */
export function createFrameWriter(output: Output, onError: () => void): SendFrame {
  let waiting: Uint8Array[] = [];
  let isWriting = false;

  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const bytes = join(waiting);
      waiting = [];
      const isSmall = bytes.length <= MAX_SYNC_BYTES;
      for (let at = 0; at < bytes.length;) {
        const rest = bytes.subarray(at);
        at += isSmall ? output.writeSync(rest) : await output.write(rest);
      }
    }
    // In the turn that found nothing waiting: a frame that came any later would wait for the next one.
    isWriting = false;
  };
  return (header, payload) => {
    waiting.push(encodeFrame(header, payload));
    if (isWriting) return;
    isWriting = true;
    queueMicrotask(() => void writeAll().catch(onError));
  };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
