import { AsyncResource } from 'node:async_hooks';
import timers from 'node:timers';
import type { CommonJsFunction, RealmEnd, RunHost } from '../realm/host.ts';
import type { FetchAnswer, FromSlot, RunMessage, RunOutcome } from '../messages.ts';
import { toBuffer } from '../bytes.ts';
import { MEMORY_CHECK_MS } from '../limits.ts';
import { createRunFetches } from './fetches.ts';
import { createRunLog } from './logs.ts';
import type { PreparedRealm } from './realms.ts';
import { createTrackedTimers, type TrackedTimers } from './timers.ts';

/** How long operations that a run left behind (a key being made, a buffer being packed) may take to end. */
const SETTLE_MS = 200;

export interface Run {
  readonly id: number;
  readonly timers: TrackedTimers;
  start(): void;
  /** Aborts `ctx.signal`. */
  abort(): void;
  checkMemory(): void;
  handle(answer: FetchAnswer): void;
  /** Ends it with what was thrown outside of any promise. */
  fail(thrown: unknown): void;
}

export interface RunDeps {
  readonly post: (message: FromSlot, transfer?: readonly ArrayBuffer[]) => void;
  readonly evaluate: (program: string, context: PreparedRealm['context']) => CommonJsFunction;
  /** Whether nothing of a run is under way; see leftovers.ts. */
  readonly isAtRest: () => boolean;
  /** See memory.ts. */
  readonly isOutOfMemory: () => boolean;
  /** The slot is free again, unless it is to be replaced. */
  readonly onEnd: () => void;
}

/** The main thread says `cancelled` instead. */
const NEVER_STARTED: RealmEnd = {
  type: 'failed',
  failure: 'code_error',
  detail: { name: 'Cancelled', message: 'cancelled before it began' },
};

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** A run of a program in a context. */
export function createRun(deps: RunDeps, { context, realm }: PreparedRealm, message: RunMessage): Run {
  const { run: id, maxOutputBytes } = message;
  const controller = new AbortController();
  const runTimers = createTrackedTimers((thrown) => realm.fail(thrown));
  const fetches = createRunFetches(id, deps.post);
  const write = createRunLog(id, message.maxLogBytes, deps.post);
  let hasEnded = false;

  const checkMemory = (): void => {
    if (deps.isOutOfMemory()) deps.post({ type: 'out_of_memory', run: id });
  };
  // Besides the main thread's requests: whichever way the code was called, one of the two still works.
  const memoryTimer = timers.setInterval(checkMemory, MEMORY_CHECK_MS);
  const finish = (end: RealmEnd): void => {
    if (hasEnded) return;
    hasEnded = true;
    const outcome = toOutcome(end, maxOutputBytes);
    timers.clearInterval(memoryTimer);
    runTimers.clearAll();
    fetches.end();
    void settle(deps.isAtRest).then((isClean) => {
      deps.post({ type: 'end', run: id, outcome, replace: !isClean });
      deps.onEnd();
    });
  };
  const host: RunHost = {
    signal: controller.signal,
    log: (level, text) => {
      if (!hasEnded) write(level, text);
    },
    timers: runTimers,
    fetch: fetches.begin,
    evaluate: () => deps.evaluate(message.program, context),
    finish,
  };
  return {
    id,
    timers: runTimers,
    checkMemory,
    start() {
      // What `AsyncLocalStorage.enterWith` sets in the code ends with this call.
      const call = (): void => {
        if (controller.signal.aborted) finish(NEVER_STARTED);
        else realm.start(host, decoder.decode(message.payload));
      };
      new AsyncResource('run').runInAsyncScope(call);
    },
    abort: () =>
      controller.abort(new DOMException('The step was cancelled, or its time is over.', 'AbortError')),
    handle: fetches.handle,
    fail: (thrown) => realm.fail(thrown),
  };
}

function toOutcome(end: RealmEnd, maxOutputBytes: number): RunOutcome {
  if (end.type === 'failed') return end;
  const output = encoder.encode(end.json);
  if (output.length <= maxOutputBytes) return { type: 'result', output: toBuffer(output) };
  const message =
    `The output is ${output.length} bytes of JSON; at most ${maxOutputBytes} are allowed. ` +
    'Return less, or store it elsewhere and return where it is.';
  return { type: 'failed', failure: 'output_too_large', detail: { name: 'OutputTooLarge', message } };
}

/**
 * Lets the thread come to rest: promises that are settled go on until they wait, and operations under way end.
 *
 * @returns whether nothing is left that could still run code
 */
async function settle(isAtRest: () => boolean): Promise<boolean> {
  const deadline = performance.now() + SETTLE_MS;
  await turn();
  while (!isAtRest()) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => timers.setTimeout(resolve, 1));
    await turn();
  }
  return true;
}

const turn = (): Promise<void> => new Promise((resolve) => timers.setImmediate(resolve));
