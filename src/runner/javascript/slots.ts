import type { Failure, FetchAnswer, FetchQuestion, FromSlot, RunOutcome } from './messages.ts';
import { LOAD_MS, maxProgramBytes, MEMORY_CHECK_MS, SLOT_HEAP_MB, slotHeapMb } from './limits.ts';
import { readLogTail } from './log-tail.ts';
import { outOfMemory, startSlotThread, type SlotThread } from './slot-thread.ts';
import type { LogLevel } from '../../core/sandbox/protocol.ts';

export interface StoredProgram {
  readonly id: string;
  readonly entry: string;
  readonly source: ArrayBuffer;
  /** What a slot made of it, for those that come later. */
  codeCache: ArrayBuffer | undefined;
}

/** Work for a slot: to compile a program, or to run it. */
export type Task =
  | {
      readonly type: 'load';
      readonly program: StoredProgram;
      readonly onLoaded: (failed: Failure | undefined) => void;
    }
  | RunTask;

export interface RunTask {
  readonly type: 'run';
  /** Unique in this process. */
  readonly run: number;
  readonly program: StoredProgram;
  readonly payload: ArrayBuffer;
  readonly maxOutputBytes: number;
  readonly maxLogBytes: number;
  /** Of the whole sandbox. */
  readonly memoryBytes: number | undefined;
  readonly onLog: (level: LogLevel, text: Uint8Array, isTruncated: boolean) => void;
  readonly onFetch: (question: FetchQuestion) => void;
  /** It has waited for a slot for a moment, and goes on waiting. */
  readonly onWaiting: () => void;
  /** Follows `onWaiting`. */
  readonly onStarted: () => void;
  /** Called once, as the last. */
  readonly onEnd: (end: RunOutcome, isSlotReplaced: boolean) => void;
}

export interface Slots {
  /** There is a slot that takes work. */
  readonly ready: Promise<void>;
  submit(task: Task): void;
  /** Aborts `ctx.signal`, and ends the slot when that does not end the run. */
  cancel(run: number, graceMs: number): void;
  answer(answer: FetchAnswer): void;
  /** Sends what was collected for the slots. */
  flush(): void;
}

/**
 * How long work waits until another slot is started for it, which takes 100 ms and more, and 27 MB: most of what waits has
 * its turn before.
 */
const GROW_AFTER_MS = 10;

/**
 * Up to a number of slots: one from the start, others when work waits. One that dies or is ended is replaced at once, and
 * its neighbours go on.
 */
export function createSlots(count: number): Slots {
  const waiting: Task[] = [];
  const slots: Slot[] = [];
  const next = (): void => {
    while (waiting.length > 0) {
      const task = waiting[0]!; // there is one
      // One that has the program already, if there is one.
      const free = slots.filter((slot) => slot.isFree);
      const slot = free.find((candidate) => candidate.has(task.program.id)) ?? free[0];
      if (slot === undefined) {
        growSoon();
        return;
      }
      waiting.shift();
      if (task.type === 'run' && told.delete(task)) task.onStarted();
      slot.begin(task);
    }
  };
  /** Whose time does not count yet. */
  const told = new Set<RunTask>();
  const tellWaiting = (): void => {
    for (const task of waiting) {
      if (task.type !== 'run' || told.has(task)) continue;
      told.add(task);
      task.onWaiting();
    }
  };
  let growing: NodeJS.Timeout | undefined;
  const growSoon = (): void => {
    growing ??= setTimeout(() => {
      growing = undefined;
      if (waiting.length > 0 && slots.length < count) slots.push(new Slot(next));
      tellWaiting();
    }, GROW_AFTER_MS);
  };
  const first = new Slot(next);
  slots.push(first);
  const slotOf = (run: number): Slot | undefined => slots.find((slot) => slot.run === run);

  return {
    ready: first.started,
    submit(task) {
      waiting.push(task);
      next();
    },
    cancel(run, graceMs) {
      const index = waiting.findIndex((task) => task.type === 'run' && task.run === run);
      const [task] = index < 0 ? [] : waiting.splice(index, 1);
      if (task?.type === 'run') {
        told.delete(task);
        task.onEnd(CANCELLED, false);
      } else slotOf(run)?.cancel(graceMs);
    },
    answer(answer) {
      slotOf(answer.run)?.answer(answer);
    },
    flush() {
      for (const slot of slots) slot.flush();
    },
  };
}

export const CANCELLED: RunOutcome = {
  type: 'failed',
  failure: 'cancelled',
  detail: { name: 'Cancelled', message: 'The step was cancelled, or its time is over.' },
};

const NOT_LOADED: Failure = {
  failure: 'resource_limit',
  detail: { name: 'NotLoaded', message: `the program was not compiled within ${LOAD_MS / 1000} s` },
};

/** One slot through the life of all its threads. */
class Slot {
  readonly #onFree: () => void;
  #thread: SlotThread | undefined;
  #programs = new Map<string, StoredProgram>();
  #task: Task | undefined;
  #force: NodeJS.Timeout | undefined;
  #memoryCheck: NodeJS.Timeout | undefined;
  #isCancelled = false;
  #tail: SharedArrayBuffer | undefined;
  #hasStarted = false;
  #heapMb = SLOT_HEAP_MB;
  readonly #firstStart = Promise.withResolvers<void>();

  constructor(onFree: () => void) {
    this.#onFree = onFree;
    this.#start();
  }

  get started(): Promise<void> {
    return this.#firstStart.promise;
  }

  get isFree(): boolean {
    return this.#hasStarted && this.#task === undefined;
  }

  get run(): number | undefined {
    return this.#task?.type === 'run' ? this.#task.run : undefined;
  }

  has(program: string): boolean {
    return this.#programs.has(program);
  }

  begin(task: Task): void {
    this.#task = task;
    if (task.type === 'run' && task.memoryBytes !== undefined) this.#giveHeap(slotHeapMb(task.memoryBytes));
    const { program } = task;
    if (!this.has(program.id) || task.type === 'load') {
      this.#makeRoom(program);
      this.#programs.set(program.id, program);
      const { id, entry, source, codeCache } = program;
      this.#thread?.post({ type: 'program', program: id, entry, source, codeCache });
    }
    if (task.type === 'load') {
      this.#force = setTimeout(() => {
        this.#replace();
        this.#abandon(NOT_LOADED);
      }, LOAD_MS);
    } else {
      const { run, payload, maxOutputBytes, maxLogBytes } = task;
      this.#memoryCheck = setInterval(() => {
        this.#thread?.post({ type: 'check', run });
        this.flush();
      }, MEMORY_CHECK_MS);
      this.#thread?.post({ type: 'run', run, program: program.id, payload, maxOutputBytes, maxLogBytes });
    }
    this.flush();
  }

  answer(answer: FetchAnswer): void {
    this.#thread?.post(answer);
  }

  cancel(graceMs: number): void {
    const { run } = this;
    if (run === undefined || this.#isCancelled) return;
    this.#isCancelled = true;
    this.#thread?.post({ type: 'abort', run });
    this.flush();
    this.#force = setTimeout(() => {
      this.#replace();
      this.#end(CANCELLED, true);
    }, graceMs);
  }

  flush(): void {
    this.#thread?.flush();
  }

  /** Compiled programs are kept on the slot's heap, which is for its runs above all. */
  #makeRoom({ id: added, source }: StoredProgram): void {
    const others = [...this.#programs.values()].filter(({ id }) => id !== added);
    let bytes = others.reduce((sum, { source }) => sum + source.byteLength, source.byteLength);
    for (const { id, source: old } of others) {
      if (bytes <= maxProgramBytes(this.#heapMb)) return;
      bytes -= old.byteLength;
      this.#programs.delete(id);
      this.#thread?.post({ type: 'forget', program: id });
    }
  }

  /** A heap cannot grow beyond what its thread was started with. */
  #giveHeap(heapMb: number): void {
    if (heapMb === this.#heapMb) return;
    this.#heapMb = heapMb;
    this.#replace();
  }

  #start(): void {
    this.#hasStarted = false;
    this.#programs = new Map();
    this.#thread = startSlotThread(this.#heapMb, {
      onMessage: (message) => this.#receive(message),
      onGone: (why) => {
        // One that cannot even start would not the next time.
        if (!this.#hasStarted) throw new Error(`a slot did not start: ${why.detail.message}`);
        this.#start();
        this.#abandon(why);
      },
    });
  }

  #replace(): void {
    this.#thread?.terminate();
    this.#start();
  }

  /** The thread may be in the hands of an attacker: it can end its own run, and no more. */
  #receive(message: FromSlot): void {
    try {
      this.#handle(message);
    } catch {
      this.#replace();
      this.#abandon({
        failure: 'code_error',
        detail: { name: 'Error', message: 'The slot of the code sent what no slot sends.' },
      });
    }
  }

  #handle(message: FromSlot): void {
    const task = this.#task;
    if (message.type === 'started') {
      this.#hasStarted = true;
      this.#firstStart.resolve();
      this.#onFree();
    } else if (message.type === 'code_cache') {
      const program = this.#programs.get(message.program);
      if (program !== undefined) program.codeCache ??= message.codeCache;
    } else if (message.type === 'loaded') {
      if (task?.type === 'load') this.#loaded(task.onLoaded, message.failed);
      else if (task?.type === 'run' && message.failed !== undefined) {
        this.#end({ type: 'failed', ...message.failed }, false);
      }
    } else if (task?.type === 'run' && message.run === task.run) this.#handleRun(task, message);
  }

  #handleRun(task: RunTask, message: Extract<FromSlot, { readonly run: number }>): void {
    switch (message.type) {
      case 'log':
        task.onLog(message.level, new Uint8Array(message.text), false);
        break;
      case 'log_tail':
        // Its size is the slot's word; what is larger than the whole log may be is no tail.
        if (message.ring.byteLength <= task.maxLogBytes + 1024) this.#tail ??= message.ring;
        break;
      case 'end':
        if (message.replace) this.#replace();
        this.#end(this.#resultOf(message.outcome), message.replace);
        break;
      case 'out_of_memory':
        this.#replace();
        this.#abandon(outOfMemory(this.#heapMb));
        break;
      case 'fetch':
      case 'fetch_data':
      case 'fetch_end':
      case 'fetch_abort':
      case 'fetch_credit':
        task.onFetch(message);
        break;
      default:
        throw new TypeError('an unknown message of a slot', { cause: message satisfies never });
    }
  }

  /** What the code throws when it is aborted is nobody's error. */
  #resultOf(outcome: RunOutcome): RunOutcome {
    return this.#isCancelled && outcome.type === 'failed' ? CANCELLED : outcome;
  }

  #loaded(onLoaded: (failed: Failure | undefined) => void, failed: Failure | undefined): void {
    clearTimeout(this.#force);
    this.#task = undefined;
    onLoaded(failed);
    this.#onFree();
  }

  /** The thread is gone. */
  #abandon(why: Failure): void {
    const task = this.#task;
    if (task?.type === 'load') this.#loaded(task.onLoaded, why);
    else if (task?.type === 'run') this.#end(this.#resultOf({ type: 'failed', ...why }), true);
  }

  #end(outcome: RunOutcome, isReplaced: boolean): void {
    const task = this.#task;
    if (task?.type !== 'run') return;
    clearTimeout(this.#force);
    clearInterval(this.#memoryCheck);
    this.#sendTail(task);
    this.#task = undefined;
    this.#isCancelled = false;
    task.onEnd(outcome, isReplaced);
    this.#onFree();
  }

  #sendTail(task: RunTask): void {
    if (this.#tail === undefined) return;
    const { entries, leftOut, leftOutKib } = readLogTail(this.#tail);
    this.#tail = undefined;
    if (leftOut > 0) {
      const note = `${leftOut} log entries (${leftOutKib} KiB) were left out here: a step may log ${task.maxLogBytes} bytes.`;
      task.onLog('warn', new TextEncoder().encode(note), true);
    }
    for (const { level, text } of entries) task.onLog(level, text, false);
  }
}
