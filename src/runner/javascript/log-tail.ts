import type { LogLevel } from '../../core/sandbox/protocol.ts';
import { LOG_ENTRY_COST_BYTES, LOG_LEVELS } from './limits.ts';

/**
 * The last log entries of a run that logs more than it may, in memory that its slot writes and the main thread reads: what
 * a loop logged before it was ended by force is there, and no flood of messages fills the main thread's memory.
 *
 * Layout: five u32 (bytes of entries, where the oldest begins, where the next goes, entries and KiB left out), then a ring
 * of entries: u32 length, u8 level, text.
 */
const FILLED = 0;
const FIRST = 1;
const NEXT = 2;
const LEFT_OUT = 3;
const LEFT_OUT_KIB = 4;
const HEAD_WORDS = 5;
const HEAD_BYTES = HEAD_WORDS * 4;
const ENTRY_HEAD_BYTES = 5;

export interface LogEntry {
  readonly level: LogLevel;
  readonly text: Uint8Array;
}

export interface LogTailWriter {
  readonly ring: SharedArrayBuffer;
  /** Makes room by forgetting the oldest entries. */
  write(level: LogLevel, text: Uint8Array): void;
}

/** @param maxBytes what all entries together may cost; an entry larger than that is left out */
export function createLogTail(maxBytes: number): LogTailWriter {
  const ring = new SharedArrayBuffer(HEAD_BYTES + maxBytes);
  const head = new Int32Array(ring, 0, HEAD_WORDS);
  const bytes = new Uint8Array(ring, HEAD_BYTES);
  const cost = (length: number): number => ENTRY_HEAD_BYTES + length;
  let leftOutBytes = 0;
  // Entries count as much as on the worker's side, where each costs more than its five bytes here.
  let charged = 0;

  const leaveOut = (length: number): void => {
    leftOutBytes += length;
    Atomics.add(head, LEFT_OUT, 1);
    Atomics.store(head, LEFT_OUT_KIB, Math.ceil(leftOutBytes / 1024));
  };
  /** @returns what is free by it */
  const forgetOldest = (): number => {
    const first = Atomics.load(head, FIRST);
    const length = readLength(bytes, first);
    // In this order: whoever reads after the writer was stopped finds whole entries, at worst one fewer.
    Atomics.sub(head, FILLED, cost(length));
    Atomics.store(head, FIRST, (first + cost(length)) % bytes.length);
    leaveOut(length);
    return length + LOG_ENTRY_COST_BYTES;
  };
  return {
    ring,
    write(level, text) {
      const charge = text.length + LOG_ENTRY_COST_BYTES;
      if (charge > maxBytes) {
        leaveOut(text.length);
        return;
      }
      while (charged + charge > maxBytes) charged -= forgetOldest();
      const next = Atomics.load(head, NEXT);
      const { length } = text;
      copyIn(
        bytes,
        next,
        Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length, levelIndex(level)),
      );
      copyIn(bytes, next + ENTRY_HEAD_BYTES, text);
      charged += charge;
      Atomics.store(head, NEXT, (next + cost(length)) % bytes.length);
      Atomics.add(head, FILLED, cost(length));
    },
  };
}

export interface LogTail {
  readonly entries: readonly LogEntry[];
  readonly leftOut: number;
  readonly leftOutKib: number;
}

/** Reads what is there. The writer may be hostile, or have been stopped in the middle: at worst entries are missing. */
export function readLogTail(ring: SharedArrayBuffer): LogTail {
  if (ring.byteLength <= HEAD_BYTES) return { entries: [], leftOut: 0, leftOutKib: 0 };
  const head = new Int32Array(ring, 0, HEAD_WORDS);
  const bytes = new Uint8Array(ring, HEAD_BYTES);
  const count = (word: number): number => Atomics.load(head, word) >>> 0;
  const entries: LogEntry[] = [];
  let left = Math.min(count(FILLED), bytes.length);
  let at = count(FIRST);
  while (left >= ENTRY_HEAD_BYTES) {
    const length = readLength(bytes, at);
    left -= ENTRY_HEAD_BYTES + length;
    if (left < 0) break;
    const level = LOG_LEVELS[copyOut(bytes, at + 4, 1)[0] ?? 0] ?? 'info';
    entries.push({ level, text: copyOut(bytes, at + ENTRY_HEAD_BYTES, length) });
    at += ENTRY_HEAD_BYTES + length;
  }
  return { entries, leftOut: count(LEFT_OUT), leftOutKib: count(LEFT_OUT_KIB) };
}

const levelIndex = (level: LogLevel): number => LOG_LEVELS.indexOf(level);

function readLength(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = copyOut(bytes, at, 4);
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

function copyIn(bytes: Uint8Array, at: number, source: Uint8Array): void {
  const start = at % bytes.length;
  const untilEnd = Math.min(source.length, bytes.length - start);
  bytes.set(source.subarray(0, untilEnd), start);
  bytes.set(source.subarray(untilEnd), 0);
}

function copyOut(bytes: Uint8Array, at: number, length: number): Uint8Array {
  const start = at % bytes.length;
  const copy = new Uint8Array(length);
  const untilEnd = Math.min(length, bytes.length - start);
  copy.set(bytes.subarray(start, start + untilEnd));
  copy.set(bytes.subarray(0, length - untilEnd), untilEnd);
  return copy;
}
