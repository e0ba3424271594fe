import type { Redactor } from '../../core/credentials/redact.ts';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES } from '../../core/sandbox/protocol.ts';

/** Takes a line. @param truncated it stands for others that were left out */
export type OnLine = (text: string, truncated: boolean) => void;

/** What a program writes for people, as lines: the first as they come, of the others the last. */
export interface LineLog {
  write(chunk: Buffer): void;
  /** Passes on what was kept for the end. */
  finish(): void;
  /** The end of it, for a message. */
  lastLines(): string;
}

const NEWLINE = 10;
/** In the last of `maxBytes`, beside the last lines. */
const MARKER_BYTES = 256;
const LAST_LINES = 5;
const LAST_CHARACTERS = 1000;

/**
 * A log of at most `maxBytes`: the first half of it is passed on line by line, then the newest that fit into the other half
 * are kept until the end. A line longer than an entry of a log may be is cut. Secrets are masked, also where one goes over
 * several lines.
 */
export function createLineLog(maxBytes: number, redactor: Redactor, onLine: OnLine): LineLog {
  const mask = redactor.bytes();
  let line: Buffer[] = [];
  let lineBytes = 0;
  let cutBytes = 0;
  let headLeft = Math.floor(maxBytes / 2);
  let tailLeft = maxBytes - headLeft - MARKER_BYTES;
  let tail: string[] = [];
  let lostLines = 0;
  let lostBytes = 0;
  let last: string[] = [];

  const costOf = (text: string): number => Buffer.byteLength(text) + LOG_ENTRY_COST_BYTES;
  const add = (text: string): void => {
    last = [...last, text].slice(-LAST_LINES);
    const cost = costOf(text);
    if (cost <= headLeft && tail.length === 0) {
      headLeft -= cost;
      onLine(redactor.text(text), false);
      return;
    }
    headLeft = 0;
    tail.push(text);
    tailLeft -= cost;
    let lost = 0;
    while (tailLeft < 0) {
      const gone = tail[lost++]!; // what is kept costs more than nothing
      tailLeft += costOf(gone);
      lostBytes += Buffer.byteLength(gone);
    }
    lostLines += lost;
    if (lost > 0) tail = tail.slice(lost);
  };
  const extend = (bytes: Buffer): void => {
    const taken = bytes.subarray(0, MAX_LOG_ENTRY_BYTES - lineBytes);
    // A copy: what was read is much larger than a line, and would be kept with it.
    if (taken.length > 0) line.push(Buffer.from(taken));
    lineBytes += taken.length;
    cutBytes += bytes.length - taken.length;
  };
  const endLine = (): void => {
    const text = Buffer.concat(line).toString('utf8').replace(/\r$/, '');
    add(cutBytes === 0 ? text : `${text}… [cut, ${cutBytes} more bytes]`);
    line = [];
    lineBytes = 0;
    cutBytes = 0;
  };
  const split = (bytes: Buffer): void => {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      extend(bytes.subarray(start, end));
      endLine();
      start = end + 1;
    }
    extend(bytes.subarray(start));
  };
  return {
    write: (chunk) => split(mask.push(chunk)),
    finish() {
      split(mask.end());
      if (lineBytes > 0) endLine();
      if (lostLines > 0) {
        onLine(
          `${lostLines} lines (${lostBytes} bytes) were left out here: a step's log keeps the first and the last of its ` +
            `output, ${maxBytes} bytes in all`,
          true,
        );
      }
      for (const text of tail) onLine(redactor.text(text), false);
      tail = [];
    },
    lastLines: () => redactor.text(last.join('\n')).trim().slice(-LAST_CHARACTERS),
  };
}
