import type { RunPayload } from '../../../core/sandbox/protocol.ts';
import { createConsole, type Log } from './console.ts';
import { createContext } from './context.ts';
import { describeThrown, markCompileError, MissingExportError } from './errors.ts';
import { createFetch } from './fetch.ts';
import { defineLazily, hidden, installGlobals, once } from './globals.ts';
import type { CommonJsFunction, Host, Realm, RunHost } from './host.ts';
import { acceptForeignInstances } from './instance-of.ts';
import { createRequire } from './modules.ts';
import { InvalidOutput, toJson } from './output.ts';
import { createPerformance } from './performance.ts';
import { createProcess } from './process.ts';
import { createTimers } from './timers.ts';

/**
 * Makes a fresh context ready for one run. It is called inside the context: whatever this folder's code creates belongs to
 * the run alone. Done ahead of the run, so that none waits for it.
 */
export function install(host: Host): Realm {
  let current: RunHost | undefined;
  const run = (): RunHost => {
    if (current === undefined) throw new Error('no run has begun');
    return current;
  };
  const log: Log = (level, text) => current?.log(level, text);

  installGlobals(host);
  acceptForeignInstances(host.intrinsics);
  const timers = createTimers(() => run().timers);
  const console = once(() => createConsole(host, log));
  const performance = once(() => createPerformance(host));
  const fetch = createFetch(run);
  const fail = (thrown: unknown): void => {
    current?.finish({ type: 'failed', ...describeThrown(thrown, (value) => host.format(value)) });
  };
  const process = once(() => createProcess(host, log, fail));
  const { queueMicrotask: enqueue } = globalThis;
  const queueMicrotask = (callback: () => void): void =>
    enqueue(() => {
      try {
        callback();
      } catch (thrown) {
        fail(thrown); // V8 would tell the terminal
      }
    });
  const globals = { ...timers.callbacks, queueMicrotask, fetch };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, hidden(value));
  }
  for (const [name, make] of Object.entries({ console, performance, process })) defineLazily(name, make);
  const modules = once(() => createRequire({ host, process, timers, performance, console, fetch }));
  const require = (specifier: string): unknown => modules()(specifier);

  // `await` and `try`, as the program may have put its own functions in place of those of promises.
  const execute = async (started: RunHost, payload: string): Promise<void> => {
    try {
      const { input, context } = JSON.parse(payload) as RunPayload;
      const step = loadStep(started, require);
      const output: unknown = await step(createContext(host, started, context, { fetch, log }), input);
      started.finish({ type: 'result', json: toJson(output) });
    } catch (thrown) {
      if (thrown instanceof InvalidOutput) started.finish({ type: 'failed', ...thrown.failure() });
      else fail(thrown);
    }
  };
  return {
    fail,
    start(started, payload) {
      current = started;
      void execute(started, payload);
    },
  };
}

type Step = (ctx: object, input: unknown) => unknown;

function loadStep(run: RunHost, require: (specifier: string) => unknown): Step {
  const module: { exports: unknown } = { exports: {} };
  const program = compile(run);
  program(module.exports as object, require, module, '/step.js', '/');
  const { exports } = module as { exports: { readonly default?: unknown } | null | undefined };
  const step = exports?.default;
  if (typeof step !== 'function') {
    throw new MissingExportError(
      `The step's file has no default export that is a function (it is ${kindOf(step)}). ` +
        'Write `export default async function (ctx, input) { … }`.',
    );
  }
  return step as Step;
}

function compile(run: RunHost): CommonJsFunction {
  try {
    return run.evaluate();
  } catch (error) {
    markCompileError(error);
    throw error;
  }
}

const kindOf = (value: unknown): string => (value === null ? 'null' : `of type ${typeof value}`);
