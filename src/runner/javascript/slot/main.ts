import timers from 'node:timers';
import { parentPort } from 'node:worker_threads';
import type { FromSlot, ProgramMessage, RunMessage, ToSlot } from '../messages.ts';
import { describeThrown } from '../realm/errors.ts';
import { createRestDetector } from './leftovers.ts';
import { collectGarbage, createMemoryCheck } from './memory.ts';
import { createPrograms } from './programs.ts';
import { createRealmMaker, type PreparedRealm } from './realms.ts';
import { createRun, type Run } from './run.ts';

/** A slot: a thread that runs one program at a time, each run in a context of its own. */
function main(): void {
  const port = parentPort;
  if (port === null) throw new Error('a slot is a worker thread');
  const isAtRest = createRestDetector();
  const isOutOfMemory = createMemoryCheck();
  let current: Run | undefined;
  const makeRealm = createRealmMaker((ms) => timeoutSignal(() => current, ms));
  const programs = createPrograms();
  let prepared: PreparedRealm | undefined = makeRealm();

  const post = (message: FromSlot): void => port.postMessage(message);
  const load = (message: ProgramMessage): void => {
    const { program } = message;
    try {
      programs.load(message);
      post({ type: 'loaded', program, failed: undefined });
    } catch (error) {
      const failed = { ...describeThrown(error, String), failure: 'syntax_error' as const };
      post({ type: 'loaded', program, failed });
    }
  };
  const run = (message: RunMessage): void => {
    const realm = prepared ?? makeRealm();
    prepared = undefined;
    const { program } = message;
    const onEnd = (): void => {
      current = undefined;
      // In an immediate of its own, like all that takes memory: see memory.ts.
      timers.setImmediate(() => {
        if (current !== undefined) return;
        const codeCache = programs.takeCodeCache(program);
        if (codeCache !== undefined) post({ type: 'code_cache', program, codeCache });
        prepared ??= makeRealm();
      });
    };
    current = createRun(
      { post, evaluate: programs.evaluate, isAtRest, isOutOfMemory, onEnd },
      realm,
      message,
    );
    current.start();
  };
  const handle = (message: ToSlot): void => {
    if (message.type === 'program') load(message);
    else if (message.type === 'forget') programs.forget(message.program);
    else if (message.type === 'run') run(message);
    else if (current?.id !== message.run) return;
    else if (message.type === 'abort') current.abort();
    else if (message.type === 'check') current.checkMemory();
    else current.handle(message);
  };

  // What nobody catches ends the run, not the thread.
  const thread = globalThis as unknown as EventTarget;
  thread.addEventListener('error', (event) => {
    event.preventDefault();
    current?.fail((event as Event & { readonly error: unknown }).error);
  });
  thread.addEventListener('unhandledrejection', (event) => {
    event.preventDefault();
    current?.fail((event as Event & { readonly reason: unknown }).reason);
  });
  port.on('message', (messages: readonly ToSlot[]) => {
    // Not from the callback of a promise, which the loop over messages is: see memory.ts.
    timers.setImmediate(() => messages.forEach(handle));
  });
  collectGarbage();
  post({ type: 'started' });
}

/** `AbortSignal.timeout` with a timer that ends with its run. */
function timeoutSignal(run: () => Run | undefined, ms: number): AbortSignal {
  const controller = new AbortController();
  const end = (): void => controller.abort(new DOMException('The operation timed out.', 'TimeoutError'));
  run()?.timers.setTimeout(end, ms);
  return controller.signal;
}

main();
