import type { LogLevel } from '../../../core/sandbox/protocol.ts';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES } from '../limits.ts';
import { toBuffer } from '../bytes.ts';
import { createLogTail, type LogTailWriter } from '../log-tail.ts';
import type { FromSlot } from '../messages.ts';

/** Room for the note that says how much was cut off. */
const NOTE_BYTES = 64;

const encoder = new TextEncoder();
const buffer = new Uint8Array(MAX_LOG_ENTRY_BYTES);

/**
 * Sends the log of a run as it comes, up to half of what is allowed; the rest goes to a tail that keeps the last half.
 */
export function createRunLog(
  run: number,
  maxBytes: number,
  post: (message: FromSlot) => void,
): (level: LogLevel, text: string) => void {
  const tailBytes = Math.floor(maxBytes / 2);
  let left = maxBytes - tailBytes;
  let tail: LogTailWriter | undefined;
  return (level, text) => {
    const bytes = encodeEntry(text);
    const cost = bytes.length + LOG_ENTRY_COST_BYTES;
    if (tail === undefined && cost <= left) {
      left -= cost;
      post({ type: 'log', run, level, text: toBuffer(bytes) });
      return;
    }
    if (tail === undefined) {
      tail = createLogTail(tailBytes);
      post({ type: 'log_tail', run, ring: tail.ring });
    }
    tail.write(level, bytes);
  };
}

/** The bytes of an entry, cut where it is too long, never in the middle of a character. */
function encodeEntry(text: string): Uint8Array {
  const { read, written } = encoder.encodeInto(text, buffer);
  if (read === text.length) return buffer.slice(0, written);
  const kept = encoder.encodeInto(text, buffer.subarray(0, MAX_LOG_ENTRY_BYTES - NOTE_BYTES));
  const note = encoder.encode(`… (${text.length - kept.read} more characters)`);
  buffer.set(note, kept.written);
  return buffer.slice(0, kept.written + note.length);
}
