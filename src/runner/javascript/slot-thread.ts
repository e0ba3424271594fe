import { Worker } from 'node:worker_threads';
import slotSource from 'embedded:slot';
import { SLOT_YOUNG_HEAP_MB } from './limits.ts';
import type { Failure, FromSlot, ToSlot } from './messages.ts';

export interface SlotThread {
  /** Sends what {@link SlotThread.post} has collected. */
  flush(): void;
  post(message: ToSlot): void;
  /**
   * Ends it. Code that never comes back to the thread's event loop goes on all the same, without anybody to talk to: Deno
   * 2.9 tells of an end, but does not stop such a thread (denoland/deno#35657). It is gone when its sandbox is ended, which
   * the worker does as soon as no other run is in it.
   */
  terminate(): void;
}

/** A file cannot be the source: there is no permission to read one. */
const SLOT_URL = new URL(`data:text/javascript,${encodeURIComponent(slotSource)}`);

/** Starts the thread of a slot. `onGone` is called once, whatever ends it, and nothing after it. */
export function startSlotThread(
  heapMb: number,
  on: {
    readonly onMessage: (message: FromSlot) => void;
    readonly onGone: (why: Failure) => void;
  },
): SlotThread {
  const worker = new Worker(SLOT_URL, {
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: SLOT_YOUNG_HEAP_MB },
  });
  let outbox: ToSlot[] = [];
  let isGone = false;
  const gone = (why: Failure): void => {
    if (isGone) return;
    isGone = true;
    on.onGone(why);
  };
  worker.on('message', (message: FromSlot) => {
    if (!isGone) on.onMessage(message);
  });
  worker.on('error', (error: unknown) => gone(toFailure(error, heapMb)));
  worker.on('exit', () => gone(ENDED));
  return {
    post(message) {
      outbox.push(message);
    },
    flush() {
      if (outbox.length === 0 || isGone) return;
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origin
      worker.postMessage(outbox);
      outbox = [];
    },
    terminate() {
      isGone = true;
      worker.terminate().catch(() => undefined); // it has ended by itself
    },
  };
}

const ENDED: Failure = {
  failure: 'code_error',
  detail: { name: 'Error', message: 'The code ended its slot instead of returning or throwing.' },
};

export const outOfMemory = (heapMb: number): Failure => ({
  failure: 'out_of_memory',
  detail: { name: 'OutOfMemory', message: `its objects took more than ${heapMb} MiB` },
});

function toFailure(raw: unknown, heapMb: number): Failure {
  const error = raw instanceof Error ? (raw as Error & { readonly code?: unknown }) : undefined;
  if (error?.code === 'ERR_WORKER_OUT_OF_MEMORY') return outOfMemory(heapMb);
  const message = `The code ended its slot: ${String(error?.message ?? raw).slice(0, 1000)}`;
  return { failure: 'code_error', detail: { name: 'Error', message } };
}
