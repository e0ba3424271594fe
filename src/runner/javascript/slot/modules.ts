import assert from 'node:assert';
import assertStrict from 'node:assert/strict';
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import buffer from 'node:buffer';
import crypto from 'node:crypto';
import events from 'node:events';
import path from 'node:path';
import posix from 'node:path/posix';
import win32 from 'node:path/win32';
import punycode from 'node:punycode';
import querystring from 'node:querystring';
import stream from 'node:stream';
import consumers from 'node:stream/consumers';
import streamPromises from 'node:stream/promises';
import streamWeb from 'node:stream/web';
import stringDecoder from 'node:string_decoder';
import url from 'node:url';
import util from 'node:util';
import utilTypes from 'node:util/types';
import zlib from 'node:zlib';

/** Modules of Node that work without any permission; one copy for all runs of the slot, hardened. */
export const HOST_MODULES: Readonly<Record<string, unknown>> = {
  assert,
  'assert/strict': assertStrict,
  // Without hooks, which would see the next run.
  async_hooks: {
    AsyncLocalStorage,
    AsyncResource,
    createHook: () => ({ enable: () => undefined, disable: () => undefined }),
    executionAsyncId: () => 0,
    triggerAsyncId: () => 0,
    executionAsyncResource: () => ({}),
  },
  buffer,
  crypto,
  events,
  path,
  'path/posix': posix,
  'path/win32': win32,
  punycode,
  querystring,
  stream,
  'stream/consumers': consumers,
  'stream/promises': streamPromises,
  'stream/web': streamWeb,
  string_decoder: stringDecoder,
  url,
  util,
  'util/types': utilTypes,
  zlib,
};

/** What only getters of these modules lead to: it is hardened, too. */
export const BEHIND_GETTERS: readonly unknown[] = [
  (events as unknown as { readonly EventEmitterAsyncResource: unknown }).EventEmitterAsyncResource,
  (buffer.Buffer as unknown as { readonly [Symbol.species]: unknown })[Symbol.species],
  (stream.Writable as unknown as { WritableState: { prototype: { writecb: unknown } } }).WritableState
    .prototype.writecb,
  ...Object.values(util.inspect.defaultOptions),
];

const DEFAULT_MAX_LISTENERS = 10;
const inspectDefaults = { ...util.inspect.defaultOptions };

/** Takes away settings of these modules that would reach into the next run. Before they are hardened. */
export function pinSettings(): void {
  Object.assign(buffer.Buffer, { poolSize: 0 }); // no two runs share a pool's memory
  Object.assign(stream, { setDefaultHighWaterMark: () => undefined });
  Object.preventExtensions(util.inspect.defaultOptions); // `resetSettings` sets what is there
  const { setMaxListeners } = events as unknown as {
    setMaxListeners: (count?: number, ...of: object[]) => void;
  };
  throwForeignErrors();
  Object.assign(util, { promisify: createPromisify() });
  Object.assign(events, {
    setMaxListeners: (count?: number, ...of: object[]) => {
      // Without targets it sets the default of all emitters there will ever be.
      if (of.length > 0) setMaxListeners(count, ...of);
    },
  });
}

/** An `error` event that nobody listens for throws its error; one of a context's errors would be wrapped in another. */
function throwForeignErrors(): void {
  const prototype: { emit: (this: events, name: string | symbol, ...values: unknown[]) => boolean } =
    events.prototype;
  const { emit } = prototype;
  prototype.emit = function (name, ...values) {
    const [error] = values;
    if (name === 'error' && util.types.isNativeError(error) && this.listenerCount('error') === 0) throw error;
    return Reflect.apply(emit, this, [name, ...values]);
  };
}

/** Node's own marks what it makes, and what it is given when that has a promise-made twin: both may be frozen. */
function createPromisify(): typeof util.promisify {
  const { promisify } = util;
  const own = (original: Function & { readonly [promisify.custom]?: unknown }): unknown =>
    typeof original?.[promisify.custom] === 'function' ? original[promisify.custom] : promisify(original);
  return Object.assign(own, { custom: promisify.custom }) as typeof util.promisify;
}

/** Undoes what can be set through accessors, which freezing does not stop. */
export function resetSettings(): void {
  events.defaultMaxListeners = DEFAULT_MAX_LISTENERS;
  util.inspect.defaultOptions = inspectDefaults;
}
