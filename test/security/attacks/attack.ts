import assert from 'node:assert/strict';
import type { JsonObject, JsonValue } from '../../../src/core/json.ts';
import type { StepErrorCode } from '../../../src/core/step-error.ts';

/** An attack of SECURITY.md section 6, as data: tests, the mix of hostile and good steps and the benchmark all run it. */
export interface Attack {
  /** Row of the table, such as `X05`. */
  readonly row: `X${number}`;
  readonly language: 'javascript' | 'python';
  /** With row and language in front, the name of its test. */
  readonly name: string;
  /** The step's file. */
  readonly source: string;
  /** Keys of the step, as the document has them. */
  readonly keys?: (around: Surroundings) => JsonObject;
  readonly input?: (around: Surroundings) => JsonValue;
  /** How the step may end; the first is what is usual. */
  readonly ends: readonly [Ending, ...Ending[]];
  /** Looks closer. @throws AssertionError when the attack did what it must not */
  readonly check?: (seen: Seen) => void;
  /** From the start of the execution until its end. */
  readonly withinMs?: number;
  /** Uses up what the machine has: not run beside others, and fewer of it in the mix. */
  readonly heavy?: true;
}

export type Ending = 'succeeded' | StepErrorCode;

/** What an attacker may know of the machine. */
export interface Surroundings {
  /** Files on the host with canaries in them. */
  readonly files: readonly string[];
  /** A TCP and UDP listener on every address of the host, which must hear nothing. */
  readonly listenerPort: number;
  /** Addresses of the host's interfaces but loopback. */
  readonly hostAddresses: readonly string[];
  /** A service that `EGRESS_ALLOW_PRIVATE` lists. */
  readonly sinkUrl: string;
  readonly sinkHost: string;
  readonly postgresPort: number;
  readonly redisPort: number;
}

/** What is known of an attack's execution. */
export interface Seen {
  readonly state: string;
  readonly output: JsonValue;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly attempts: number;
  readonly logs: readonly LogLine[];
  readonly durationMs: number;
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly truncated?: boolean;
}

export const endingOf = ({ state, error }: Seen): string =>
  state === 'succeeded' ? state : (error?.code ?? state);

/** How a step fails that has a mistake in it: such an attack was not tried. */
const OWN_MISTAKE = /^(NameError|UnboundLocalError|SyntaxError|IndentationError|ReferenceError)\b/;

/** @throws AssertionError when the attack did not end as it has to */
export function checkAttack(attack: Attack, seen: Seen): void {
  const ending = endingOf(seen);
  assert.ok(
    (attack.ends as readonly string[]).includes(ending),
    `ended as ${ending} (${seen.error?.message ?? JSON.stringify(seen.output)?.slice(0, 500)}), not as ${attack.ends.join(' or ')}`,
  );
  assert.doesNotMatch(seen.error?.message ?? '', OWN_MISTAKE, 'the attack itself is wrong');
  attack.check?.(seen);
  if (attack.withinMs !== undefined) {
    assert.ok(
      seen.durationMs <= attack.withinMs,
      `took ${Math.round(seen.durationMs)} ms, not ${attack.withinMs}`,
    );
  }
}

export const titleOf = ({ row, language, name }: Attack): string => `${row} ${language}: ${name}`;

/**
 * Output of attacks that try many doors: by door, `denied: …`, `got: …`, or `broken: …` where it was not tried for a mistake of
 * the attack's own, such as a name that it misspells.
 */
export function checkAllDenied({ output, error }: Pick<Seen, 'output' | 'error'>): void {
  assert.equal(error?.message, undefined);
  const doors = Object.entries(outputObject(output));
  assert.ok(doors.length > 0, 'no door was tried');
  assert.deepEqual(
    doors.filter(([, answer]) => toText(answer).startsWith('broken')),
    [],
    'doors were not tried, for the attack is wrong',
  );
  assert.deepEqual(
    doors.filter(([, answer]) => !toText(answer).startsWith('denied')),
    [],
    'doors stood open',
  );
}

/** A part of an output, as text. */
export const toText = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

export function outputObject(output: JsonValue): JsonObject {
  assert.ok(
    typeof output === 'object' && output !== null && !Array.isArray(output),
    `the output is ${JSON.stringify(output)}`,
  );
  return output as JsonObject;
}

/**
 * `denialOf(error)`: what is noted of a door that did not open. Of another realm's errors only the name is known; a
 * DOMException may be a SyntaxError as well, and is a refusal.
 */
export const JAVASCRIPT_DENIAL = String.raw`
const denialOf = (error) => {
  const isMistake = ['ReferenceError', 'SyntaxError'].includes(error?.name) && Object.prototype.toString.call(error) === '[object Error]';
  return (isMistake ? 'broken: ' : 'denied: ') + String(error?.name) + ': ' + String(error?.message).slice(0, 300);
};
`;

/**
 * Starts every JavaScript attack. `door(name, work)` notes in `doors` whether `work` gave something; `realms()` finds
 * every other global object that can be reached, by way of constructors, errors and call sites: the way out of the vm
 * context. Inside the sandbox that may work (SECURITY S04); it must be of no use.
 */
const JAVASCRIPT_PRELUDE = String.raw`${JAVASCRIPT_DENIAL}
const doors = {};
const show = (value) => {
  try { return (typeof value === 'string' ? value : JSON.stringify(value) ?? String(value)).slice(0, 500); }
  catch { return 'something'; }
};
async function door(name, work, waitMs = 1500) {
  const late = new Promise((resolve) => setTimeout(resolve, waitMs, undefined));
  try {
    const value = await Promise.race([(async () => work())(), late]);
    doors[name] = value === undefined || value === null ? 'denied: nothing came' : 'got: ' + show(value);
  } catch (error) {
    doors[name] = denialOf(error);
  }
}
const realms = (ctx) => {
  const found = new Set();
  const seen = new Set();
  const makers = [Function, (async () => {}).constructor, (function* () {}).constructor];
  const take = (make) => {
    if (typeof make !== 'function' || makers.includes(make)) return;
    try {
      const other = make('return globalThis')();
      if (typeof other === 'object' && other !== null && other !== globalThis) found.add(other);
    } catch {}
  };
  const visit = (value, depth) => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value) || depth > 5) return;
    seen.add(value);
    try { if (typeof value === 'function') take(value.constructor); } catch {}
    try { visit(Object.getPrototypeOf(value), depth + 1); } catch {}
    let keys = [];
    try { keys = Reflect.ownKeys(value).slice(0, 300); } catch {}
    for (const key of keys) {
      let found;
      try { found = Object.getOwnPropertyDescriptor(value, key); } catch {}
      if (!found) continue;
      visit(found.get, depth + 1);
      visit(found.set, depth + 1);
      visit(found.value, depth + 1);
    }
  };
  visit(globalThis, 0);
  visit(ctx, 0);
  // What is thrown by the other side is often of the other side.
  const provoke = (work) => { try { const value = work(); if (value && typeof value.then === 'function') value.then(() => {}, (error) => visit(error, 2)); } catch (error) { visit(error, 2); } };
  const deep = (work, n = 0) => { try { deep(work, n + 1); } catch { provoke(work); } };
  const outside = [ctx && ctx.fetch, ctx && ctx.log && ctx.log.debug, globalThis.structuredClone, globalThis.atob, globalThis.URL,
    globalThis.TextDecoder, globalThis.Headers, globalThis.Response, globalThis.AbortSignal && AbortSignal.timeout];
  const odd = [{ get x() { throw 1; }, toString() { throw 2; }, valueOf() { throw 3; } }, new Proxy({}, {}), 10n];
  for (const work of outside.filter((one) => typeof one === 'function')) {
    for (const value of odd) {
      provoke(() => work(value));
      provoke(() => new work(value));
      provoke(() => work.call(value, 'x:', value));
    }
    deep(() => work(odd[0]));
  }
  // Call sites tell which functions called.
  const before = Error.prepareStackTrace;
  try {
    Error.prepareStackTrace = (error, sites) => { for (const site of sites) { try { visit(site.getThis(), 3); visit(site.getFunction(), 3); } catch {} } return ''; };
    const look = () => new Error('look').stack;
    look();
    for (const work of outside.filter((one) => typeof one === 'function')) provoke(() => work({ toString: look, toJSON: look, valueOf: look, get headers() { return look(); } }));
  } finally { Error.prepareStackTrace = before; }
  return [...found];
};
/** Runs text as code of a realm outside of the context; undefined when there is no way out. */
const outside = async (ctx, text, given) => {
  const [realm] = realms(ctx).filter((other) => other.Deno || other.process || other.Function);
  if (realm === undefined) return undefined;
  return realm.Function('given', 'return (async () => {' + text + '})()')(given);
};
`;

/** A JavaScript file; `body` is what its function does, with `ctx` and `input` in scope. */
export const javascript = (body: string, before = ''): string =>
  `${JAVASCRIPT_PRELUDE}\n${before}\nexport default async function (ctx, input) {\n${body}\n}\n`;

/** Starts every Python attack: `door(name, work)` as in JavaScript; `libc` and `syscall` for what Python has no name for. */
const PYTHON_PRELUDE = String.raw`
import ctypes, errno, os, signal, socket, sys, threading, time
doors = {}
def door(name, work):
    try:
        value = work()
        doors[name] = "denied: nothing came" if value is None else "got: " + (value if isinstance(value, str) else repr(value))[:500]
    except (NameError, SyntaxError, ImportError, AttributeError, TypeError) as error:
        doors[name] = ("broken: " + type(error).__name__ + ": " + str(error))[:300]
    except BaseException as error:
        doors[name] = ("denied: " + type(error).__name__ + ": " + str(error))[:300]
try:
    libc = ctypes.CDLL(None, use_errno=True)
except BaseException:
    libc = None
def call(name, *arguments):
    """A function of libc; raises OSError when it says -1."""
    function = getattr(libc, name)
    function.restype = ctypes.c_long
    result = function(*arguments)
    if result in (-1, 0xffffffff):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
def syscall(number, *arguments):
    return call("syscall", ctypes.c_long(number), *arguments)
def read(path, size=4096):
    with open(path, "rb") as file:
        return file.read(size).decode("latin-1")
`;

/** A Python file; `body` is what `run(ctx, input)` does. */
export const python = (body: string, before = ''): string =>
  `${PYTHON_PRELUDE}\n${before}\ndef run(ctx, input):\n${body
    .trim()
    .split('\n')
    .map((line) => (line === '' ? line : `    ${line}`))
    .join('\n')}\n`;
