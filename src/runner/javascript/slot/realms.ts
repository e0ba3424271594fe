import buffer from 'node:buffer';
import process from 'node:process';
import util from 'node:util';
// oxlint-disable-next-line no-restricted-imports -- no host code: this runs inside the sandbox
import vm from 'node:vm';
import realmSource from 'embedded:realm';
import type { Host, Realm } from '../realm/host.ts';
import { harden } from './harden.ts';
import { BEHIND_GETTERS, HOST_MODULES, pinSettings, resetSettings } from './modules.ts';
import { findBehindInstances } from './samples.ts';
import { warmUp } from './warm-up.ts';
import { pickIntrinsics, pickWebGlobals } from './web.ts';

export interface PreparedRealm {
  readonly context: vm.Context;
  readonly realm: Realm;
}

/** Makes contexts, each as if it were the first. Hardens this thread's own realm before. */
export function createRealmMaker(onTimeoutSignal: (ms: number) => AbortSignal): () => PreparedRealm {
  const { host, restore } = createHost(onTimeoutSignal);
  const script = new vm.Script(realmSource, { filename: 'millrace:realm' });
  return () => {
    restore();
    resetSettings();
    // Without an object in between, through which every look-up of a global would go (30 times slower).
    const context = vm.createContext(vm.constants.DONT_CONTEXTIFY);
    const install = script.runInContext(context) as (host: Host) => Realm;
    return { context, realm: install(host) };
  };
}

function createHost(onTimeoutSignal: (ms: number) => AbortSignal): {
  readonly host: Host;
  readonly restore: () => void;
} {
  const web = { ...pickWebGlobals(), Buffer: buffer.Buffer };
  const intrinsics = pickIntrinsics();
  const { performance } = globalThis;
  warmUp();
  recognizeForeignErrors();
  pinSettings();
  // Its own timer would outlive the run, out of reach.
  Object.defineProperty(AbortSignal, 'timeout', {
    value: onTimeoutSignal,
    writable: true,
    configurable: true,
  });
  const restore = harden([web, HOST_MODULES, intrinsics, BEHIND_GETTERS, findBehindInstances()]);
  const { node, v8 } = process.versions;
  const { structuredClone: _, ...plain } = web as Record<string, unknown>;
  const host: Host = {
    web,
    webProperties: Object.fromEntries(
      Object.entries(plain).map(([name, value]) => [name, { value, writable: true, configurable: true }]),
    ),
    modules: HOST_MODULES,
    intrinsics,
    format: util.format,
    inspect: util.inspect as Host['inspect'],
    now: () => performance.now(),
    timeOrigin: performance.timeOrigin,
    nextTick: (callback) => process.nextTick(callback),
    versions: { node, v8 },
  };
  return { host, restore };
}

/** Node's modules ask `instanceof Error` of errors that contexts made: an emitted one would be said to be none. */
function recognizeForeignErrors(): void {
  const ordinary = Function.prototype[Symbol.hasInstance];
  Object.defineProperty(Error, Symbol.hasInstance, {
    value(this: unknown, value: unknown) {
      return Reflect.apply(ordinary, this, [value]) || (this === Error && util.types.isNativeError(value));
    },
  });
}
