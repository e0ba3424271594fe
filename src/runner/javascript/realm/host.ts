import type { LogLevel } from '../../../core/sandbox/protocol.ts';
import type { Failure } from '../messages.ts';

/**
 * What a slot hands into the context of a run. Everything in `web` and `modules` belongs to the slot's realm, is seen by
 * the author's code, and is hardened (slot/harden.ts); the functions are called by this folder's code alone.
 */
export interface Host {
  /** Globals that are no part of the language. */
  readonly web: Readonly<Record<string, unknown>>;
  /** The same as properties of a global object, except for those of which each context has its own. */
  readonly webProperties: PropertyDescriptorMap;
  /** Modules of Node by name, without `node:`. */
  readonly modules: Readonly<Record<string, unknown>>;
  /** Constructors of the slot's realm whose instances reach the author's code. */
  readonly intrinsics: Readonly<Record<string, ForeignConstructor>>;
  readonly format: (...values: readonly unknown[]) => string;
  readonly inspect: (value: unknown, options?: object) => string;
  readonly now: () => number;
  readonly timeOrigin: number;
  readonly nextTick: (callback: () => void) => void;
  readonly versions: { readonly node: string; readonly v8: string };
}

export type ForeignConstructor = abstract new (...values: never) => unknown;

/** What belongs to one run. */
export interface RunHost {
  readonly signal: AbortSignal;
  log(level: LogLevel, text: string): void;
  readonly timers: RunTimers;
  /** Begins a fetch, and settles it once. Throws for what no request can be made of. */
  fetch(input: unknown, init: RequestInit | undefined, settle: FetchSettle): void;
  /** Compiles and evaluates the program in this context; it is called with what CommonJS gives to a module. */
  evaluate(): CommonJsFunction;
  /** The first call counts. */
  finish(end: RealmEnd): void;
}

export type CommonJsFunction = (
  exports: object,
  require: (specifier: string) => unknown,
  module: { exports: unknown },
  filename: string,
  dirname: string,
) => void;

export type RealmEnd =
  { readonly type: 'result'; readonly json: string } | ({ readonly type: 'failed' } & Failure);

export interface FetchSettle {
  resolve(response: Response): void;
  reject(reason: unknown): void;
  /** A refusal or failure that the platform tells of, as an error of the context. */
  toError(code: string, message: string): Error;
}

/** Timers that end with their run, by number; what their callbacks throw ends it. */
export interface RunTimers {
  setTimeout(callback: () => void, ms: number): number;
  setInterval(callback: () => void, ms: number): number;
  setImmediate(callback: () => void): number;
  clear(timer: number): void;
}

/** One context, which serves one run. */
export interface Realm {
  /** Runs the program; never throws. */
  start(run: RunHost, payload: string): void;
  /** Ends the run with what was thrown outside of any promise. */
  fail(thrown: unknown): void;
}
