import type { Duplex } from 'node:stream';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import type { WorkerHeader } from '../../../core/sandbox/protocol.ts';

/** Small frames (refusals, credits) that may wait for a runner that does not read; data waits for {@link FrameWriter.room}. */
const MAX_QUEUED_FRAMES = 4096;

export interface FrameWriter {
  /** Queues a frame; those of one turn of the event loop leave together. */
  send(header: WorkerHeader, payload?: Uint8Array): void;
  /** Undefined when more may be sent at once, else resolves when it may, or when the writer is closed. */
  room(): Promise<void> | undefined;
  /** Forgets what is queued; nothing is sent afterwards. */
  close(): void;
}

/**
 * What is copied to be written at once. Each write wakes a runner, which costs more there than copying does here: corking
 * the stream would not help, since not every driver's can write several buffers together.
 */
const MAX_JOINED_BYTES = 32_768;

/**
 * Frames to a runner, in order. Node's stream holds its high-water mark and one write, the rest waits here.
 *
 * @param onStuck called once when the runner takes nothing for `stallMs`, or lets too many frames pile up
 */
export function createFrameWriter(
  channel: Duplex,
  options: { readonly stallMs: number; readonly onStuck: (reason: string) => void },
): FrameWriter {
  let queue: Uint8Array[] = [];
  let waiters: (() => void)[] = [];
  let isScheduled = false;
  let isBlocked = false;
  let isClosed = false;
  let stallTimer: NodeJS.Timeout | undefined;

  const wake = (): void => {
    const woken = waiters;
    waiters = [];
    for (const resolve of woken) resolve();
  };
  const close = (): void => {
    isClosed = true;
    queue = [];
    clearTimeout(stallTimer);
    channel.off('drain', drained);
    wake();
  };
  const stuck = (reason: string): void => {
    close();
    options.onStuck(reason);
  };
  const block = (): void => {
    isBlocked = true;
    stallTimer = setTimeout(
      () => stuck(`the runner took nothing for ${options.stallMs} ms`),
      options.stallMs,
    ).unref();
  };
  const pump = (): void => {
    isScheduled = false;
    if (isClosed || isBlocked) return;
    let sent = 0;
    while (sent < queue.length) {
      const together = queue.slice(sent, sent + countTogether(queue, sent));
      sent += together.length;
      if (channel.write(together.length === 1 ? together[0] : Buffer.concat(together))) continue;
      block();
      break;
    }
    queue = queue.slice(sent);
    if (!isBlocked) wake();
  };
  const drained = (): void => {
    isBlocked = false;
    clearTimeout(stallTimer);
    pump();
  };
  channel.on('drain', drained);

  return {
    send(header, payload) {
      if (isClosed) return;
      queue.push(encodeFrame(header, payload));
      if (queue.length > MAX_QUEUED_FRAMES) {
        stuck(`${queue.length} frames wait for a runner that does not read them`);
      } else if (!isScheduled && !isBlocked) {
        isScheduled = true;
        queueMicrotask(pump);
      }
    },
    room: () =>
      isClosed || (!isBlocked && queue.length === 0)
        ? undefined
        : new Promise((resolve) => waiters.push(resolve)),
    close,
  };
}

/** How many frames from `first` on are written together; at least one. */
function countTogether(queue: readonly Uint8Array[], first: number): number {
  let count = 1;
  let bytes = queue[first]?.length ?? 0;
  for (let next = queue[first + 1]; next !== undefined; next = queue[first + count]) {
    bytes += next.length;
    if (bytes > MAX_JOINED_BYTES) break;
    count++;
  }
  return count;
}
